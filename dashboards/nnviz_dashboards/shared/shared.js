// What is sent as text of JSON is there as the value that it says, read once.
function readTexts(sent) {
  const texts = new Set(sent.esm_constants.texts), read = new Map()
  return new Proxy(sent, {
    get(_, name) {
      const value = sent[name]
      if (!texts.has(name) || typeof value !== "string") return value
      if (read.get(name)?.text !== value) read.set(name, {text: value, value: JSON.parse(value)})
      return read.get(name).value
    },
  })
}

// Everything that comes from data enters the page as text, never as markup.
function element(tag, className = "", text = null, attributes = {}) {
  const node = document.createElement(tag)
  if (className) node.className = className
  if (text !== null) node.textContent = text
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value)
  return node
}

const SVG = "http://www.w3.org/2000/svg"

function shape(tag, className = "", attributes = {}) {
  const node = document.createElementNS(SVG, tag)
  if (className) node.setAttribute("class", className)
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value)
  return node
}

// Why something is not there, and the command that makes it.
function notice({title, text, command}) {
  const box = element("div", "notice")
  // Errors begin and end as parts of a sentence do.
  const whole = text.charAt(0).toUpperCase() + text.slice(1) + (/[\p{L}\p{N}'"”)]$/u.test(text) ? "." : "")
  box.append(element("div", "notice-title", title), element("div", "muted", whole))
  if (command) {
    const line = element("div", "command")
    const copy = element("button", "quiet", "Copy", {type: "button"})
    copy.addEventListener("click", async () => {
      await navigator.clipboard?.writeText(command)
      copy.textContent = "Copied"
      setTimeout(() => (copy.textContent = "Copy"), 1500)
    })
    line.append(element("code", "", command), copy)
    box.append(line)
  }
  return box
}

function classLabel(name, mark) {
  const node = element("span", "name", name.trim() || "(no name)", {title: name})
  if (mark) node.append(element("span", "mark", ` ${mark}`))
  return node
}

function bar(fraction, tick = null) {
  const track = element("div", "track")
  const fill = element("div", "fill")
  fill.style.width = `${100 * Math.max(0, Math.min(1, fraction))}%`
  track.append(fill)
  if (tick !== null) {
    const line = element("div", "tick")
    line.style.left = `${100 * Math.min(1, tick)}%`
    track.append(line)
  }
  return track
}

// What is drawn on a canvas follows the theme by itself: its colours, and when they change.
function themeColors(host, names) {
  const css = getComputedStyle(host)
  return Object.fromEntries(names.map((name) => [name, css.getPropertyValue(`--${name}`).trim()]))
}

function onTheme(changed) {
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", changed)
  new MutationObserver(changed).observe(document.documentElement, {attributeFilter: ["data-theme"]})
}

// A canvas as large as its place, with as many pixels as the screen has there.
function fitCanvas(canvas, width, height) {
  const scale = window.devicePixelRatio || 1
  const [w, h] = [Math.max(1, Math.round(width * scale)), Math.max(1, Math.round(height * scale))]
  if (canvas.width !== w || canvas.height !== h) {
    canvas.width = w
    canvas.height = h
    canvas.style.width = `${width}px`
    canvas.style.height = `${height}px`
  }
  const context = canvas.getContext("2d")
  context.setTransform(scale, 0, 0, scale, 0, 0)
  context.clearRect(0, 0, width, height)
  return context
}

// A class that is pointed at in one view is shown in the others; the server needs not know.
const CLASS_POINTED = "nnviz-class-pointed"
const pointAtClass = (subset, from) => document.dispatchEvent(new CustomEvent(CLASS_POINTED, {detail: {subset, from}}))
function onClassPointed(own, changed) {
  document.addEventListener(CLASS_POINTED, ({detail}) => {
    if (detail.from !== own) changed(detail.subset)
  })
}

// Tab stops once in a box of many buttons; arrow keys walk on from there.
function walkable(box) {
  const buttons = [...box.querySelectorAll("button")]
  buttons.forEach((button, i) => (button.tabIndex = i ? -1 : 0))
  box.addEventListener("focusin", ({target}) => {
    if (buttons.includes(target)) buttons.forEach((button) => (button.tabIndex = button === target ? 0 : -1))
  })
  box.addEventListener("keydown", (event) => {
    const at = buttons.indexOf(event.target), last = buttons.length - 1
    const next = {ArrowLeft: Math.max(0, at - 1), ArrowRight: Math.min(last, at + 1), Home: 0, End: last}[event.key]
    if (at < 0 || next === undefined) return
    buttons[next].focus()
    event.preventDefault()
    event.stopPropagation()
  })
}

// A menu is closed by a click elsewhere, which also opens another one, and by Escape.
function closable(menu) {
  document.addEventListener("pointerdown", (event) => {
    if (menu.open && !event.composedPath().includes(menu)) menu.open = false
  })
  menu.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || !menu.open) return
    event.stopPropagation()
    menu.open = false
    menu.querySelector("summary").focus()
  })
  return menu
}

function bytes(text) {
  return Uint8Array.from(atob(text), (c) => c.charCodeAt(0))
}

// A number and its unit stay in one line.
const kept = (text) => text.replace(/(\d) (?=[%×])/g, "$1\u00a0")

// A file for the visitor's machine, of bytes in base64.
function saveBytes(name, content) {
  const link = element("a", "", null, {href: URL.createObjectURL(new Blob([bytes(content)])), download: name})
  link.click()
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000)
}
