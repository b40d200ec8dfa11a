// What is drawn becomes a file of the visitor: SVG that any program opens, or PNG of it.
function save(name, blob) {
  const link = element("a", "", null, {href: URL.createObjectURL(blob), download: name})
  document.body.append(link)
  link.click()
  link.remove()
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000)
}

async function asData(address) {
  const blob = await (await fetch(address)).blob()
  return new Promise((resolve, reject) => {
    const reader = new FileReader()
    reader.onload = () => resolve(reader.result)
    reader.onerror = () => reject(reader.error)
    reader.readAsDataURL(blob)
  })
}

const MOST_PIXELS = 8000

async function savePicture(kind, name, picture) {
  const file = name.replace(/[^\p{L}\p{N}_-]+/gu, "-")
  if (kind === "svg") return save(`${file}.svg`, new Blob([picture.text], {type: "image/svg+xml"}))
  const image = new Image()
  image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(picture.text)}`
  await image.decode()
  const canvas = element("canvas"), scale = Math.min(2, MOST_PIXELS / Math.max(picture.width, picture.height))
  canvas.width = picture.width * scale
  canvas.height = picture.height * scale
  canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height)
  canvas.toBlob((png) => save(`${file}.png`, png), "image/png")
}

const DRAWN = ["fill", "stroke", "stroke-width", "stroke-dasharray", "fill-opacity", "opacity", "font-family", "font-size", "font-weight", "text-anchor"]

// Of a panel all but what only works in the page.
const CONTROLS = ".menu, .segments, .button, .field, .select, .zooms, .unseen, .card, .preview, .quiet, .side-button, .chosen-line, input, [hidden]"

// Colours as every program knows them: the page's may be mixed in other spaces.
const asHex = (() => {
  const known = new Map()
  let pixel = null
  return (color) => {
    if (!known.has(color)) {
      pixel ??= element("canvas", "", null, {width: 1, height: 1}).getContext("2d", {willReadFrequently: true})
      pixel.clearRect(0, 0, 1, 1)
      pixel.fillStyle = color
      pixel.fillRect(0, 0, 1, 1)
      const [r, g, b, a] = pixel.getImageData(0, 0, 1, 1).data
      known.set(color, {color: `rgb(${r},${g},${b})`, opacity: a / 255})
    }
    return known.get(color)
  }
})()

// A panel as a drawing: boxes, texts and pictures at the places that they have, with all
// that could be scrolled to. What is on a canvas is a picture in it.
async function panelPicture(panel, lines = []) {
  const width = panel.clientWidth, waiting = []
  const drawing = shape("svg", "", {xmlns: SVG, width})
  const canvases = [...panel.querySelectorAll("canvas")]
  const copy = panel.cloneNode(true)
  copy.querySelectorAll("canvas").forEach((canvas, i) => {
    const {width: w, height: h} = canvases[i].getBoundingClientRect()
    Object.assign(canvas.style, {width: `${w}px`, height: `${h}px`})
    canvas.drawn = canvases[i]
  })
  Object.assign(copy.style, {position: "absolute", left: 0, top: 0, width: `${width}px`, height: "auto", opacity: 0, overflow: "visible", pointerEvents: "none"})
  const room = new Map([...panel.querySelectorAll("*")].map((node, i) => [i, node]))
  panel.parentNode.append(copy)
  // A part that scrolls is as high as what is in it; one that is drawn keeps its height.
  ;[...copy.querySelectorAll("*")].forEach((node, i) => {
    const {overflowY, position} = getComputedStyle(node)
    if (node.querySelector(":scope > canvas")) Object.assign(node.style, {height: `${room.get(i).clientHeight}px`, flex: "none"})
    else if (overflowY === "auto" || overflowY === "scroll") Object.assign(node.style, {overflow: "visible", width: `${room.get(i).offsetWidth}px`, height: "auto", maxHeight: "none", flex: "none"})
    if (position === "sticky") node.style.position = "static"
  })
  const origin = copy.getBoundingClientRect()
  const at = (box) => ({x: box.left - origin.left, y: box.top - origin.top, width: box.width, height: box.height})
  const add = (to, tag, values) => to.appendChild(shape(tag, "", Object.fromEntries(Object.entries(values).map(([key, value]) => [key, typeof value === "number" ? Math.round(value * 100) / 100 : value]))))
  const paint = (name, value) => {
    const {color, opacity} = asHex(value)
    return {[name]: color, ...(opacity < 1 ? {[`${name}-opacity`]: opacity} : {})}
  }
  const boxes = (to, node, css) => {
    const box = at(node.getBoundingClientRect()), radius = Math.min(parseFloat(css.borderRadius) || 0, box.height / 2)
    const edge = (by, px, color) => add(to, "rect", {x: box.x + by, y: box.y + by, width: Math.max(0, box.width - 2 * by), height: Math.max(0, box.height - 2 * by), rx: radius, fill: "none", "stroke-width": px, ...paint("stroke", color)})
    if (asHex(css.backgroundColor).opacity) add(to, "rect", {...box, rx: radius, ...paint("fill", css.backgroundColor)})
    const sides = ["Top", "Right", "Bottom", "Left"].map((side) => [css[`border${side}Style`] === "none" ? 0 : parseFloat(css[`border${side}Width`]), css[`border${side}Color`]])
    if (sides.every(([px]) => px > 0)) edge(sides[0][0] / 2, sides[0][0], sides[0][1])
    else {
      const {x, y, width: w, height: h} = box
      ;[[x, y, x + w, y], [x + w, y, x + w, y + h], [x, y + h, x + w, y + h], [x, y, x, y + h]].forEach(([x1, y1, x2, y2], i) => {
        if (sides[i][0] > 0) add(to, "line", {x1, y1, x2, y2, "stroke-width": sides[i][0], ...paint("stroke", sides[i][1])})
      })
    }
    const inner = css.boxShadow.match(/^(.*) 0px 0px 0px ([\d.]+)px inset$/)
    if (inner) edge(inner[2] / 2, Number(inner[2]), inner[1])
    if (css.outlineStyle !== "none" && parseFloat(css.outlineWidth) > 0) edge(0, parseFloat(css.outlineWidth), css.outlineColor)
  }
  const measure = element("canvas").getContext("2d")
  const write = (to, node, css, clip) => {
    const rows = [], range = document.createRange()
    for (const word of node.data.matchAll(/\S+\s*/g)) {
      range.setStart(node, word.index)
      range.setEnd(node, word.index + word[0].trimEnd().length)
      const box = range.getBoundingClientRect()
      if (!box.width) continue
      const last = rows.at(-1)
      if (last && Math.abs(last.box.top - box.top) < 3) last.text += word[0]
      else rows.push({box, text: word[0]})
    }
    measure.font = `${css.fontWeight} ${css.fontSize} ${css.fontFamily}`
    for (const {box, text: whole} of rows) {
      const left = (clip?.right ?? Infinity) - box.left
      if (left < 4 || box.top > (clip?.bottom ?? Infinity)) continue
      let text = whole.trimEnd()
      if (measure.measureText(text).width > left + 1) {
        while (text && measure.measureText(`${text}…`).width > left) text = text.slice(0, -1)
        text += "…"
      }
      const {x, y, height} = at(box)
      add(to, "text", {x, y: y + 0.8 * height, "font-family": "sans-serif", "font-size": parseFloat(css.fontSize), "font-weight": css.fontWeight, ...paint("fill", css.color)}).textContent = text
    }
  }
  const walk = (node, to, clip) => {
    if (node.nodeType === Node.TEXT_NODE) return write(to, node, getComputedStyle(node.parentElement), clip)
    if (node.nodeType !== Node.ELEMENT_NODE || node.matches(CONTROLS)) return
    const css = getComputedStyle(node)
    if (css.display === "none" || css.visibility === "hidden" || css.opacity === "0") return
    if (css.transform !== "none") {
      // What is computed changes with the style: read before it is laid flat.
      const [ox, oy] = css.transformOrigin.split(" ").map(parseFloat), {a, b, c, d, e, f} = new DOMMatrix(css.transform)
      node.style.transform = "none"
      const {x, y} = at(node.getBoundingClientRect())
      to = add(to, "g", {transform: `translate(${x + ox},${y + oy}) matrix(${a},${b},${c},${d},${e},${f}) translate(${-x - ox},${-y - oy})`})
      return walk(node, to, null)
    }
    const box = node.getBoundingClientRect()
    if (clip && (box.left > clip.right || box.top > clip.bottom)) return
    if (node.tagName === "IMG" || node.tagName === "CANVAS") {
      const image = add(to, "image", {...at(box), preserveAspectRatio: css.objectFit === "cover" ? "xMidYMid slice" : "xMidYMid meet"})
      if (node.tagName === "CANVAS") image.setAttribute("href", node.drawn.toDataURL())
      else waiting.push(asData(node.src).then((data) => image.setAttribute("href", data), () => image.remove()))
      return
    }
    boxes(to, node, css)
    if (node.tagName === "svg") {
      const own = node.cloneNode(true)
      ;[...node.querySelectorAll("*")].forEach((live, i) => {
        const style = getComputedStyle(live)
        for (const name of DRAWN) own.querySelectorAll("*")[i].style.setProperty(name, style.getPropertyValue(name))
      })
      for (const [name, value] of Object.entries(at(box))) own.setAttribute(name, value)
      return to.append(own)
    }
    if (css.overflowX !== "visible" && css.overflowX !== "auto") {
      clip = {right: Math.min(box.right, clip?.right ?? Infinity), bottom: Math.min(box.bottom, clip?.bottom ?? Infinity)}
    }
    for (const child of node.childNodes) walk(child, to, clip)
  }
  const css = getComputedStyle(copy)
  add(drawing, "rect", {width: "100%", height: "100%", ...paint("fill", css.backgroundColor)})
  for (const child of copy.childNodes) walk(child, drawing, null)
  let height = copy.getBoundingClientRect().height + 8
  // How to read it stands below, in lines that are no wider than the panel.
  measure.font = "12px sans-serif"
  for (const line of lines.filter(Boolean)) {
    let text = ""
    for (const word of [...line.split(/\s+/), null]) {
      if (word === null || (text && measure.measureText(`${text} ${word}`).width > width - 24)) {
        add(drawing, "text", {x: 12, y: height + 12, "font-family": "sans-serif", "font-size": 12, ...paint("fill", css.getPropertyValue("--muted"))}).textContent = text
        height += 17
        text = ""
      }
      text = text ? `${text} ${word}` : word
    }
  }
  copy.remove()
  await Promise.all(waiting)
  height = Math.ceil(height + 8)
  drawing.setAttribute("height", height)
  drawing.setAttribute("viewBox", `0 0 ${width} ${height}`)
  return {text: new XMLSerializer().serializeToString(drawing), width, height}
}
