const BAR_HEIGHT = 24, STRIP_HEIGHT = BAR_HEIGHT + 13 + ROW_HEIGHT
const LAYER_HEAD = 28, LAYER_FOOT = 32

// The neurons of one layer: heads of the rows, bars above the columns, cells, legend.
// What it is told of the others: `marked`, when a row is pointed at, and `scrolled`.
function matrixLayer(place, {send, table, colors_of, actions, marked, scrolled}) {
  const box = element("section", "matrix-layer")
  const line = element("header", "matrix-layer-head")
  const name = element("button", "matrix-layer-name", "", {type: "button", title: "Look at this layer: it changes places with the first one"})
  const note = element("span", "muted note")
  const close = element("button", "row-button matrix-layer-close", "×", {type: "button"})
  line.append(name, note, close)
  const body = element("div", "matrix-body")
  const corner = element("div", "matrix-corner"), bars_name = element("div", "muted note matrix-bars-name")
  const passing_name = element("div", "matrix-passing name")
  corner.append(bars_name, passing_name)
  const strip = element("canvas", "matrix-strip", null, {"aria-hidden": "true"})
  const heads = rowHeads({...actions, point: (row) => { pointed.row = row; marked(row) }})
  const view = element("div", "matrix-view")
  const space = element("div", "matrix-space")
  const canvas = element("canvas", "matrix-cells", null, {
    tabindex: "0", role: "application", "aria-roledescription": "matrix", "aria-describedby": `matrix-cell-${place}`,
  })
  space.append(canvas)
  view.append(space)
  body.append(corner, strip, heads.box, view)
  const foot = element("footer", "matrix-foot")
  const legend = element("div", "matrix-legend")
  const low = element("span", "muted"), high = element("span", "muted"), what = element("span", "")
  legend.append(what, low, element("span", "matrix-ramp"), high)
  const cell = element("div", "matrix-cell", "", {id: `matrix-cell-${place}`, role: "status"})
  foot.append(legend, cell)
  const message = element("div", "body matrix-message")
  if (place) box.append(line)
  box.append(body, foot, message)

  const cells = tileCache((row, column, version) => send({type: "tile", place, row, column, version}))
  let layer = null, state = null, bars = new Int8Array(), marks = new Uint8Array(), place_of = new Map()
  let width = 0, is_fitted = true, turn = 0, timer = null, frame = 0, chosen = -1, marked_row = -1
  let passing = null, passing_shades = new Uint8Array()
  const pointed = {row: -1, column: -1}
  name.addEventListener("click", () => send({type: "look_at_layer", name: layer.name}))
  close.addEventListener("click", () => send({type: "toggle_layer", name: layer.name}))

  const called_of = (column) => state.names[state.columns[column]] ?? String(state.columns[column])
  const n_rows = () => state ? state.rows.length + state.classes.length : 0
  const row_of = (i) => {
    if (i < state.rows.length) return state.rows[i]
    const index = state.classes[i - state.rows.length]
    return {key: `class ${index}`, kind: "class", name: table().names[index], count: table().n_instances[index].toLocaleString("en")}
  }
  function fit() {
    const n = Math.max(1, state.columns.length), room = view.clientWidth
    width = Math.max(6, Math.min(WIDEST, Math.floor(2 * room / n) / 2))
  }
  function zoom(step) {
    if (!state) return
    const found = WIDTHS.findIndex((w) => w >= width), at = found < 0 ? WIDTHS.length - 1 : found
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
    const {top, wide, tall, rows} = seen()
    paintCells(fitCanvas(canvas, wide, tall), true)
    paintStrip(fitCanvas(strip, wide, STRIP_HEIGHT), true)
    heads.show({rowOf: row_of, n_rows: n_rows(), first: rows[0], last: rows[1], top, sorted_by: state.sorted_by, version: state.version})
    heads.mark(marked_row)
  }
  function seen() {
    const [left, top] = [view.scrollLeft, view.scrollTop]
    const [wide, tall] = [view.clientWidth, view.clientHeight]
    const columns = [Math.floor(left / width), Math.min(state.columns.length, Math.ceil((left + wide) / width))]
    const rows = [Math.floor(top / ROW_HEIGHT), Math.min(n_rows(), Math.ceil((top + tall) / ROW_HEIGHT))]
    return {left, top, wide, tall, columns, rows}
  }
  // What is pointed at is marked in the page, and in no picture.
  function paintCells(context, is_marked) {
    const colors = colors_of(), {left, top, wide, tall, columns, rows} = seen()
    const row = is_marked ? marked_row : -1
    if (row >= 0) {
      context.fillStyle = colors.hover
      context.fillRect(0, row * ROW_HEIGHT - top, wide, ROW_HEIGHT)
    }
    drawCells(context, colors, {rows, columns, left, top, width, height: ROW_HEIGHT, shadeOf: cells.shade})
    if (row >= 0) {
      context.fillStyle = colors.text
      for (const y of [row, row + 1]) context.fillRect(0, y * ROW_HEIGHT - top - 0.5, Math.min(wide, state.columns.length * width), 1)
    }
    const column = place_of.get(chosen) ?? -1
    if (column >= columns[0] && column < columns[1]) {
      context.strokeStyle = colors.accent
      context.lineWidth = 1.5
      context.strokeRect(column * width - left - 0.5, -2, Math.max(3, width), Math.min(tall, n_rows() * ROW_HEIGHT - top) + 4)
    }
    if (is_marked && pointed.column >= 0 && pointed.row >= 0) {
      context.strokeStyle = colors.text
      context.lineWidth = 1.5
      context.strokeRect(pointed.column * width - left - 0.5, pointed.row * ROW_HEIGHT - top + 0.5, Math.max(3, width), ROW_HEIGHT - 1)
    }
  }
  function paintStrip(context, is_marked) {
    const colors = colors_of(), {left, columns} = seen(), chosen_at = place_of.get(chosen) ?? -1
    drawStrip(context, colors, {columns, left, width, bars, marks, called: called_of, chosen: chosen_at, pointed: is_marked ? pointed.column : -1, bar_height: BAR_HEIGHT})
    if (!passing || !is_marked) return
    context.save()
    context.translate(0, STRIP_HEIGHT - ROW_HEIGHT)
    drawCells(context, colors, {rows: [0, 1], columns, left, top: 0, width, height: ROW_HEIGHT, shadeOf: (_, c) => passing_shades[c] ?? null})
    context.restore()
  }

  function point(row, column) {
    const is_inside = state && row >= 0 && column >= 0 && row < n_rows() && column < state.columns.length
    if (!is_inside) [row, column] = [-1, -1]
    if (row === pointed.row && column === pointed.column) return
    Object.assign(pointed, {row, column})
    marked(row)
    draw()
    clearTimeout(timer)
    if (!is_inside) { cell.textContent = ""; turn++; return }
    timer = setTimeout(() => send({type: "point", place, row, column, turn: ++turn}), 40)
  }
  const under = (event) => {
    const at = canvas.getBoundingClientRect()
    return [Math.floor((event.clientY - at.top + view.scrollTop) / ROW_HEIGHT), Math.floor((event.clientX - at.left + view.scrollLeft) / width)]
  }
  const choose = () => { if (pointed.column >= 0) send({type: "look_at", place, channel: state.columns[pointed.column]}) }
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
    else if (event.key === "s" && row) actions.sort(row.key)
    else if (event.key === "Delete" && row) actions.remove(row.key)
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
  heads.box.addEventListener("wheel", (event) => {
    if (view.scrollHeight <= view.clientHeight) return // the stack scrolls
    view.scrollTop += event.deltaY
    event.preventDefault()
  }, {passive: false})
  view.addEventListener("wheel", (event) => {
    if (!event.ctrlKey) return
    event.preventDefault()
    zoom(event.deltaY < 0 ? 1 : -1)
  }, {passive: false})
  view.addEventListener("scroll", () => { draw(); scrolled(view.scrollTop) }, {passive: true})
  new ResizeObserver(resize).observe(view)

  // A row that the page cuts is whole in a picture.
  const whole_rows = () => Math.max(1, Math.min(n_rows(), Math.ceil(view.clientHeight / ROW_HEIGHT))) * ROW_HEIGHT
  return {
    box, zoom, draw,
    get title() { return layer ? `Neurons in ${layer.label}` : "Neurons" },
    get note() { return state?.note ?? "" },
    get state() { return state },
    get name() { return layer?.name },
    get needed() { return STRIP_HEIGHT + n_rows() * ROW_HEIGHT + LAYER_FOOT + (place ? LAYER_HEAD : 0) },
    show(next) {
      layer = next
      state = layer?.state ?? null
      const missing = layer?.missing
      message.replaceChildren(...(missing ? [notice(missing)] : []))
      box.classList.toggle("nothing", !state)
      if (!layer) return
      name.textContent = this.title
      close.setAttribute("aria-label", `Close ${layer.label}`)
      box.setAttribute("aria-label", this.title)
      canvas.setAttribute("aria-label", `Cells of ${layer.label}. Arrow keys move, Enter looks at the channel, S sorts by the row, Delete removes the row`)
      if (!state) return
      note.textContent = state.note
      what.textContent = state.what
      bars_name.textContent = state.is_compared ? "A − B" : ""
      low.textContent = state.low
      high.textContent = state.high
      cells.reset(state.version, table().tile)
      cells.take(state.first)
      bars = new Int8Array(bytes(state.bars).buffer)
      marks = bytes(state.marks)
      place_of = new Map(state.columns.map((channel, at) => [channel, at]))
      resize()
    },
    choose(channel) { chosen = channel; draw() },
    pass(row) {
      passing = row
      passing_shades = row ? bytes(row.shades) : new Uint8Array()
      passing_name.textContent = row ? row.name : ""
      draw()
    },
    mark(row) { if (row !== marked_row) { marked_row = row; draw() } },
    scrollTo(top) { if (view.scrollTop !== top) view.scrollTop = top },
    take(answer) {
      if (answer.tile?.version === cells.version) { cells.take(answer.tile); draw() }
      if (answer.cell && answer.turn === turn) cell.textContent = answer.cell
    },
    resize,
    // How tall its picture is, and what of it is in view, drawn at y.
    get picture_height() { return 30 + STRIP_HEIGHT + whole_rows() + 12 },
    get picture_width() { return 220 + view.clientWidth },
    drawPicture(context, y) {
      const colors = colors_of(), room = 220
      const [wide, tall] = [view.clientWidth, whole_rows()]
      context.fillStyle = colors.text
      context.font = "bold 13px sans-serif"
      context.fillText(`${this.title}: ${what.textContent} ${low.textContent} to ${high.textContent}`, 8, y + 20)
      context.inside(room, y + 30, wide, STRIP_HEIGHT, () => paintStrip(context, false))
      context.inside(room, y + 30 + STRIP_HEIGHT, wide, tall, () => paintCells(context, false))
      Object.assign(context, {font: "12px sans-serif", fillStyle: colors.text, textAlign: "left"})
      const bars = bars_name.textContent
      context.fillText(bars, room - 8 - context.measureText(bars).width, y + 30 + 16)
      const first = Math.floor(view.scrollTop / ROW_HEIGHT)
      for (let i = first; i < Math.min(n_rows(), first + tall / ROW_HEIGHT); i++) {
        context.fillText(row_of(i).name.slice(0, 34), 8, y + 30 + STRIP_HEIGHT + i * ROW_HEIGHT - view.scrollTop + 14)
      }
    },
  }
}
