const MANY_CLASSES = 30
const LOOK_MS = 120
const CELL_PX = 3
const MOST_CORNERS = 200

export function render({model}) {
  const send = (message) => model.send_msg(message)
  const panel = element("section", "panel instance-map", null, {"aria-label": "Map of the instances"})
  const head = element("header", "head instance-map-head")
  const title = element("h2", "title"), note = element("span", "muted note")
  const by = element("select", "select", null, {"aria-label": "Colour by"})
  by.addEventListener("change", () => send({type: "color", by: by.value}))
  const colors = element("label", "field")
  colors.append(element("span", "field-name", "Colour by"), by)
  const {menu} = chartMenu(model, {picture: panelSaver(model, panel, () => title.textContent)})
  head.append(title, note, colors, menu)
  const body = element("div", "body instance-map-body")
  const canvas = element("canvas", "instance-points", null, {
    tabindex: "0", role: "application", "aria-roledescription": "map", "aria-describedby": "instance-map-said",
    "aria-label": "Map of the instances. Drag around points to choose them, drag with Shift to move, plus and minus zoom, 0 shows all, Escape gives up what is chosen",
  })
  const zooms = element("div", "zooms", null, {role: "group", "aria-label": "Zoom of the map of the instances"})
  const hint = element("div", "card instance-hint")
  hint.hidden = true
  body.append(canvas, zooms, hint)
  const foot = element("footer", "instance-map-foot")
  const legend = element("div", "instance-legend"), said = element("div", "chosen-line", null, {role: "status", id: "instance-map-said"})
  foot.append(legend, said)
  const message = element("div", "body")
  panel.append(head, body, foot, message)

  let shown = null, cells = null // cells where there are too many points
  let numbers = [], labels = new Int16Array(), codes = new Uint8Array(), marks = new Uint8Array()
  let hovered = -1, loop = null, drawn_loop = null, chosen = [], grip = null, frame = 0, timer = null
  let turn = 0, asked = 0, asked_for = "", seen = [], is_new = false, is_all = false, turn_of_cell = 0, at_cell = [0, 0]
  const space = instanceSpace(canvas, () => { draw(); look() })
  canvas.placeOf = (number) => space.at(numbers.indexOf(number)) // for whoever looks one up, as the tests do
  const of = (name) => getComputedStyle(panel).getPropertyValue(`--${name}`).trim()
  for (const [text, name, action] of [["+", "Zoom in", () => space.zoom(1.5)], ["−", "Zoom out", () => space.zoom(1 / 1.5)], ["Fit", "Show all", space.fit]]) {
    const button = element("button", "button", text, {type: "button", "aria-label": `${name}: map of the instances`, title: name})
    button.addEventListener("click", action)
    zooms.append(button)
  }

  const draw = () => {
    if (!frame) frame = requestAnimationFrame(() => { frame = 0; paint() })
  }
  // What is seen is asked for once it stays; till then what there is moves and grows.
  const look = (wait = LOOK_MS) => {
    clearTimeout(asked)
    if (!shown || is_all || !body.clientWidth) return
    asked = setTimeout(() => {
      if (is_all) return
      const window = space.window(), shape = [Math.ceil(body.clientHeight / CELL_PX), Math.ceil(body.clientWidth / CELL_PX)]
      const what = JSON.stringify([shown.version, window, shape])
      is_new = false
      if (what === asked_for) return // points have moved, and what is seen of the plane has not
      asked_for = what
      seen = [window, shape]
      turn += 1
      canvas.dataset.asked = turn
      send({type: "look", version: shown.version, turn, window, shape})
    }, is_new ? 0 : wait) // a new map at once, however its panel has become another size
  }
  const take = async (part) => {
    // What is shown may be another map by the time that a part is read.
    const is_old = () => part.version !== shown?.version || part.turn !== turn
    if (is_old()) return
    // Of a new map what was seen of the last one comes by itself.
    asked_for = JSON.stringify([part.version, ...seen])
    is_new = false
    look() // where its legend and note have left another room for it, once they have
    if (part.points === undefined) {
      const made = await readCells(part, () => codeColors(shown, of))
      if (is_old()) return
      cells = {...part, made, picture: made()}
      ;[numbers, hovered] = [[], -1]
      space.go([], [], [])
    } else {
      const before = numbers, read = await readPoints(part)
      if (is_old()) return
      ;({numbers, labels, codes, marks} = read)
      cells = null
      is_all = part.is_all
      hovered = -1
      space.go(numbers, before, read.places, is_all)
    }
    hint.hidden = true
    canvas.dataset.seen = part.n
    canvas.dataset.drawn = cells ? "cells" : "points"
    note.textContent = `${shown.note}${part.n < shown.n ? `, ${part.n.toLocaleString("en")} in view` : ""}; ${shown.kept}`
    if (drawn_loop) chosen = space.inside(drawn_loop.map(([x, y]) => [space.sx(x), space.sy(y)]))
    show_chosen()
  }
  function paint() {
    const {clientWidth: wide, clientHeight: tall} = body
    if (!shown || !wide || !tall) return
    const context = fitCanvas(canvas, wide, tall)
    const ramp = codeColors(shown, of), none = ramp.length - 1
    if (cells) {
      const [left, right, bottom, top] = cells.window
      context.imageSmoothingEnabled = false
      context.drawImage(cells.picture, space.sx(left), space.sy(top), space.sx(right) - space.sx(left), space.sy(bottom) - space.sy(top))
    }
    // Few points in a large window are larger than many.
    const room = Math.max(1.9, Math.min(4, Math.sqrt(wide * tall / Math.max(1, shown.n)) / 16))
    const radius = Math.max(2, Math.min(5, room * Math.sqrt(space.k)))
    const is_sides = shown.kind === "sides", is_outcome = shown.kind === "outcome"
    const rank = (i) => (is_sides ? [2, 1, 2, 0][codes[i]] : is_outcome ? codes[i] : codes[i] === NO_COLOR ? 0 : 1)
    const order = numbers.map((_, i) => i).sort((a, b) => rank(a) - rank(b))
    for (const i of order) {
      const [x, y] = space.at(i)
      if (x < -9 || y < -9 || x > wide + 9 || y > tall + 9) continue
      context.globalAlpha = rank(i) > 0 ? 0.9 : 0.6
      context.fillStyle = ramp[Math.min(codes[i], none)]
      context.beginPath()
      context.arc(x, y, is_sides && rank(i) === 2 ? radius + 1 : radius, 0, 7)
      context.fill()
    }
    context.strokeStyle = of("text")
    context.lineWidth = 0.8
    context.globalAlpha = 0.6
    for (const i of chosen) {
      const [x, y] = space.at(i)
      context.beginPath()
      context.arc(x, y, radius + 1.6, 0, 7)
      context.stroke()
    }
    context.globalAlpha = 1
    name_classes(context, radius)
    const around = loop ?? drawn_loop?.map(([x, y]) => [space.sx(x), space.sy(y)])
    if (around) {
      context.beginPath()
      around.forEach(([x, y], i) => (i ? context.lineTo(x, y) : context.moveTo(x, y)))
      context.closePath()
      context.fillStyle = of("accent")
      context.globalAlpha = 0.08
      context.fill()
      context.globalAlpha = 1
      context.strokeStyle = of("accent")
      context.lineWidth = 1.5
      context.setLineDash([5, 4])
      context.stroke()
      context.setLineDash([])
    }
    if (hovered >= 0) {
      const [x, y] = space.at(hovered)
      context.beginPath()
      context.arc(x, y, radius + 3, 0, 7)
      context.strokeStyle = of("accent")
      context.lineWidth = 2
      context.stroke()
    }
  }
  // Of many classes more are named the nearer one looks; the chosen one always.
  function name_classes(context, radius) {
    const anchors = new Float32Array(bytes(shown.anchors).buffer) // x and y of each in turn
    const is_many = shown.classes.length > MANY_CLASSES
    context.font = `${is_many ? 400 : 600} 11px ${of("font")}`
    context.textAlign = "center"
    context.lineWidth = 3.5
    context.lineJoin = "round"
    const taken = []
    const most = is_many ? MANY_CLASSES * space.k : Infinity
    const first = shown.classes.indexOf(model.chosen)
    for (const i of [...(first >= 0 ? [first] : []), ...shown.classes.keys()]) {
      if (taken.length >= most) return
      const name = model.names[shown.classes[i]]
      const [middle, height] = [space.sx(anchors[2 * i]), space.sy(anchors[2 * i + 1])]
      if (middle < 0 || middle > body.clientWidth || height < 0 || height > body.clientHeight) continue
      const half = context.measureText(name).width / 2 + 3
      // Whole, also at an edge.
      const x = Math.max(half, Math.min(body.clientWidth - half, middle)), y = Math.max(12, height - radius - 5)
      if (taken.some(([l, t, r, b]) => x - half < r && x + half > l && y - 11 < b && y + 3 > t)) continue
      taken.push([x - half, y - 11, x + half, y + 3])
      context.strokeStyle = of("panel")
      context.strokeText(name, x, y)
      context.fillStyle = shown.classes[i] === model.chosen ? of("accent") : of("text")
      context.fillText(name, x, y)
    }
  }

  const place_hint = (x, y) => {
    const is_right = x > body.clientWidth - 220
    hint.style.left = is_right ? "" : `${x + 12}px`
    hint.style.right = is_right ? `${body.clientWidth - x + 12}px` : ""
    hint.style.top = `${Math.max(4, Math.min(y - 20, body.clientHeight - 84))}px`
  }
  function point(i) {
    if (i === hovered) return
    hovered = i
    canvas.classList.toggle("over", i >= 0)
    hint.hidden = i < 0
    clearTimeout(timer)
    timer = setTimeout(() => send({type: "point", number: i < 0 ? -1 : numbers[i]}), 80)
    if (i >= 0) {
      const number = `#${numbers[i].toLocaleString("en")}`
      const name = labels[i] >= 0 ? model.names[labels[i]] : model.has_classes ? "no label" : number
      const sides = [["", "in A", "in B", "in A and B"][marks[i] & 3], marks[i] & 4 ? "predicted wrong" : ""].filter(Boolean).join(", ")
      const text = element("div", "")
      text.append(element("b", "", name), element("div", "muted", [name === number ? "" : number, sides].filter(Boolean).join(", ")))
      hint.replaceChildren(text)
      if (shown.has_pictures) {
        const image = element("img", "", null, {alt: "", src: `${model.pictures}/instances/${numbers[i]}`})
        image.addEventListener("error", () => image.remove())
        hint.prepend(image)
      }
      place_hint(...space.at(i))
    }
    draw()
  }
  // Of cells the server says what is in the one that is pointed at.
  const ask_cell = (x, y) => {
    clearTimeout(timer)
    hint.hidden = true
    timer = setTimeout(() => {
      const [left, top] = space.place(x - CELL_PX, y - CELL_PX), [right, bottom] = space.place(x + CELL_PX, y + CELL_PX)
      turn_of_cell += 1
      at_cell = [x, y]
      send({type: "cell", version: shown.version, turn: turn_of_cell, window: [left, right, bottom, top]})
    }, LOOK_MS)
  }
  const show_cell = (cell) => {
    if (cell.turn !== turn_of_cell || !cells || cell.instance < 0) return
    const text = element("div", "")
    text.append(element("b", "", cell.title), ...cell.lines.map((line) => element("div", "muted", line)))
    hint.replaceChildren(text)
    hint.hidden = false
    place_hint(...at_cell)
  }
  const surround = (corners) => {
    const step = Math.max(1, Math.ceil(corners.length / MOST_CORNERS))
    drawn_loop = corners.length > 2 ? corners.filter((_, i) => i % step === 0).map(([x, y]) => space.place(x, y)) : null
    chosen = drawn_loop ? space.inside(corners) : []
    send({type: "surround", loop: drawn_loop ?? []})
    draw()
  }
  const give_up = () => { if (drawn_loop || model.n_chosen) surround([]) }
  const show_chosen = () => {
    draw()
    if (!model.n_chosen) {
      const hint_of = cells ? "a click zooms in, to single ones" : "click one to open it"
      said.replaceChildren(element("span", "muted note", `Drag around points to choose them; ${hint_of}`))
      return
    }
    const use = ["a", "b"].map((side) => {
      const button = element("button", `side-button side-${side}`, side.toUpperCase(), {type: "button", "aria-label": `Chosen instances as ${side.toUpperCase()}`})
      button.addEventListener("click", () => send({type: "use", side}))
      return button
    })
    const none = element("button", "quiet", "Give up", {type: "button"})
    none.addEventListener("click", give_up)
    said.replaceChildren(element("span", "", `${model.n_chosen.toLocaleString("en")} chosen: look at them as`), ...use, none)
  }
  canvas.addEventListener("pointerdown", (event) => {
    if (event.button !== 0 || !shown) return
    canvas.setPointerCapture(event.pointerId)
    grip = {x: event.offsetX, y: event.offsetY, is_move: event.shiftKey}
    loop = null
  })
  canvas.addEventListener("pointermove", (event) => {
    const {offsetX: x, offsetY: y} = event
    if (!grip) return cells ? ask_cell(x, y) : point(space.nearest(x, y))
    if (grip.is_move) {
      space.move(x - grip.x, y - grip.y)
      Object.assign(grip, {x, y, was_move: true})
      return
    }
    if (!loop && Math.hypot(x - grip.x, y - grip.y) < 5) return
    point(-1)
    loop ??= [[grip.x, grip.y]]
    loop.push([x, y])
    draw()
  })
  canvas.addEventListener("pointerup", (event) => {
    if (!grip) return
    const was = grip
    grip = null
    if (loop) {
      const corners = loop
      loop = null
      surround(corners)
    } else if (!was.is_move) {
      const i = space.nearest(event.offsetX, event.offsetY)
      if (cells) space.zoom(2, event.offsetX, event.offsetY)
      else if (i >= 0) send({type: "open", number: numbers[i]})
      else give_up()
    }
  })
  canvas.addEventListener("pointercancel", () => { grip = loop = null; draw() })
  canvas.addEventListener("pointerleave", () => {
    if (grip) return
    clearTimeout(timer)
    turn_of_cell += 1
    if (cells) hint.hidden = true
    else point(-1)
  })
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault()
    space.zoom(Math.exp(-event.deltaY * (event.deltaMode === 1 ? 20 : 1) * (event.ctrlKey ? 0.01 : 0.0015)), event.offsetX, event.offsetY)
  }, {passive: false})
  canvas.addEventListener("keydown", (event) => {
    const step = {ArrowLeft: [40, 0], ArrowRight: [-40, 0], ArrowUp: [0, 40], ArrowDown: [0, -40]}[event.key]
    if (step) space.move(...step)
    else if (event.key === "+" || event.key === "=") space.zoom(1.5)
    else if (event.key === "-") space.zoom(1 / 1.5)
    else if (event.key === "0") space.fit()
    else if (event.key === "Escape") give_up()
    else return
    event.preventDefault()
  })

  const show_map = () => {
    message.replaceChildren(...(model.missing ? [notice(model.missing)] : []))
    body.hidden = Boolean(model.missing)
    foot.hidden = colors.hidden = menu.hidden = Boolean(model.missing) || !model.shown
    message.hidden = !model.missing
    if (model.shown?.layer !== shown?.layer) cells = null // those of another layer lie elsewhere
    shown = model.shown
    title.textContent = shown ? `Instances in ${shown.layer}` : "Map of the instances"
    note.textContent = shown ? `${shown.note}; ${shown.kept}` : model.is_loading ? "Laying out …" : ""
    note.title = model.about.explanation ?? ""
    if (!shown) return [asked, timer].forEach(clearTimeout) // what was going to be asked of it
    space.within(shown.reach)
    is_all = false
    is_new = true
    asked_for = ""
    point(-1)
    show_legend()
    look(0)
  }
  const show_legend = () => {
    if (!shown) return
    by.replaceChildren(...model.colors.map(([key, words]) => new Option(words, key)))
    by.value = model.colors.some(([key]) => key === model.color) ? model.color : "sides"
    mapLegend(legend, shown, of)
    draw()
  }
  const show_loading = () => {
    panel.classList.toggle("loading", model.is_loading)
    if (!shown) note.textContent = model.is_loading ? "Laying out …" : note.textContent
  }
  model.on(["shown", "missing"], show_map)
  model.on(["color", "colors"], show_legend)
  model.on("n_chosen", () => {
    if (!model.n_chosen) [drawn_loop, chosen] = [null, []]
    show_chosen()
  })
  model.on("chosen", draw)
  model.on("is_loading", show_loading)
  model.on("msg:custom", ({part, cell}) => {
    if (part) take(part)
    if (cell) show_cell(cell)
  })
  onTheme(() => {
    if (cells) cells.picture = cells.made()
    show_legend()
  })
  // Colours are known once the panel is in the page.
  new ResizeObserver(() => { show_legend(); look() }).observe(body)
  show_map()
  show_chosen()
  show_loading()
  return panel
}
