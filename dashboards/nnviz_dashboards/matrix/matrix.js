const BAR_HEIGHT = 24, STRIP_HEIGHT = BAR_HEIGHT + 13 + ROW_HEIGHT

export function render({model}) {
  const send = (message) => model.send_msg(message)
  const panel = element("section", "panel matrix", null, {"aria-label": "Neuron matrix"})
  const head = element("header", "head matrix-title")
  const toggle = element("button", "matrix-toggle", null, {type: "button", "aria-controls": "matrix-body"})
  const title = element("h2", "title"), note = element("span", "muted note")
  toggle.append(element("span", "twist", "▾"), title)
  toggle.addEventListener("click", () => send({type: "toggle"}))
  const tools = matrixTools(send, zoom, savePicture)
  head.append(toggle, note, tools.box)
  const body = element("div", "matrix-body", null, {id: "matrix-body"})
  const corner = element("div", "matrix-corner")
  const passing_name = element("div", "matrix-passing name")
  const bars_name = element("div", "muted note matrix-bars-name", "A − B")
  corner.append(bars_name, passing_name)
  const strip = element("canvas", "matrix-strip", null, {"aria-hidden": "true"})
  const heads = rowHeads({
    sort: (key) => send({type: "sort", key}),
    keep: (key) => send({type: "keep", key}),
    remove: (key) => send({type: "remove", key}),
    rename: (key, name) => send({type: "rename", key, name}),
    move: (key, place) => send({type: "move", key, place}),
    point: (row) => { pointed.row = row; heads.mark(row); draw() },
  })
  const view = element("div", "matrix-view")
  const space = element("div", "matrix-space")
  const canvas = element("canvas", "matrix-cells", null, {
    tabindex: "0", role: "application", "aria-roledescription": "matrix", "aria-describedby": "matrix-cell",
    "aria-label": "Cells of the neuron matrix. Arrow keys move, Enter looks at the channel, S sorts by the row, Delete removes the row",
  })
  space.append(canvas)
  view.append(space)
  body.append(corner, strip, heads.box, view)
  const foot = element("footer", "matrix-foot")
  const legend = element("div", "matrix-legend")
  const low = element("span", "muted"), high = element("span", "muted"), what = element("span", "")
  legend.append(what, low, element("span", "matrix-ramp"), high)
  const cell = element("div", "matrix-cell", "", {id: "matrix-cell", role: "status"})
  foot.append(legend, cell)
  const message = element("div", "body matrix-message")
  const grip = element("div", "matrix-grip", null, {
    role: "separator", tabindex: "0", "aria-orientation": "horizontal", "aria-label": "Height of the neuron matrix",
  })
  panel.append(head, body, foot, message, grip)

  const colors_of = palette(panel)
  const cells = tileCache((row, column, version) => send({type: "tile", row, column, version}))
  let state = null, bars = new Int8Array(), marks = new Uint8Array(), place_of = new Map()
  let width = 0, is_fitted = true, height = 0, turn = 0, timer = null, frame = 0
  const pointed = {row: -1, column: -1}

  const n_rows = () => state.rows.length + state.classes.length
  const row_of = (i) => {
    if (i < state.rows.length) return state.rows[i]
    const index = state.classes[i - state.rows.length]
    return {key: `class ${index}`, kind: "class", name: model.table.names[index], count: model.table.n_instances[index].toLocaleString("en")}
  }
  function fit() {
    const n = Math.max(1, state.columns.length), room = view.clientWidth
    width = Math.max(6, Math.min(WIDTHS.at(-1), Math.floor(2 * room / n) / 2))
  }
  function zoom(step) {
    if (!state) return
    const at = Math.max(0, WIDTHS.findIndex((w) => w >= width))
    is_fitted = step === 0
    const middle = (view.scrollLeft + view.clientWidth / 2) / width
    if (step) width = WIDTHS[Math.max(0, Math.min(WIDTHS.length - 1, at + (step > 0 && WIDTHS[at] > width ? 0 : step)))]
    resize()
    if (step) view.scrollLeft = middle * width - view.clientWidth / 2
  }
  function resize() {
    if (!state || !view.clientWidth) return
    if (is_fitted) fit()
    space.style.width = `${state.columns.length * width}px`
    space.style.height = `${n_rows() * ROW_HEIGHT}px`
    draw()
  }
  function draw() {
    if (!frame) frame = requestAnimationFrame(() => { frame = 0; paint() })
  }
  function paint() {
    if (!state || !view.clientWidth || !width) return
    const colors = colors_of()
    const [left, top] = [view.scrollLeft, view.scrollTop]
    const [wide, tall] = [view.clientWidth, view.clientHeight]
    const columns = [Math.floor(left / width), Math.min(state.columns.length, Math.ceil((left + wide) / width))]
    const rows = [Math.floor(top / ROW_HEIGHT), Math.min(n_rows(), Math.ceil((top + tall) / ROW_HEIGHT))]
    const chosen = place_of.get(model.channel) ?? -1
    const context = fitCanvas(canvas, wide, tall)
    drawCells(context, colors, {rows, columns, left, top, width, height: ROW_HEIGHT, shadeOf: cells.shade})
    const frame_column = (context, column, color, tall) => {
      if (column < columns[0] || column >= columns[1]) return
      context.strokeStyle = color
      context.lineWidth = 1.5
      context.strokeRect(column * width - left - 0.5, -2, Math.max(3, width), tall + 4)
    }
    frame_column(context, chosen, colors.accent, Math.min(tall, n_rows() * ROW_HEIGHT - top))
    if (pointed.column >= 0 && pointed.row >= 0) {
      context.strokeStyle = colors.text
      context.lineWidth = 1.5
      context.strokeRect(pointed.column * width - left - 0.5, pointed.row * ROW_HEIGHT - top + 0.5, Math.max(3, width), ROW_HEIGHT - 1)
    }
    const above = fitCanvas(strip, wide, STRIP_HEIGHT)
    drawStrip(above, colors, {columns, left, width, bars, marks, numbers: state.columns, chosen, pointed: pointed.column, bar_height: BAR_HEIGHT})
    if (model.passing) {
      const shades = passing_shades
      above.save()
      above.translate(0, STRIP_HEIGHT - ROW_HEIGHT)
      drawCells(above, colors, {rows: [0, 1], columns, left, top: 0, width, height: ROW_HEIGHT, shadeOf: (_, c) => shades[c] ?? null})
      above.restore()
    }
    heads.show({rowOf: row_of, n_rows: n_rows(), first: rows[0], last: rows[1], top, sorted_by: state.sorted_by, version: state.version})
    heads.mark(pointed.row)
  }

  function point(row, column) {
    const is_inside = state && row >= 0 && column >= 0 && row < n_rows() && column < state.columns.length
    if (!is_inside) [row, column] = [-1, -1]
    if (row === pointed.row && column === pointed.column) return
    Object.assign(pointed, {row, column})
    draw()
    clearTimeout(timer)
    if (!is_inside) { cell.textContent = ""; turn++; return }
    timer = setTimeout(() => send({type: "point", row, column, turn: ++turn}), 40)
  }
  const under = (event) => {
    const box = canvas.getBoundingClientRect()
    return [Math.floor((event.clientY - box.top + view.scrollTop) / ROW_HEIGHT), Math.floor((event.clientX - box.left + view.scrollLeft) / width)]
  }
  const choose = () => { if (pointed.column >= 0) send({type: "look_at", channel: state.columns[pointed.column]}) }
  canvas.addEventListener("pointermove", (event) => point(...under(event)))
  canvas.addEventListener("pointerleave", () => point(-1, -1))
  canvas.addEventListener("click", (event) => { point(...under(event)); choose() })
  strip.addEventListener("pointermove", (event) => {
    const [, column] = under(event)
    pointed.column = column < (state?.columns.length ?? 0) ? column : -1
    draw()
  })
  strip.addEventListener("pointerleave", () => { pointed.column = -1; draw() })
  strip.addEventListener("click", choose)
  canvas.addEventListener("keydown", (event) => {
    if (!state) return
    const move = {ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0],
                  PageUp: [-10, 0], PageDown: [10, 0], Home: [0, -1e9], End: [0, 1e9]}[event.key]
    const row = pointed.row >= 0 ? row_of(pointed.row) : null
    if (move) {
      const limit = (value, n) => Math.max(0, Math.min(n - 1, value))
      const next = [limit(Math.max(0, pointed.row) + (pointed.row < 0 ? 0 : move[0]), n_rows()),
                    limit(Math.max(0, pointed.column) + (pointed.row < 0 ? 0 : move[1]), state.columns.length)]
      point(...next)
      reveal(...next)
    } else if (event.key === "Enter" || event.key === " ") choose()
    else if (event.key === "s" && row) send({type: "sort", key: row.key})
    else if (event.key === "Delete" && row) send({type: "remove", key: row.key})
    else if (event.key === "+" || event.key === "-") zoom(event.key === "+" ? 1 : -1)
    else if (event.key === "Escape") point(-1, -1)
    else return
    event.preventDefault()
  })
  function reveal(row, column) {
    const into = (at, size, start, room) => Math.max(at + size - room, Math.min(at, start))
    view.scrollTop = into(row * ROW_HEIGHT, ROW_HEIGHT, view.scrollTop, view.clientHeight)
    view.scrollLeft = into(column * width, width, view.scrollLeft, view.clientWidth)
  }
  heads.box.addEventListener("wheel", (event) => { view.scrollTop += event.deltaY; event.preventDefault() }, {passive: false})
  view.addEventListener("wheel", (event) => {
    if (!event.ctrlKey) return
    event.preventDefault()
    zoom(event.deltaY < 0 ? 1 : -1)
  }, {passive: false})
  view.addEventListener("scroll", draw, {passive: true})

  // The page gives the panel the height that its rows need, or what is dragged.
  const set_height = () => {
    const needed = 40 + STRIP_HEIGHT + (state ? n_rows() : 8) * ROW_HEIGHT + 48
    const wanted = !model.is_open ? "38px" : height ? `${height}px` : `min(${needed}px, 40vh)`
    document.documentElement.style.setProperty("--matrix-height", wanted)
    grip.setAttribute("aria-valuenow", String(Math.round(panel.getBoundingClientRect().height)))
  }
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

  function savePicture() {
    const room = 220, scale = 2
    const whole = element("canvas")
    const [wide, tall] = [view.clientWidth, view.clientHeight]
    whole.width = (room + wide) * scale
    whole.height = (30 + STRIP_HEIGHT + tall) * scale
    const context = whole.getContext("2d"), colors = colors_of()
    context.scale(scale, scale)
    context.fillStyle = colors.panel
    context.fillRect(0, 0, whole.width, whole.height)
    context.fillStyle = colors.text
    context.font = "bold 13px sans-serif"
    context.fillText(`${title.textContent}: ${what.textContent} ${low.textContent} to ${high.textContent}`, 8, 20)
    context.drawImage(strip, room, 30, wide, STRIP_HEIGHT)
    context.drawImage(canvas, room, 30 + STRIP_HEIGHT, wide, tall)
    context.font = "12px sans-serif"
    const first = Math.floor(view.scrollTop / ROW_HEIGHT)
    for (let i = first; i < Math.min(n_rows(), first + tall / ROW_HEIGHT); i++) {
      context.fillText(row_of(i).name.slice(0, 34), 8, 30 + STRIP_HEIGHT + i * ROW_HEIGHT - view.scrollTop + 14)
    }
    whole.toBlob((blob) => {
      const link = element("a", "", null, {href: URL.createObjectURL(blob), download: "neurons.png"})
      link.click()
      setTimeout(() => URL.revokeObjectURL(link.href), 10_000)
    }, "image/png")
  }

  let passing_shades = new Uint8Array()
  const show_state = () => {
    state = model.state
    message.replaceChildren(...(model.missing ? [notice(model.missing)] : []))
    panel.classList.toggle("nothing", !state)
    title.textContent = state ? `Neurons in ${state.layer}` : "Neurons"
    if (!state) return set_height()
    note.textContent = state.note
    what.textContent = state.what
    low.textContent = state.low
    high.textContent = state.high
    cells.reset(state.version, model.table.tile)
    cells.take(state.first)
    bars = new Int8Array(bytes(state.bars).buffer)
    marks = bytes(state.marks)
    place_of = new Map(state.columns.map((channel, place) => [channel, place]))
    set_height()
    resize()
    show_chosen()
  }
  const show_chosen = () => {
    tools.show(model.chosen, state, model.code)
    draw()
  }
  const show_passing = () => {
    passing_shades = model.passing ? bytes(model.passing.shades) : new Uint8Array()
    passing_name.textContent = model.passing ? model.passing.name : ""
    draw()
  }
  const show_open = () => {
    panel.classList.toggle("closed", !model.is_open)
    toggle.setAttribute("aria-expanded", String(model.is_open))
    set_height()
    resize()
  }
  const show_loading = () => panel.classList.toggle("loading", model.is_loading)
  model.on(["state", "missing"], show_state)
  model.on(["chosen", "code"], show_chosen)
  model.on("channel", draw)
  model.on("passing", show_passing)
  model.on("is_open", show_open)
  model.on("is_loading", show_loading)
  model.on("msg:custom", (message) => {
    if (message.tile?.version === cells.version) { cells.take(message.tile); draw() }
    if (message.cell && message.turn === turn) cell.textContent = message.cell
    if (message.file) saveBytes(message.file.name, message.file.content)
  })
  new ResizeObserver(resize).observe(view)
  // Colours follow the page's theme.
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw)
  onTheme(draw)
  // A tall window has room for the matrix and what is below it.
  const is_said = new URLSearchParams(location.search).has("matrix")
  if (!model.is_open && !is_said && innerHeight >= 1050) setTimeout(() => send({type: "toggle"}))
  show_open()
  show_state()
  show_passing()
  show_loading()
  return panel
}
