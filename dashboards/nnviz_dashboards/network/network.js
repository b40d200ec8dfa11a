const MIN_TEXT = 0.45
// On a phone names are read, and the rest of a wide network is moved into view.
const NARROW_PX = 600, MIN_NARROW = 0.75

// From flat numbers to a path: level across columns, bent between them.
function path(way) {
  let d = `M${way[0]},${way[1]}`
  for (let i = 2; i < way.length; i += 2) {
    const [x0, y0, x, y] = way.slice(i - 2, i + 2)
    const middle = (x0 + x) / 2
    d += y === y0 ? `H${x}` : x < x0 ? `L${x},${y}` : `C${middle},${y0},${middle},${y},${x},${y}`
  }
  return d
}

const shortened = (text) => text.length > LONGEST ? `${text.slice(0, LONGEST - 1)}…` : text

export function render({model}) {
  const panel = element("section", "panel network-panel", null, {"aria-label": "Model"})
  const head = element("header", "head network-head")
  const summary = element("span", "muted note")
  const blocks = element("div", "segments", null, {role: "group", "aria-label": "Blocks"})
  for (const [text, type, title] of [
    ["Open all", "open_all", "Open every block"],
    ["Close all", "close_all", "Close every block"],
    ["As at first", "reset", "Open outer blocks, as many as can be told apart"],
  ]) {
    const button = element("button", "segment", text, {type: "button", title})
    button.addEventListener("click", () => model.send_msg({type}))
    blocks.append(button)
  }
  const field = element("label", "field")
  const select = element("select", "select", null, {"aria-label": "Shaded by"})
  select.append(...model.shadings.map(([name, text]) => new Option(text, name)))
  select.addEventListener("change", () => model.send_msg({type: "shade", name: select.value}))
  field.append(element("span", "field-name", "Shaded by"), select)
  const {menu} = chartMenu(model, {picture: (kind) => saveDrawing(kind), tables: () => [["nodes", 0], ["arcs", 1]]})
  head.append(element("h2", "title", "Model"), summary, blocks, field, menu)

  const canvas = element("div", "canvas")
  const svg = shape("svg", "network", {role: "group", "aria-label": "The network, from input to output"})
  const world = shape("g")
  const arcs = shape("g"), parts = shape("g")
  const tip = element("div", "network-tip", null, {role: "status"})
  tip.hidden = true
  const zooms = element("div", "zooms")
  svg.append(world)
  world.append(arcs, parts)
  const space = makeSpace(svg, world, ({k}) => svg.classList.toggle("far", k < MIN_TEXT))
  space.least = () => svg.clientWidth < NARROW_PX ? MIN_NARROW : 0
  for (const [text, title, act] of [
    ["+", "Larger", () => space.zoom(1.3, undefined, undefined, true)],
    ["−", "Smaller", () => space.zoom(1 / 1.3, undefined, undefined, true)],
    ["Fit", "All of it", () => space.fit(true, true)],
  ]) {
    const button = element("button", "button", text, {type: "button", title, "aria-label": title})
    button.addEventListener("click", act)
    zooms.append(button)
  }
  canvas.append(svg, tip, zooms)
  const note = element("div", "network-note")
  panel.append(head, canvas, note)

  let drawn = new Map()
  let focus_key = ""
  const act_on = (node, event) => {
    if (node.kind === "block") {
      focus_key = node.key
      model.send_msg({type: "toggle", key: node.key})
    } else if (node.is_shown) {
      const is_beside = event.shiftKey || event.ctrlKey || event.metaKey
      model.send_msg({type: is_beside ? "toggle_beside" : "look_at", layer: node.layer})
    }
  }
  const acts = (node) => node.kind === "block" || node.is_shown

  function makePart(node) {
    const [x, y, width, height] = node.box
    const part = shape("g", `part ${node.is_open ? "open-block" : node.kind}`, {"data-key": node.key, transform: `translate(${x} ${y})`})
    const middle = width / 2
    const write = (text, name, left, top) => {
      const line = shape("text", `label ${name}`, {x: left, y: top})
      line.textContent = shortened(text)
      part.append(line)
    }
    if (node.is_open) {
      part.append(shape("rect", "frame", {width, height, rx: 8}), shape("rect", "frame-title", {width, height: TITLE, rx: 8}))
      write(`− ${node.label}`, "", 10, 15)
    } else if (node.kind === "tensor" || node.kind === "input") {
      part.append(
        shape("circle", "circle", {cx: middle, cy: DIAMETER / 2, r: DIAMETER / 2}),
        shape("circle", "shade", {cx: middle, cy: DIAMETER / 2, r: DIAMETER / 2 - 2, "fill-opacity": 0}))
      write(node.label, "", middle, DIAMETER + 12)
      part.classList.toggle("not-shown", node.kind === "tensor" && !node.is_shown)
    } else if (node.kind === "block") {
      part.append(
        shape("rect", "plate", {width, height, rx: 8}),
        shape("rect", "shade", {x: 8, y: height - 7, width: width - 16, height: 5, rx: 2.5, "fill-opacity": 0}))
      write(`+ ${node.label}`, "", middle, 15)
      const line = shape("text", "label second", {x: middle, y: 29})
      line.textContent = node.detail
      part.append(line)
    } else {
      part.append(shape("rect", "plate", {width, height, rx: 3}))
      write(node.label, "", middle, height / 2 + 4)
    }
    if (acts(node)) {
      part.setAttribute("role", "button")
      part.setAttribute("tabindex", "-1")
      const what = node.kind === "block" ? `${node.is_open ? "Close" : "Open"} ${node.key.slice(6)}, ${node.detail}` : `Look at layer ${node.layer}, ${node.detail}`
      part.setAttribute("aria-label", what)
      if (node.kind === "block") part.setAttribute("aria-expanded", String(node.is_open))
    }
    return part
  }

  function show() {
    const drawing = model.drawing
    if (!drawing) return
    summary.textContent = drawing.summary
    blocks.hidden = drawing.n_blocks === 0
    drawn = new Map(drawing.nodes.map((node) => [node.key, {node, part: makePart(node)}]))
    parts.replaceChildren(...[...drawn.values()].map(({part}) => part))
    // Frames lie below ways, ways below everything else.
    const frames = [...drawn.values()].filter(({node}) => node.is_open).map(({part}) => part)
    world.replaceChildren(...frames, arcs, parts)
    arcs.replaceChildren(...drawing.arcs.map((arc) => shape("path", `flow ${arc.kind}`, {
      d: path(arc.way), "data-source": arc.source, "data-target": arc.target,
    })))
    space.frame({left: -10, top: -10, right: drawing.width + 10, bottom: drawing.height + 10}, {left: 16, top: 16, right: 16, bottom: 44}, false)
    const stops = buttons()
    const kept = drawn.get(focus_key)?.part
    const first = kept?.hasAttribute("tabindex") ? kept : stops[0]
    if (first) first.setAttribute("tabindex", "0")
    if (kept && svg.dataset.keys === "yes") kept.focus()
    show_shades()
    show_chosen()
  }
  // All of the drawing with its names, whatever part of it is in view.
  const saveDrawing = async (kind) => {
    const {drawing} = model, was = svg.getAttribute("class")
    if (!drawing) return
    svg.classList.remove("far", "focused")
    const made = makePicture(svg, world, {
      parts: [], rows: [], keys: [], title: `Model: ${drawing.summary}`, lines: [note.textContent],
      box: {x: 0, y: 0, width: drawing.width, height: drawing.height},
    })
    svg.setAttribute("class", was)
    await savePicture(kind, "model", await made)
  }
  const buttons = () => [...world.querySelectorAll("[role=button]")]
  function show_shades() {
    for (const [key, {part}] of drawn) {
      const found = model.shades[key]
      const shade = part.querySelector(".shade")
      if (shade) shade.setAttribute("fill-opacity", found ? (0.06 + 0.94 * found[0]).toFixed(3) : 0)
    }
    select.value = model.overlay
    const order = model.drawing?.has_order ? "Dotted: how the tensor comes about is not known. " : ""
    note.textContent = order + (model.note || "Circles are tensors, plates are operations; a click on a tensor opens its layer (with Shift: below those that are open), on a block its contents.")
  }
  function show_chosen() {
    for (const {node, part} of drawn.values()) {
      const is_inside = node.kind === "block" && !node.is_open && `${model.layer}.`.startsWith(`${node.key.slice(6)}.`)
      part.classList.toggle("chosen", is_inside || (node.layer !== "" && node.layer === model.layer))
      part.classList.toggle("beside", model.beside.includes(node.layer))
    }
  }
  const part_of = (event) => event.composedPath().find((node) => node.dataset?.key !== undefined)
  function point(part) {
    const key = part?.dataset.key
    const entry = drawn.get(key)
    svg.classList.toggle("focused", Boolean(entry) && !entry.node.is_open)
    for (const arc of arcs.children) {
      const into = arc.dataset.target === key, out = arc.dataset.source === key
      arc.classList.toggle("lit", into || out)
      arc.classList.toggle("into", into)
      arc.classList.toggle("out", out)
    }
    tip.hidden = !entry
    if (!entry) return
    const {node} = entry, shade = model.shades[key]
    const name = element("b", "", node.layer || (node.kind === "block" ? node.key.slice(6) : node.label))
    tip.replaceChildren(name, element("div", "", node.detail))
    if (shade) tip.append(element("div", "", shade[1]))
    const here = part.getBoundingClientRect(), holder = canvas.getBoundingClientRect()
    const left = Math.max(6, Math.min(here.left - holder.left, holder.width - 310))
    tip.style.left = `${left}px`
    const below = here.bottom - holder.top + 8
    const title_only = node.is_open ? here.top - holder.top + 30 : below
    tip.style.top = `${Math.min(title_only, holder.height - 70)}px`
  }
  svg.addEventListener("pointerover", (event) => point(part_of(event)))
  svg.addEventListener("pointerleave", () => point(null))
  svg.addEventListener("focusin", (event) => point(part_of(event)))
  svg.addEventListener("focusout", () => point(null))
  svg.addEventListener("click", (event) => {
    const part = part_of(event)
    if (space.was_drag || !part) return
    svg.dataset.keys = ""
    const {node} = drawn.get(part.dataset.key)
    // An open block is closed by its title only: its contents are for panning.
    const in_title = !node.is_open || event.composedPath()[0].classList.contains("frame-title")
    if (acts(node) && in_title) act_on(node, event)
  })
  svg.addEventListener("keydown", (event) => {
    const part = part_of(event)
    if (!part) return
    const stops = buttons().sort((one, other) => {
      const a = drawn.get(one.dataset.key).node.box, b = drawn.get(other.dataset.key).node.box
      return a[0] - b[0] || a[1] - b[1]
    })
    const step = {ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1}[event.key]
    if (step) {
      const next = stops[(stops.indexOf(part) + step + stops.length) % stops.length]
      part.setAttribute("tabindex", "-1")
      next.setAttribute("tabindex", "0")
      next.focus()
    } else if (event.key === "Enter" || event.key === " ") {
      svg.dataset.keys = "yes"
      act_on(drawn.get(part.dataset.key).node, event)
    } else {
      return
    }
    event.preventDefault()
  })
  model.on("drawing", show)
  model.on(["shades", "note", "overlay"], show_shades)
  model.on(["layer", "beside"], show_chosen)
  // Where there is more height than width it goes on in shorter lines.
  let is_narrow = false
  new ResizeObserver(() => {
    space.resized()
    const {clientWidth: width, clientHeight: height} = canvas
    if (!width || width < height === is_narrow) return
    is_narrow = !is_narrow
    model.send_msg({type: "fit", is_narrow})
  }).observe(canvas)
  show()
  return panel
}
