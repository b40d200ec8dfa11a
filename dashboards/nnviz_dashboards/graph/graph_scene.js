// The drawing: nodes and arcs that move, appear and vanish.
// SLOT, LEAST, GAP, ROW_GAP and WIDEST come from Python: notebooks draw the same.
const MANY_ROWS = 7
const NARROW_GAP = 12 // between many rows, so that nodes are as large as can be

// Areas, beyond the least, are as the shares of the subset: the same for all subsets.
const side_of = (share) => LEAST + (SLOT - LEAST) * Math.sqrt(Math.max(0, Math.min(1, share)))
const width_of = (share) => Math.max(0.8, WIDEST * share)
const THROUGH = "9 5" // dashes of what leads through folded layers
const key_of = (node) => `${node.layer}-${node.channel}`

function curve(a, b) {
  // From the lower end of the target to the upper end of the source.
  const y0 = a.y + a.half, y1 = b.y - b.half, middle = (y0 + y1) / 2
  return `M${a.x} ${y0}C${a.x} ${middle} ${b.x} ${middle} ${b.x} ${y1}`
}

function makeScene(arcs_group, nodes_group, pictures) {
  const nodes = new Map(), arcs = new Map()
  let frame = 0, letters = 14
  const shortened = ({name, channel}) => (!name ? channel : name.length > letters ? `${name.slice(0, letters - 1)}…` : name)

  const make_node = (key) => {
    const group = shape("g", "node", {"data-key": key, tabindex: "-1", role: "button"})
    const back = shape("rect", "back", {rx: 8})
    const label = shape("text", "face-text")
    const image = shape("image", "picture", {preserveAspectRatio: "xMidYMid slice"})
    const rim = shape("rect", "rim", {rx: 8})
    const number = shape("text", "number-text")
    group.append(back, label, image, rim, number)
    nodes_group.append(group)
    return {key, group, back, label, image, rim, number, x: 0, y: 0, half: 0, opacity: 0}
  }
  const fill_node = (item, value) => {
    item.value = value
    item.group.setAttribute("aria-label", `${value.label}, channel ${value.channel}${value.name ? `, ${value.name}` : ""}`)
    item.number.textContent = shortened(value)
    item.group.classList.toggle("output", Boolean(value.name))
    item.group.dataset.side = value.side ?? ""
    const has_picture = value.face >= 0
    item.group.classList.toggle("no-picture", !has_picture)
    item.group.classList.toggle("named", Boolean(value.name) && !has_picture)
    item.label.textContent = has_picture ? "" : value.name || value.channel
    item.n_letters = [...item.label.textContent].length
    if (has_picture) {
      const address = `${pictures()}/${value.number}/${value.channel}/${value.face}`
      if (item.image.getAttribute("href") !== address) item.image.setAttribute("href", address)
    } else item.image.removeAttribute("href")
  }
  // While some move, most of a graph stays as it is; each value that is set costs a
  // frame some time.
  const has_changed = (item, ...now) => {
    const is_same = item.placed && now.every((value, i) => value === item.placed[i])
    item.placed = now
    return !is_same
  }
  const place_node = (item) => {
    const {x, y, half, opacity, n_letters, placed = []} = item
    if (!has_changed(item, x, y, half, opacity, n_letters)) return
    if (x !== placed[0] || y !== placed[1]) item.group.setAttribute("transform", `translate(${x} ${y})`)
    if (opacity !== placed[3]) item.group.style.setProperty("--shown", opacity)
    if (half === placed[2] && n_letters === placed[4]) return
    item.group.style.setProperty("--half", `${half}px`)
    for (const box of [item.back, item.rim, item.image]) {
      box.setAttribute("x", -half)
      box.setAttribute("y", -half)
      box.setAttribute("width", 2 * half)
      box.setAttribute("height", 2 * half)
    }
    item.label.style.fontSize = `${Math.min(0.9 * half, 2.4 * half / Math.max(2, n_letters))}px`
  }
  const make_arc = (key) => {
    const line = shape("path", "arc"), hit = shape("path", "hit", {"data-arc": key})
    arcs_group.append(line, hit)
    return {key, line, hit, opacity: 0, width: 0}
  }
  const place_arc = (arc) => {
    const {to, from, width, opacity, placed = []} = arc
    if (!has_changed(arc, width, opacity, to.x, to.y, to.half, from.x, from.y, from.half)) return
    if (arc.placed.some((value, i) => i > 1 && value !== placed[i])) arc.line.setAttribute("d", curve(to, from))
    if (width !== placed[0]) arc.line.style.strokeWidth = width
    if (opacity !== placed[1]) arc.line.style.setProperty("--shown", opacity)
  }
  // What is pointed at follows once an arc stands still.
  const place_hit = (arc) => {
    const path = arc.line.getAttribute("d"), width = Math.max(9, arc.width)
    if (path === arc.hit_path && width === arc.hit_width) return
    Object.assign(arc, {hit_path: path, hit_width: width})
    arc.hit.setAttribute("d", path)
    arc.hit.style.strokeWidth = width
  }
  const animate = (moves, is_smooth, done) => {
    cancelAnimationFrame(frame)
    const apply = (t) => {
      for (const {item, from, to} of moves) {
        for (const name of Object.keys(to)) item[name] = from[name] + t * (to[name] - from[name])
      }
      for (const item of nodes.values()) place_node(item)
      for (const arc of arcs.values()) place_arc(arc)
      if (t < 1) return
      done()
      for (const arc of arcs.values()) place_hit(arc)
      nodes_group.dataset.still = "yes"
    }
    nodes_group.dataset.still = "no"
    if (!is_smooth || is_still()) return apply(1)
    const began = performance.now()
    const step = (now) => {
      const t = eased((now - began) / MOVE_MS)
      apply(t)
      if (t < 1) frame = requestAnimationFrame(step)
    }
    frame = requestAnimationFrame(step)
  }
  // What is no longer there fades away; the rest goes to its place.
  const show = (graph, pitch, is_smooth) => {
    const moves = [], wanted = new Map(), wanted_arcs = new Map()
    for (const value of graph.nodes) wanted.set(key_of(value), value)
    for (const [key, value] of wanted) {
      let item = nodes.get(key)
      const to = {x: value.x * pitch.x, y: value.row * pitch.y, half: side_of(value.share) / 2, opacity: 1}
      if (!item) {
        item = make_node(key)
        Object.assign(item, to, {opacity: 0})
        nodes.set(key, item)
      }
      item.group.classList.remove("gone")
      fill_node(item, value)
      moves.push({item, from: {...item}, to})
    }
    for (const [key, item] of nodes) {
      if (wanted.has(key)) continue
      item.group.classList.add("gone")
      moves.push({item, from: {...item}, to: {opacity: 0}})
    }
    for (const value of graph.arcs) {
      const [source, target] = [graph.nodes[value.source], graph.nodes[value.target]].map(key_of)
      const key = `${source}>${target}`
      let arc = arcs.get(key)
      if (!arc) {
        arc = make_arc(key)
        arcs.set(key, arc)
      }
      Object.assign(arc, {value, source, target, from: nodes.get(source), to: nodes.get(target)})
      arc.line.dataset.side = value.side
      arc.line.setAttribute("stroke-dasharray", value.n_folded ? THROUGH : "none")
      arc.line.style.strokeLinecap = value.n_folded ? "butt" : ""
      arc.hit.classList.remove("gone")
      wanted_arcs.set(key, arc)
      moves.push({item: arc, from: {...arc}, to: {opacity: 1, width: width_of(value.share)}})
    }
    for (const [key, arc] of arcs) {
      if (arc.line.dataset.role) arc.line.dataset.role = "" // so that it is put above those that are new
      if (wanted_arcs.has(key)) continue
      arc.hit.classList.add("gone")
      moves.push({item: arc, from: {...arc}, to: {opacity: 0}})
    }
    const clear = () => {
      for (const [key, item] of nodes) {
        if (!item.group.classList.contains("gone")) continue
        item.group.remove()
        nodes.delete(key)
      }
      for (const [key, arc] of arcs) {
        if (!arc.hit.classList.contains("gone")) continue
        arc.line.remove()
        arc.hit.remove()
        arcs.delete(key)
      }
    }
    animate(moves, is_smooth, clear)
  }
  // Show another picture on a node for a while; without one, its own.
  const turn = (key, address) => {
    const item = nodes.get(key)
    if (!item || item.value.face < 0) return
    if (address) item.image.setAttribute("href", address)
    else fill_node(item, item.value)
  }
  // Names of outputs stand side by side: as long as there is room between two of them.
  const fit_names = (pixels) => {
    letters = Math.max(3, Math.floor(pixels / 6.2))
    for (const item of nodes.values()) if (item.value.name) item.number.textContent = shortened(item.value)
  }
  // Hide what is weaker or less specific than the visitor wants.
  const filter = (strength, specificity) => {
    let n_hidden = 0
    for (const {group, value} of nodes.values()) {
      const is_hidden = value.share < strength || (specificity > 0 && (value.lift ?? 0) < specificity)
      group.classList.toggle("filtered", is_hidden)
      if (is_hidden && !group.classList.contains("gone")) n_hidden += 1
    }
    for (const arc of arcs.values()) {
      const is_hidden = [arc.from, arc.to].some((end) => end.group.classList.contains("filtered"))
      for (const line of [arc.line, arc.hit]) line.classList.toggle("filtered", is_hidden)
    }
    return n_hidden
  }
  const has_role = (node, role) => {
    if (node.dataset.role === role) return false
    node.dataset.role = role
    return true
  }
  // Light up a node with what feeds it and what it feeds, an arc with its ends, or a part.
  const focus = (key, arc_key, part) => {
    const roles = new Map(), lit = new Map()
    if (nodes.has(key)) {
      roles.set(key, "self")
      for (const arc of arcs.values()) {
        if (arc.target === key) roles.set(arc.source, "source"), lit.set(arc.key, "in")
        if (arc.source === key) roles.set(arc.target, "target"), lit.set(arc.key, "out")
      }
    } else if (arcs.has(arc_key)) {
      const arc = arcs.get(arc_key)
      roles.set(arc.source, "source").set(arc.target, "target")
      lit.set(arc_key, "lit")
    } else if (part) {
      for (const name of part.nodes) if (nodes.has(name)) roles.set(name, "self")
      for (const name of part.arcs) if (arcs.has(name)) lit.set(name, "lit")
    }
    for (const item of nodes.values()) has_role(item.group, roles.get(item.key) ?? "")
    for (const arc of arcs.values()) {
      // What is lit lies above the others.
      if (has_role(arc.line, lit.get(arc.key) ?? "") && lit.has(arc.key)) arcs_group.append(arc.line, arc.hit)
    }
    return roles.size > 0
  }
  return {nodes, arcs, show, filter, focus, fit_names, turn}
}
