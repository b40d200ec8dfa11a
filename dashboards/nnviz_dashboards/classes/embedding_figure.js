// Moves the points to where the goal says, and writes the names that fit between them.
// Arrays are changed in place: an assignment would travel to the server.
const state = (plot._nnviz ??= {frame: 0, canvas: document.createElement("canvas")})
const MOVE_MS = 450
const ROW = 15 // height of a label in pixels
const FEW = 40 // names of all points are written while no more than this are in view

function place() {
  const {data} = points
  const row_of = new Map()
  for (let i = 0; i < data.subset.length; i++) row_of.set(data.subset[i], i)
  const roles = []
  for (let k = 0; k < focus.data.subset.length; k++) {
    const row = row_of.get(focus.data.subset[k])
    if (row !== undefined && Number.isFinite(data.x[row])) {
      roles.push([row, focus.data.role[k]])
    }
  }
  const size = {chosen: 12, hovered: 11, near: 8}
  const drawn = roles.filter(([, role]) => role in size).reverse() // chosen one on top
  marks.data.x = drawn.map(([row]) => data.x[row])
  marks.data.y = drawn.map(([row]) => data.y[row])
  marks.data.role = drawn.map(([, role]) => role)
  marks.data.size = drawn.map(([, role]) => size[role])
  marks.data.color = drawn.map(([, role]) => colors[role])
  write_names(roles)
  points.change.emit()
  marks.change.emit()
  labels.change.emit()
}

function write_names(roles) {
  const {data} = points
  const {start: x0, end: x1} = plot.x_range
  const {start: y0, end: y1} = plot.y_range
  if (plot.properties.inner_width.is_unset) return // not laid out yet
  const width = plot.inner_width, height = plot.inner_height
  if (!(width > 0) || !Number.isFinite(x0) || x1 <= x0) return
  const to_x = (x) => (x - x0) / (x1 - x0) * width
  const to_y = (y) => (y1 - y) / (y1 - y0) * height
  const visible = []
  for (let i = 0; i < data.x.length; i++) {
    if (data.x[i] >= x0 && data.x[i] <= x1 && data.y[i] >= y0 && data.y[i] <= y1) {
      visible.push(i)
    }
  }
  const wanted = roles.map(([row, role]) => [row, role])
  const known = new Set(roles.map(([row]) => row))
  if (visible.length <= FEW) {
    for (const row of visible) if (!known.has(row)) wanted.push([row, "other"])
  }
  const context = state.canvas.getContext("2d")
  const taken = roles.map(([row]) => {
    const px = to_x(data.x[row]), py = to_y(data.y[row])
    return [px - 5, py - 5, px + 5, py + 5]
  })
  const kept = {x: [], y: [], text: [], dx: [], dy: [], weight: [], align: [], color: []}
  for (const [row, role] of wanted) {
    const weight = role === "chosen" || role === "hovered" ? "bold" : "normal"
    context.font = `${weight} 11px ${font}`
    const gap = weight === "bold" ? 10 : 8
    const full = data.name[row]
    const text = full.length > 30 ? full.slice(0, 29) + "…" : full
    const w = context.measureText(text).width + 4
    const px = to_x(data.x[row]), py = to_y(data.y[row])
    let box = null, align = "left", dy = 0
    for (const [side, shift] of [["left", 0], ["right", 0], ["center", -gap - 5], ["center", gap + 5]]) {
      const left = side === "left" ? px + gap : side === "right" ? px - gap - w : px - w / 2
      const candidate = [left, py + shift - ROW / 2, left + w, py + shift + ROW / 2]
      const is_inside = left >= 0 && left + w <= width && candidate[1] >= 0 && candidate[3] <= height
      const is_free = !taken.some((b) => b[0] < candidate[2] && candidate[0] < b[2] &&
                                         b[1] < candidate[3] && candidate[1] < b[3])
      if ((is_inside && is_free) || (box === null && weight === "bold" && is_inside)) {
        box = candidate
        align = side
        dy = shift
        if (is_free) break
      }
    }
    if (box === null) continue
    taken.push(box)
    kept.x.push(data.x[row])
    kept.y.push(data.y[row])
    kept.text.push(text)
    kept.dx.push({left: gap, right: -gap, center: 0}[align])
    kept.dy.push(dy)
    kept.align.push(align)
    kept.weight.push(weight)
    kept.color.push(role === "other" ? muted : ink)
  }
  Object.assign(labels.data, kept)
}

function move() {
  cancelAnimationFrame(state.frame)
  const from = {x: Float32Array.from(points.data.x), y: Float32Array.from(points.data.y)}
  const to = goal.data
  const is_same = from.x.length === to.x.length
  points.data.shade = to.shade.slice()
  points.data.name = to.name
  points.data.subset = to.subset
  if (!is_same || matchMedia("(prefers-reduced-motion: reduce)").matches) {
    points.data.x = to.x.slice()
    points.data.y = to.y.slice()
    place()
    return
  }
  const has_moved = from.x.some((x, i) => x !== to.x[i] || from.y[i] !== to.y[i])
  const began = performance.now()
  const step = (now) => {
    const t = has_moved ? Math.min(1, (now - began) / MOVE_MS) : 1
    const eased = t * t * (3 - 2 * t)
    for (let i = 0; i < to.x.length; i++) {
      const is_new = !Number.isFinite(from.x[i])
      points.data.x[i] = is_new || t === 1 ? to.x[i] : from.x[i] + eased * (to.x[i] - from.x[i])
      points.data.y[i] = is_new || t === 1 ? to.y[i] : from.y[i] + eased * (to.y[i] - from.y[i])
    }
    place()
    if (t < 1) state.frame = requestAnimationFrame(step)
  }
  step(began)
}

if (cb_obj === goal) {
  move()
} else if (cb_obj === focus) {
  place()
} else if (!state.is_waiting) {
  // Both ranges change at once; one redraw is enough.
  state.is_waiting = true
  requestAnimationFrame(() => {
    state.is_waiting = false
    place()
  })
}
