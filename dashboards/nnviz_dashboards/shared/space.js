// The space that a drawing stands in: zoom and pan, wherever the pointer is.
const CLICK_PX = 4
const MAX_SCALE = 4
const MAX_FITTED = 1.6
const KEPT_PX = 60 // of the drawing in view, however far it is moved

// `changed(space)` is called whenever the part that is seen has changed.
function makeSpace(svg, world, changed) {
  // A drawing that would be too small to read begins at its left, unless all is wanted.
  const space = {x: 0, y: 0, k: 1, is_fitted: true, is_whole: false, least: () => 0}
  let bounds = {left: 0, top: 0, right: 1, bottom: 1}
  let inset = {left: 0, top: 0, right: 0, bottom: 0}
  let frame = 0
  const apply = () => {
    world.setAttribute("transform", `translate(${space.x} ${space.y}) scale(${space.k})`)
    changed(space)
  }
  const fitted = () => {
    const width = Math.max(40, svg.clientWidth - inset.left - inset.right)
    const height = Math.max(40, svg.clientHeight - inset.top - inset.bottom)
    const whole = Math.min(width / (bounds.right - bounds.left), height / (bounds.bottom - bounds.top), MAX_FITTED)
    const k = space.is_whole ? whole : Math.max(whole, space.least())
    const along = (margin, room, from, to) => margin + Math.max(0, room - k * (to - from)) / 2 - k * from
    return {k, x: along(inset.left, width, bounds.left, bounds.right), y: along(inset.top, height, bounds.top, bounds.bottom)}
  }
  // A part of the drawing stays in view.
  const kept = ({x, y, k}) => {
    const along = (at, from, to, length) => {
      const least = Math.min(KEPT_PX, k * (to - from), length)
      return Math.max(least - k * to, Math.min(length - least - k * from, at))
    }
    const {clientWidth: width, clientHeight: height} = svg
    if (!width || !height) return {x, y, k}
    return {k, x: along(x, bounds.left, bounds.right, width), y: along(y, bounds.top, bounds.bottom, height)}
  }
  const go = (wanted, is_smooth) => {
    const goal = kept(wanted)
    cancelAnimationFrame(frame)
    if (!is_smooth || is_still()) {
      Object.assign(space, goal)
      apply()
      return
    }
    const from = {x: space.x, y: space.y, k: space.k}, began = performance.now()
    const step = (now) => {
      const t = eased((now - began) / MOVE_MS)
      for (const key of ["x", "y", "k"]) space[key] = from[key] + t * (goal[key] - from[key])
      apply()
      if (t < 1) frame = requestAnimationFrame(step)
    }
    frame = requestAnimationFrame(step)
  }
  const zoom = (factor, cx = svg.clientWidth / 2, cy = svg.clientHeight / 2, is_smooth = false) => {
    const least = Math.min(0.1, fitted().k / 2)
    const k = Math.max(least, Math.min(MAX_SCALE, space.k * factor))
    space.is_fitted = false
    go({k, x: cx - (cx - space.x) * k / space.k, y: cy - (cy - space.y) * k / space.k}, is_smooth)
  }
  svg.addEventListener("wheel", (event) => {
    event.preventDefault()
    const unit = event.deltaMode === 1 ? 20 : 1
    const box = svg.getBoundingClientRect()
    const speed = event.ctrlKey ? 0.01 : 0.0015
    zoom(Math.exp(-event.deltaY * unit * speed), event.clientX - box.left, event.clientY - box.top)
  }, {passive: false})
  let grip = null
  svg.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return
    grip = {id: event.pointerId, x: event.clientX, y: event.clientY, at: {x: space.x, y: space.y}, is_drag: false}
  })
  svg.addEventListener("pointermove", (event) => {
    if (!grip || event.pointerId !== grip.id) return
    const dx = event.clientX - grip.x, dy = event.clientY - grip.y
    if (!grip.is_drag && Math.hypot(dx, dy) < CLICK_PX) return
    if (!grip.is_drag) {
      grip.is_drag = true
      svg.setPointerCapture(event.pointerId)
      svg.classList.add("dragged")
    }
    space.is_fitted = false
    go({k: space.k, x: grip.at.x + dx, y: grip.at.y + dy}, false)
  })
  const release = () => {
    svg.classList.remove("dragged")
    space.was_drag = Boolean(grip?.is_drag)
    grip = null
  }
  svg.addEventListener("pointerup", release)
  svg.addEventListener("pointercancel", release)
  space.zoom = zoom
  space.fit = (is_smooth, is_whole = space.is_whole) => {
    Object.assign(space, {is_fitted: true, is_whole})
    go(fitted(), is_smooth)
  }
  // A change of the drawing leaves the view as it is, unless the drawing no longer fits.
  space.frame = (new_bounds, new_inset, is_smooth) => {
    const is_same = ["left", "top", "right", "bottom"].every((side) => bounds[side] === new_bounds[side])
    bounds = new_bounds
    inset = new_inset
    if (space.is_fitted && !is_same) space.fit(is_smooth)
  }
  space.resized = () => {
    if (space.is_fitted) go(fitted(), false)
    else go({x: space.x, y: space.y, k: space.k}, false)
  }
  space.size = () => ({width: svg.clientWidth, height: svg.clientHeight})
  return space
}

const MOVE_MS = 600
const is_still = () => matchMedia("(prefers-reduced-motion: reduce)").matches
const eased = (t) => {
  const s = Math.max(0, Math.min(1, t))
  return s * s * (3 - 2 * s)
}
