// Places of many points, the part of the plane that is seen, and which lie in a loop.
const LEAST_REACH = 1.6
const LEAST_ZOOM = 0.7, MOST_ZOOM = 200
const PADDING = 12 // pixels from the edge to a point that is kept in view
const HALF = [1.32, 1.32] // of the plane, which is seen at first where not all points are known
const LEAST_HALF = 0.6, MOST_HALF = 3 // few that are far off do not press all others together

function instanceSpace(canvas, changed) {
  let [k, cx, cy] = [1, 0, 0]
  let reach = LEAST_REACH // of the places that can be looked at
  let x = new Float32Array(), y = new Float32Array(), frame = 0
  let half = HALF // from the middle of the plane to what is in view where it is not zoomed
  const scale = () => k * Math.max(10, Math.min((canvas.clientWidth / 2 - PADDING) / half[0], (canvas.clientHeight / 2 - PADDING) / half[1]))
  const sx = (value) => canvas.clientWidth / 2 + (value - cx) * scale()
  const sy = (value) => canvas.clientHeight / 2 - (value - cy) * scale()
  // Nobody is lost in the void: of the points that are here, the nearest stays in view.
  const keep_one = () => {
    if (!canvas.clientWidth) return // it is not in the page yet
    const seen = (length) => Math.max(0, length / 2 - PADDING) / scale()
    const [wide, high] = [seen(canvas.clientWidth), seen(canvas.clientHeight)]
    let [best, least] = [-1, Infinity]
    for (let i = 0; i < x.length && least > 0; i++) {
      const [dx, dy] = [Math.max(0, Math.abs(x[i] - cx) - wide), Math.max(0, Math.abs(y[i] - cy) - high)]
      const outside = dx * dx + dy * dy
      if (outside < least) [best, least] = [i, outside]
    }
    if (best < 0 || least === 0) return
    cx = Math.max(x[best] - wide, Math.min(x[best] + wide, cx))
    cy = Math.max(y[best] - high, Math.min(y[best] + high, cy))
  }
  // As far out as whatever is furthest off comes into view.
  const zoomed = (factor) => Math.max(Math.min(LEAST_ZOOM, Math.min(...half) / reach), Math.min(MOST_ZOOM, factor))
  const look = (to_k, to_x, to_y) => {
    k = zoomed(to_k)
    cx = Math.max(-reach, Math.min(reach, to_x))
    cy = Math.max(-reach, Math.min(reach, to_y))
    keep_one()
    changed()
  }
  const zoom = (factor, px = canvas.clientWidth / 2, py = canvas.clientHeight / 2) => {
    const [dx, dy] = [(px - canvas.clientWidth / 2) / scale(), (canvas.clientHeight / 2 - py) / scale()]
    const left = 1 - k / zoomed(k * factor)
    look(k * factor, cx + dx * left, cy + dy * left)
  }
  // Points that both have move from layer to layer. Where these are all, all are in view.
  const go = (numbers, before, wanted, is_all = false) => {
    cancelAnimationFrame(frame)
    const furthest = [0, 0]
    for (let i = 0; is_all && i < wanted.length; i++) furthest[i % 2] = Math.max(furthest[i % 2], Math.abs(wanted[i]))
    const half_before = before.length ? half : null
    const half_wanted = is_all ? furthest.map((far) => Math.max(LEAST_HALF, Math.min(MOST_HALF, far))) : HALF
    const at = new Map(before.map((n, i) => [n, i]))
    const from = {x: Float32Array.from(numbers, (n, i) => x[at.get(n)] ?? wanted[2 * i]),
                  y: Float32Array.from(numbers, (n, i) => y[at.get(n)] ?? wanted[2 * i + 1])}
    x = new Float32Array(numbers.length)
    y = new Float32Array(numbers.length)
    const began = performance.now(), is_still = matchMedia("(prefers-reduced-motion: reduce)").matches
    const step = (now) => {
      const t = is_still ? 1 : Math.max(0, Math.min(1, (now - began) / 450)), eased = t * t * (3 - 2 * t)
      for (let i = 0; i < x.length; i++) {
        x[i] = from.x[i] + eased * (wanted[2 * i] - from.x[i])
        y[i] = from.y[i] + eased * (wanted[2 * i + 1] - from.y[i])
      }
      half = half_wanted.map((wide, i) => wide + (1 - eased) * ((half_before?.[i] ?? wide) - wide))
      if (t === 1) keep_one()
      changed()
      if (t < 1) frame = requestAnimationFrame(step)
    }
    step(began)
  }
  const nearest = (px, py, reach = 9) => {
    let best = -1, least = reach * reach
    for (let i = 0; i < x.length; i++) {
      const d = (sx(x[i]) - px) ** 2 + (sy(y[i]) - py) ** 2
      if (d < least) [best, least] = [i, d]
    }
    return best
  }
  const inside = (loop) => {
    const found = []
    for (let i = 0; i < x.length; i++) {
      const [px, py] = [sx(x[i]), sy(y[i])]
      let is_in = false
      for (let a = 0, b = loop.length - 1; a < loop.length; b = a++) {
        const [[ax, ay], [bx, by]] = [loop[a], loop[b]]
        if (ay > py !== by > py && px < ((bx - ax) * (py - ay)) / (by - ay) + ax) is_in = !is_in
      }
      if (is_in) found.push(i)
    }
    return found
  }
  return {
    go, zoom, nearest, inside, sx, sy,
    fit: () => look(1, 0, 0),
    within: (furthest) => { reach = Math.max(LEAST_REACH, furthest) },
    move: (dx, dy) => look(k, cx - dx / scale(), cy + dy / scale()),
    at: (i) => [sx(x[i]), sy(y[i])],
    // The place that is drawn somewhere, and the part of the plane that is seen.
    place: (px, py) => [cx + (px - canvas.clientWidth / 2) / scale(), cy + (canvas.clientHeight / 2 - py) / scale()],
    window: () => {
      const [w, h] = [canvas.clientWidth / 2 / scale(), canvas.clientHeight / 2 / scale()]
      return [cx - w, cx + w, cy - h, cy + h]
    },
    get k() { return k },
  }
}
