const HEAD = 40, GRIP = 16
const LAYERS = ["layer_0", "layer_1", "layer_2", "layer_3"]

export function render({model}) {
  const send = (message) => model.send_msg(message)
  const panel = element("section", "panel matrix", null, {"aria-label": "Neuron matrix"})
  const head = element("header", "head matrix-title")
  const toggle = element("button", "matrix-toggle", null, {type: "button", "aria-controls": "matrix-stack"})
  const title = element("h2", "title"), note = element("span", "muted note")
  toggle.append(element("span", "twist", "▾"), title)
  toggle.addEventListener("click", () => send({type: "toggle"}))
  const stack = element("div", "matrix-stack", null, {id: "matrix-stack"})
  const grip = element("div", "matrix-grip", null, {
    role: "separator", tabindex: "0", "aria-orientation": "horizontal", "aria-label": "Height of the neuron matrix",
  })
  panel.append(head, stack, grip)
  const colors_of = palette(panel)
  const actions = {
    sort: (key) => send({type: "sort", key}),
    keep: (key) => send({type: "keep", key}),
    remove: (key) => send({type: "remove", key}),
    rename: (key, name) => send({type: "rename", key, name}),
    move: (key, place) => send({type: "move", key, place}),
  }
  // The rows are the same in all layers: they are marked and scrolled together.
  const layers = LAYERS.map(() => null)
  const make_layer = (place) => {
    const layer = matrixLayer(place, {
      send, table: () => model.table, colors_of, actions,
      marked: (row) => layers.forEach((layer) => layer?.mark(row)),
      scrolled: (top) => layers.forEach((layer) => layer?.scrollTo(top)),
    })
    stack.append(layer.box) // places are opened and closed from the last one
    return layer
  }
  const opened = () => layers.filter(Boolean)
  const tools = matrixTools(model, send, {
    zoom: (step) => layers.forEach((layer) => layer?.zoom(step)), picture: (kind) => saveView(kind),
    tables: () => opened().map((layer, place) => [opened().length > 1 ? layer.name : "", place]),
  })
  head.append(toggle, note, tools.box)
  let height = 0

  // The page gives the panel the height that its rows need, or what is dragged.
  const set_height = () => {
    const several = opened().length > 1
    const needed = HEAD + GRIP + opened().reduce((sum, layer) => sum + (layer.state ? layer.needed : 220), 0)
    const most = several ? "max(46vh, 300px)" : "40vh"
    const wanted = model.room === "closed" ? "38px" : model.room === "large" ? "max(420px, 100vh - 230px)" : height ? `${height}px` : `min(${needed}px, ${most})`
    document.documentElement.style.setProperty("--matrix-height", wanted)
    grip.setAttribute("aria-valuenow", String(Math.round(panel.getBoundingClientRect().height)))
  }
  // All rows where there is room, else as many that two layers are seen at once.
  const share_room = () => {
    const shown = opened(), room = stack.clientHeight
    const least = 5 * ROW_HEIGHT, around = STRIP_HEIGHT + LAYER_FOOT + LAYER_HEAD
    const wanted = shown.reduce((sum, layer) => sum + layer.needed, 0) + 8
    const each = room / shown.length - around >= least ? room / shown.length : room / 2
    const rows = wanted <= room ? "none" : `${Math.max(4 * ROW_HEIGHT, Math.floor(each - around))}px`
    panel.style.setProperty("--rows-height", rows)
  }
  new ResizeObserver(share_room).observe(stack)
  const limit_height = (value) => Math.max(150, Math.min(innerHeight - 260, value))
  grip.addEventListener("pointerdown", (event) => {
    grip.setPointerCapture(event.pointerId)
    const start = event.clientY - panel.getBoundingClientRect().height
    const drag = (event) => { height = limit_height(event.clientY - start); set_height() }
    grip.addEventListener("pointermove", drag)
    grip.addEventListener("pointerup", () => grip.removeEventListener("pointermove", drag), {once: true})
  })
  grip.addEventListener("keydown", (event) => {
    const step = {ArrowUp: -24, ArrowDown: 24}[event.key]
    if (!step) return
    height = limit_height((height || panel.getBoundingClientRect().height) + step)
    set_height()
    event.preventDefault()
  })
  grip.addEventListener("dblclick", () => { height = 0; set_height() })

  // Of every layer what is in view, as shapes.
  async function saveView(kind) {
    const drawn = opened()
    const width = Math.max(...drawn.map((layer) => layer.picture_width))
    const height = drawn.reduce((sum, layer) => sum + layer.picture_height, 0)
    const context = shapesOf(width, height)
    context.fillStyle = colors_of().panel
    context.fillRect(0, 0, width, height)
    let y = 0
    for (const layer of drawn) {
      layer.drawPicture(context, y)
      y += layer.picture_height
    }
    await savePicture(kind, "neurons", {text: context.text(), width, height})
  }

  const show_layer = (place) => {
    const value = model[LAYERS[place]]
    if (value || place === 0) (layers[place] ??= make_layer(place)).show(value)
    else {
      layers[place]?.box.remove()
      layers[place] = null
    }
    const n = opened().length
    panel.classList.toggle("several", n > 1)
    panel.classList.toggle("nothing", n === 1 && !layers[0].state)
    title.textContent = layers[0].title
    note.textContent = layers[0].note
    set_height()
    share_room()
    show_chosen()
  }
  const show_chosen = () => {
    tools.show(model.chosen, model.can_open)
    layers.forEach((layer, place) => layer?.choose(model.channels[place] ?? -1))
  }
  const show_passing = () => layers.forEach((layer, place) => layer?.pass(model.passing[place] ?? null))
  const show_open = () => {
    const is_open = model.room !== "closed"
    panel.classList.toggle("closed", !is_open)
    toggle.setAttribute("aria-expanded", String(is_open))
    document.documentElement.dataset.matrix = model.room // the page gives it more room
    tools.enlarged(model.room === "large")
    set_height()
    opened().forEach((layer) => layer.resize())
  }
  const show_loading = () => panel.classList.toggle("loading", model.is_loading)
  LAYERS.forEach((name, place) => model.on(name, () => {
    const is_new = model[name] && !layers[place]
    show_layer(place)
    if (is_new) requestAnimationFrame(() => layers[place]?.box.scrollIntoView({block: "nearest"}))
  }))
  model.on(["chosen", "channels", "can_open"], show_chosen)
  model.on("passing", show_passing)
  model.on("room", show_open)
  model.on("is_loading", show_loading)
  model.on("msg:custom", (message) => {
    if (message.place !== undefined) layers[message.place]?.take(message)
  })
  // Colours follow the page's theme.
  const draw = () => opened().forEach((layer) => layer.draw())
  onTheme(draw)
  // A tall window has room for the matrix and what is below it.
  const is_said = new URLSearchParams(location.search).has("matrix")
  if (model.room === "closed" && !is_said && innerHeight >= 1050) setTimeout(() => send({type: "toggle"}))
  LAYERS.forEach((_, place) => show_layer(place))
  show_open()
  show_passing()
  show_loading()
  return panel
}
