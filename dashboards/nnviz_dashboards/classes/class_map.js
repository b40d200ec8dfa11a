// Where the classes are: places in a square, the part of it that is seen, and moves.
const MOVE_MS = 450
const LEAST_ZOOM = 0.8, MOST_ZOOM = 60
const PADDING = 26 // pixels around the square, for half a mark and a name
const REACH = 14 // pixels from a point at which it is still meant
const CLICK_PX = 4
const is_still = () => matchMedia("(prefers-reduced-motion: reduce)").matches

function classMap(canvas, {names, subsets, changed}) {
  const row_of = new Map(subsets.map((subset, row) => [subset, row]))
  const places = new Float32Array(2 * subsets.length).fill(NaN)
  let [k, cx, cy] = [1, 0, 0] // zoom, and what is in the middle
  let frame = 0, grip = null, was_drag = false

  const scale = () => k * Math.max(20, Math.min(canvas.clientWidth, canvas.clientHeight) - 2 * PADDING) / 2
  const x_of = (row) => canvas.clientWidth / 2 + (places[2 * row] - cx) * scale()
  const y_of = (row) => canvas.clientHeight / 2 - (places[2 * row + 1] - cy) * scale()
  // Nobody is lost in the void: the point that is nearest to the middle stays in view.
  const keep_one = () => {
    if (!canvas.clientWidth) return // it is not in the page yet
    const half = (length) => Math.max(0, length / 2 - PADDING) / scale()
    const [wide, high] = [half(canvas.clientWidth), half(canvas.clientHeight)]
    let [best, least] = [-1, Infinity]
    for (let row = 0; row < subsets.length; row++) {
      const [dx, dy] = [Math.abs(places[2 * row] - cx) - wide, Math.abs(places[2 * row + 1] - cy) - high]
      const outside = Math.hypot(Math.max(0, dx), Math.max(0, dy)) // NaN without a place
      if (outside < least) [best, least] = [row, outside]
    }
    if (best < 0 || least === 0) return
    const [x, y] = [places[2 * best], places[2 * best + 1]]
    cx = Math.max(x - wide, Math.min(x + wide, cx))
    cy = Math.max(y - high, Math.min(y + high, cy))
  }
  const look = (new_k, x, y) => {
    k = Math.max(LEAST_ZOOM, Math.min(MOST_ZOOM, new_k))
    cx = Math.max(-1, Math.min(1, x))
    cy = Math.max(-1, Math.min(1, y))
    keep_one()
    changed()
  }
  const zoom = (factor, px = canvas.clientWidth / 2, py = canvas.clientHeight / 2) => {
    const [dx, dy] = [(px - canvas.clientWidth / 2) / scale(), (canvas.clientHeight / 2 - py) / scale()]
    const left = 1 - k / Math.max(LEAST_ZOOM, Math.min(MOST_ZOOM, k * factor))
    look(k * factor, cx + dx * left, cy + dy * left)
  }
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault()
    const unit = event.deltaMode === 1 ? 20 : 1
    zoom(Math.exp(-event.deltaY * unit * (event.ctrlKey ? 0.01 : 0.0015)), event.offsetX, event.offsetY)
  }, {passive: false})
  canvas.addEventListener("pointerdown", (event) => {
    if (event.button === 0) grip = {x: event.clientX, y: event.clientY, cx, cy, is_drag: false}
  })
  canvas.addEventListener("pointermove", (event) => {
    if (!grip) return
    const [dx, dy] = [event.clientX - grip.x, event.clientY - grip.y]
    if (!grip.is_drag && Math.hypot(dx, dy) < CLICK_PX) return
    if (!grip.is_drag) canvas.setPointerCapture(event.pointerId)
    grip.is_drag = true
    look(k, grip.cx - dx / scale(), grip.cy + dy / scale())
  })
  const release = () => {
    was_drag = Boolean(grip?.is_drag)
    grip = null
  }
  canvas.addEventListener("pointerup", release)
  canvas.addEventListener("pointercancel", release)

  const go = (wanted) => {
    cancelAnimationFrame(frame)
    const from = places.slice(), began = performance.now()
    const step = (now) => {
      const t = is_still() ? 1 : Math.max(0, Math.min(1, (now - began) / MOVE_MS)), eased = t * t * (3 - 2 * t)
      wanted.forEach((to, i) => {
        const is_new = to === null || Number.isNaN(from[i])
        places[i] = to === null ? NaN : is_new || t === 1 ? to : from[i] + eased * (to - from[i])
      })
      if (t === 1) keep_one()
      changed()
      if (t < 1) frame = requestAnimationFrame(step)
    }
    step(began)
  }
  const has_place = (row) => row !== undefined && !Number.isNaN(places[2 * row])
  const nearest = (x, y) => {
    let [best, least] = [-1, REACH]
    subsets.forEach((subset, row) => {
      const distance = Math.hypot(x_of(row) - x, y_of(row) - y)
      if (distance < least) [best, least] = [subset, distance]
    })
    return best
  }
  // The nearest class in a direction; what is aside counts as further away.
  const beside = (subset, dx, dy) => {
    const row = row_of.get(subset)
    if (!has_place(row)) return subsets.find((other) => has_place(row_of.get(other))) ?? -1
    let [best, least] = [subset, Infinity]
    subsets.forEach((other, at) => {
      const [x, y] = [x_of(at) - x_of(row), y_of(at) - y_of(row)]
      const ahead = dx * x + dy * y, aside = Math.abs(dx * y) + Math.abs(dy * x)
      if (other !== subset && ahead > 0 && ahead + 2 * aside < least) [best, least] = [other, ahead + 2 * aside]
    })
    return best
  }
  return {
    names, subsets, row_of, x_of, y_of, go, zoom, nearest, beside, has_place,
    fit: () => look(1, 0, 0),
    // A class that is out of sight is brought to the middle.
    show: (subset) => {
      const row = row_of.get(subset)
      if (!has_place(row) || !canvas.clientWidth) return
      const [x, y] = [x_of(row), y_of(row)]
      if (x < 0 || y < 0 || x > canvas.clientWidth || y > canvas.clientHeight) look(k, places[2 * row], places[2 * row + 1])
    },
    place_of: (subset) => {
      const row = row_of.get(subset)
      return has_place(row) ? [x_of(row), y_of(row)] : null
    },
    name_of: (subset) => names[row_of.get(subset)] ?? "",
    is_dragged: () => Boolean(grip?.is_drag),
    was_drag: () => was_drag,
  }
}
