const LABEL_PX = 14 // height of a layer's name
const LEAST_HINTED = 250 // lower canvases have no room for the hint above the buttons

export function render({model}) {
  const panel = element("section", "panel graph-panel", null, {"aria-label": "Attribution graph"})
  const canvas = element("div", "canvas")
  const svg = shape("svg", "graph", {role: "group", "aria-label": "Attribution graph, outputs at the top", tabindex: "0"})
  const world = shape("g", "world")
  const band = shape("rect", "band", {x: -50_000, width: 100_000})
  const arcs_group = shape("g"), nodes_group = shape("g", "nodes")
  world.append(band, arcs_group, nodes_group)
  svg.append(world)
  const labels = element("div", "layer-labels")
  const problems = element("div", "problems", null, {role: "status"})
  const empty = element("div", "canvas-notice")
  const footer = element("footer", "graph-footer")
  const note = element("span", "note", "", {role: "status"})
  const [code, check] = ["", ""].map(() => closable(element("details", "menu code-menu")))
  const shared = closable(element("details", "menu code-menu parts-menu"))
  const effect = element("div", "graph-effect", "", {role: "status"})
  footer.append(note, shared, check, code)
  canvas.append(svg, labels, empty)

  const local = {strength: null, specificity: null, gap: null, row_gap: null} // while a slider is dragged
  const chosen = (name) => local[name] ?? model.chosen[name]
  let pitch = {x: SLOT + GAP, y: SLOT + ROW_GAP}
  let hovered = null, hovered_arc = null
  let canvas_size = {width: 0, height: 0} // to ask for it lays out all that has changed
  let part = null // that is shared with other graphs, and lit up

  const scene = makeScene(arcs_group, nodes_group, () => model.pictures)
  const card = makeCard(canvas, {
    graph: () => model.graph,
    said: () => model.said,
    pictures: () => model.pictures,
    rule: () => model.rule,
    written: () => model.is_written,
    ask: (what, index) => model.send_msg({
      type: {node: "numbers", arc: "arc_numbers", diverse: "diverse"}[what],
      [what === "arc" ? "arc" : "node"]: index, version: model.graph.version,
    }),
    pin: ({layer, channel}) => model.send_msg({type: "pin", layer, channel}),
    unpin: () => model.send_msg({type: "unpin"}),
    open: (instance) => model.send_msg({type: "open", instance}),
  })
  const space = makeSpace(svg, world, ({y, k}) => {
    // All that is drawn inherits it, and is styled anew.
    if (svg.style.getPropertyValue("--k") !== String(k)) svg.style.setProperty("--k", k)
    svg.classList.toggle("far", Math.min(pitch.x, pitch.y) * k < 34)
    scene.fit_names(pitch.x * k)
    const tall = pitch.y * k, every = Math.max(1, Math.ceil(LABEL_PX / tall))
    const chosen_row = reached().find((layer) => layer.name === model.layer)?.row ?? -Infinity
    for (const label of labels.children) {
      label.style.transform = `translateY(${label.row * tall + y}px)`
      // Where rows are lower than their names, some go unnamed, the chosen one never.
      const from_chosen = Math.abs(label.row - chosen_row), is_chosen = from_chosen === 0 && !label.dataset.stage
      const has_room = label.dataset.stage ? tall >= 2 * LABEL_PX : label.row % every === 0 && from_chosen * tall >= LABEL_PX
      label.classList.toggle("crowded", !has_room && !is_chosen)
    }
    if (!has_place()) show_focus() // its card is beside what is looked at
  })
  const tools = makeTools(model, {
    strength: (v) => { local.strength = v; show_filter() },
    specificity: (v) => { local.specificity = v; show_filter() },
    gap: (v) => { local.gap = v; show_graph() },
    row_gap: (v) => { local.row_gap = v; show_graph() },
    picture: async (kind) => {
      const rows = reached().map((l) => ({text: l.label, y: l.row * pitch.y}))
      const keys = model.graph.versus ? sides() : []
      const {subset} = model.graph // which may be another one when the picture is made
      const lines = [`${model.graph.note}; ${model.graph.made}`, model.graph.is_relative ? "Sizes and widths: count, by the largest" : "Sizes and widths: share of the instances"]
      const picture = await makePicture(svg, world, {parts: [arcs_group, nodes_group], rows, title: model.graph.title, keys, lines, scale: legend.querySelector(".legend-sizes")})
      await savePicture(kind, subset, picture)
    },
  })
  panel.append(tools.bar, problems, canvas, effect, footer)

  const legend = element("div", "legend")
  const zooms = element("div", "zooms", null, {role: "group", "aria-label": "Zoom"})
  for (const [text, name, action] of [["+", "Zoom into the graph", () => space.zoom(1.4, undefined, undefined, true)],
                                      ["−", "Zoom out of the graph", () => space.zoom(1 / 1.4, undefined, undefined, true)],
                                      ["Fit", "Show the whole graph", () => space.fit(true)]]) {
    const button = element("button", "button", text, {type: "button", "aria-label": name, title: name})
    button.addEventListener("click", action)
    zooms.append(button)
  }
  canvas.append(legend, zooms)

  const pinned_key = () => (model.pinned.length ? `${model.pinned[0]}-${model.pinned[1]}` : null)
  const show_focus = () => {
    if (!canvas_size.width) return // another view is looked at
    const pinned = scene.nodes.has(pinned_key()) ? pinned_key() : null
    const key = hovered ?? (hovered_arc ? null : pinned)
    svg.classList.toggle("focused", scene.focus(key, hovered_arc, model.parts[part?.number]?.is_here ? part : null))
    for (const item of scene.nodes.values()) {
      item.group.classList.toggle("pinned", item.key === pinned)
      item.group.setAttribute("aria-pressed", String(item.key === pinned))
    }
    const on_screen = (item) => (has_place() ? 0 : item.x * space.k + space.x)
    if (key && scene.nodes.has(key)) {
      const item = scene.nodes.get(key)
      card.node(item.value, on_screen(item), key === pinned)
    } else if (hovered_arc && scene.arcs.has(hovered_arc)) {
      const arc = scene.arcs.get(hovered_arc)
      card.arc(arc.value, arc.from.value, arc.to.value, (on_screen(arc.from) + on_screen(arc.to)) / 2)
    } else if (model.graph && has_place() && canvas_size.height >= LEAST_HINTED) card.hint()
    else card.hide()
  }
  const point = (key, arc_key) => {
    if (key === hovered && arc_key === hovered_arc) return
    scene.turn(hovered, null)
    hovered = key
    hovered_arc = arc_key
    show_focus()
  }
  const under = (event) => {
    const node = event.target.closest?.(".node"), hit = event.target.closest?.(".hit")
    return [node?.dataset.key ?? null, hit?.dataset.arc ?? null]
  }
  svg.addEventListener("pointerover", (event) => {
    if (!svg.classList.contains("dragged")) point(...under(event))
  })
  svg.addEventListener("pointerleave", () => point(null, null))
  // Moved over a node, the pointer turns over the diverse examples of its channel.
  svg.addEventListener("pointermove", (event) => {
    const item = scene.nodes.get(under(event)[0])
    if (!item || item.key !== hovered || svg.classList.contains("dragged")) return
    const {left, width} = item.back.getBoundingClientRect()
    scene.turn(item.key, card.face_at(item.value, (event.clientX - left) / width))
  })
  svg.addEventListener("click", (event) => {
    if (space.was_drag) return
    const [key, arc_key] = under(event)
    if (key) pin(key)
    else if (!arc_key) {
      show_part(null)
      if (model.pinned.length) model.send_msg({type: "unpin"})
    }
  })
  const pin = (key) => {
    const {layer, channel} = scene.nodes.get(key).value
    model.send_msg({type: "pin", layer, channel})
  }

  // Keys walk from node to node: along a row, and to the nearest of the next one.
  const walk = (key, dx, dy) => {
    const items = [...scene.nodes.values()].filter((i) => !i.group.classList.contains("filtered") && !i.group.classList.contains("gone"))
    const at = scene.nodes.get(key)
    // The walk begins at the output, where the strongest node is.
    if (!at) return items.sort((a, b) => a.value.row - b.value.row || b.value.share - a.value.share)[0]
    const ahead = items.filter((i) => (dx ? i.value.row === at.value.row && dx * (i.x - at.x) > 0 : dy * (i.value.row - at.value.row) > 0))
    const distance = (i) => (dx ? Math.abs(i.x - at.x) : 1e6 * Math.abs(i.value.row - at.value.row) + Math.abs(i.x - at.x))
    return ahead.sort((a, b) => distance(a) - distance(b))[0] ?? at
  }
  svg.addEventListener("keydown", (event) => {
    const step = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1]}[event.key]
    if (step) {
      const item = walk(hovered ?? pinned_key(), ...step)
      item?.group.focus()
    } else if ((event.key === "Enter" || event.key === " ") && hovered) pin(hovered)
    else if (event.key === "Escape") {
      svg.focus()
      point(null, null)
      show_part(null)
      if (model.pinned.length) model.send_msg({type: "unpin"})
    } else if (event.key === "+" || event.key === "=") space.zoom(1.4, undefined, undefined, true)
    else if (event.key === "-") space.zoom(1 / 1.4, undefined, undefined, true)
    else if (event.key === "0") space.fit(true)
    else return
    event.preventDefault()
  })
  svg.addEventListener("focusin", (event) => {
    const [key] = under(event)
    if (key && event.target.matches(":focus-visible")) point(key, null)
  })

  const show_filter = () => {
    const n_hidden = scene.filter(chosen("strength"), chosen("specificity"))
    note.textContent = model.graph ? `${model.graph.note}${n_hidden ? `; ${n_hidden} hidden by the filters` : ""}` : ""
    note.title = note.textContent
  }
  // Layers that the graph goes back to: the others would be empty rows.
  const reached = () => (model.graph?.layers ?? []).filter((l) => l.row >= 0 && l.row < model.graph.n_rows)
  const sides = () => [["shared", "both"], ["first", `only ${model.graph.subset}`], ["second", `only ${model.graph.versus}`]]
  const show_legend = () => {
    legend.replaceChildren()
    const {graph} = model
    if (!graph) return
    const key = (swatch, text) => {
      const line = element("span", "legend-key")
      line.append(element("span", `swatch ${swatch}`), element("span", "", text))
      legend.append(line)
    }
    if (graph.arcs.some((arc) => arc.n_folded)) {
      const line = shape("svg", "swatch-line", {width: 24, height: 12})
      line.append(shape("path", "arc", {d: "M1 6H23", "stroke-dasharray": THROUGH, style: "stroke-width:3;stroke-linecap:butt"}))
      const item = element("span", "legend-key", null, {title: "The strongest path through layers that are folded"})
      item.append(line, element("span", "", "through folded layers"))
      legend.append(item)
    }
    // The colours of what feeds and what is fed stay explained in a comparison too.
    for (const [swatch, text] of [...(graph.versus ? sides() : []), ["source", "feeds it"], ["target", "is fed by it"]]) key(swatch, text)
    const sizes = shape("svg", "legend-sizes", {height: 24})
    let x = 2
    for (const [share, text] of [[0.05, "5 %"], [0.3, "30 %"], [1, "all"]]) {
      const side = side_of(share) * 0.33
      sizes.append(shape("rect", "back", {x, y: 12 - side / 2, width: side, height: side, rx: 2}))
      sizes.append(shape("path", "arc", {d: `M${x + side + 4} 22L${x + side + 12} 2`, style: `stroke-width:${width_of(share) * 0.6}`}))
      const name = shape("text", "legend-text", {x: x + side + 17, y: 16})
      name.textContent = text
      sizes.append(name)
      x += side + 48
    }
    sizes.setAttribute("width", x - 18)
    legend.append(sizes, element("span", "note", graph.is_relative ? "of the largest count" : "of the instances"))
  }
  const extent = () => {
    const xs = model.graph.nodes.map((n) => n.x)
    return {low: Math.min(...xs), high: Math.max(...xs), n_rows: model.graph.n_rows}
  }
  // Where there is room, the card has a place of its own beside the graph.
  const has_place = () => canvas_size.width >= 800
  const inset = () => ({left: labels.offsetWidth + 12, right: has_place() ? 276 : 16, top: 26, bottom: Math.max(44, legend.offsetHeight + 18)})
  // Room is kept from class to class, so that nodes of both stay where they are; it is
  // measured anew where a graph needs more, or much less.
  let room = null
  const make_room = () => {
    const {low, high, n_rows} = extent(), {width, height} = space.size()
    const [gap, row_gap] = [chosen("gap"), chosen("row_gap")]
    const of = [reached().map((l) => l.name), gap, row_gap, width, height].join()
    const is_kept = room?.of === of && low >= room.low && high <= room.high &&
      high - low + 1 >= 0.6 * (room.high - room.low + 1)
    if (!is_kept) {
      const free = inset()
      const w = width - free.left - free.right, h = height - free.top - free.bottom
      const n = high - low + 1
      let x = SLOT + (gap >= 0 ? gap : GAP)
      const least = n_rows > MANY_ROWS ? NARROW_GAP : ROW_GAP
      let y = SLOT + (row_gap >= 0 ? row_gap : n_rows > MANY_ROWS ? NARROW_GAP : 2 * ROW_GAP)
      // What one direction would leave over is shared by the gaps of it.
      if (gap < 0) x = Math.round(Math.max(x, Math.min(x + 110, w * n_rows * y / (h * n))))
      if (row_gap < 0) y = Math.round(Math.max(SLOT + least, Math.min(SLOT + 190, h * n * x / (w * n_rows))))
      room = {of, low, high, pitch: {x, y}, n_rows}
    }
    pitch = room.pitch
    tools.show_gaps(pitch)
    return {left: (room.low - 0.5) * pitch.x, right: (room.high + 0.5) * pitch.x,
            top: -SLOT / 2, bottom: (n_rows - 1) * pitch.y + SLOT / 2}
  }
  let is_smooth = false
  // What a node shares with its row is sent once.
  const unpacked = new WeakSet()
  const unpack = (graph) => {
    unpacked.add(graph)
    card.forget()
    const by_row = new Map(graph.layers.map((layer) => [layer.row, layer]))
    graph.arcs = graph.arcs.map(([source, target, share, lift, side = "", n_folded = 0], index) =>
      ({index, source, target, share, lift, side, n_folded}))
    graph.nodes = graph.nodes.map(([channel, row, x, share, lift, examples = "", name = "", side = ""]) =>
      ({channel, row, x, share, lift, examples, name, side}))
    for (const [index, node] of graph.nodes.entries()) {
      node.index = index
      const {name: layer, label, number} = by_row.get(node.row)
      const face = [...node.examples].findIndex((mark) => mark.toLowerCase() === "p")
      Object.assign(node, {layer, label, number, face})
    }
  }
  const show_graph = () => {
    const {graph} = model
    if (graph && !unpacked.has(graph)) unpack(graph)
    canvas.classList.toggle("nothing", !graph)
    empty.replaceChildren()
    if (model.missing) empty.append(notice(model.missing))
    else if (!graph) empty.append(notice({title: "The graph is being made", text: "The influences of these instances are read for the first time."}))
    problems.replaceChildren(...(graph?.problems ?? []).map((text) => element("div", "", text)))
    problems.hidden = !graph?.problems.length
    if (!graph) {
      scene.show({nodes: [], arcs: []}, pitch, false)
      labels.replaceChildren()
      card.hide()
      show_filter()
      return
    }
    show_labels()
    show_legend() // whose height the graph leaves free
    const bounds = make_room()
    scene.show(graph, pitch, is_smooth)
    space.frame(bounds, inset(), is_smooth)
    is_smooth = true
    panel.dataset.subset = graph.subset
    show_layer()
    show_filter()
    space.resized()
    show_focus()
  }
  const show_labels = () => {
    labels.replaceChildren(...reached().map((layer) => {
      const label = element(layer.is_shown ? "button" : "span", "layer-label end-first", null, {title: layer.name, "data-row-layer": layer.name})
      label.append(element("bdi", "", layer.label))
      if (layer.is_shown) {
        label.type = "button"
        label.addEventListener("click", () => model.send_msg({type: "layer", layer: layer.name}))
      }
      label.row = layer.row
      return label
    }), ...reached().filter((layer) => layer.stage).map((layer) => {
      const {stage, n_folded} = layer
      const title = n_folded ? `Open ${stage}: ${n_folded} more layers` : `Fold ${stage}: show its last layer only`
      const button = element("button", "layer-label stage-fold", n_folded ? `+ ${n_folded} folded` : `− fold ${stage}`, {
        type: "button", title, "aria-label": title, "aria-expanded": String(!n_folded), "data-stage": stage})
      button.addEventListener("click", () => model.send_msg({type: "fold", stage}))
      button.row = layer.row
      return button
    }))
  }
  const show_layer = () => {
    const layer = reached().find((l) => l.name === model.layer)
    band.style.display = layer ? "" : "none"
    if (layer) {
      band.setAttribute("y", layer.row * pitch.y - SLOT / 2 - 14)
      band.setAttribute("height", SLOT + 22)
    }
    for (const label of labels.children) label.classList.toggle("chosen", label.dataset.rowLayer === model.layer)
  }
  const show_code = () => {
    const is_open = code.open
    const copy = element("button", "quiet", "Copy", {type: "button"})
    copy.addEventListener("click", () => navigator.clipboard?.writeText(model.code))
    const lines = element("div", "menu-panel code-panel")
    lines.append(element("pre", "code", model.code), copy)
    code.replaceChildren(element("summary", "quiet", "Show the code"), lines)
    code.open = is_open
    code.hidden = !model.code
  }
  // What the network does without the graph's channels, or how to find out.
  const show_check = () => {
    const {texts = [], is_whole, command, can_run, is_running, problem} = model.check
    const now = is_running ? "The network runs without these channels, and without as many others …" : problem
    const said = now ? [["", now]] : texts
    const lines_of = said.map(([name, text]) => {
      const line = element("div", "effect-line")
      if (name) line.append(element("b", "name", name), " ")
      line.append(text)
      return line
    })
    effect.replaceChildren(...(said.length ? [element("b", "", problem && !is_running ? "The check failed" : "Causal check"), ...lines_of] : []))
    effect.classList.toggle("loading", Boolean(is_running))
    effect.hidden = !said.length || !model.graph
    const lines = element("div", "menu-panel code-panel"), is_open = check.open
    lines.append(notice({title: "Does the network need these channels?", command,
      text: "This takes them from the network, and as many others, and counts what it still predicts right. The result is stored, and shown here."}))
    if (can_run) {
      const begin = element("button", "button check-now", is_running ? "Checking …" : "Check now", {type: "button"})
      begin.disabled = is_running
      begin.addEventListener("click", () => {
        check.open = false
        model.send_msg({type: "check"})
      })
      lines.append(begin)
    }
    check.open = is_open
    check.replaceChildren(element("summary", "quiet", is_whole ? "Check again" : "Does it matter?"), lines)
    check.hidden = !command || !model.graph
  }
  // Parts that other graphs have, too: a click lights one up, in a class that has it.
  const show_part = (value) => {
    part = value
    show_parts()
    show_focus()
  }
  const show_parts = () => {
    const lines = element("div", "menu-panel code-panel parts-panel"), is_open = shared.open
    lines.append(element("div", "muted", "Channels and arcs that the graphs of several classes have, every one of them; the most surprising first, then what is new beside those above. A click shows one, in a class that has it."))
    for (const [number, {text, size, title, is_here}] of model.parts.entries()) {
      const is_lit = part?.number === number && is_here
      const button = element("button", "card-link part", null, {type: "button", title, "aria-pressed": String(is_lit), "data-here": is_here ? "yes" : "no"})
      button.append(element("span", "", text), element("span", "number", size))
      button.addEventListener("click", () => (is_lit ? show_part(null) : model.send_msg({type: "part", number})))
      lines.append(button)
    }
    walkable(lines)
    const n_here = model.parts.filter(({is_here}) => is_here).length
    shared.replaceChildren(element("summary", "quiet", `Shared parts${n_here ? `: ${n_here} here` : ""}`), lines)
    shared.open = is_open
    shared.hidden = !model.parts.length || !model.graph
  }
  const show_loading = () => canvas.classList.toggle("loading", model.is_loading)
  model.on(["graph", "missing"], show_graph)
  model.on("graph", () => tools.show())
  model.on("pinned", show_focus)
  model.on("layer", show_layer)
  model.on("code", show_code)
  model.on(["check", "graph"], show_check)
  model.on(["parts", "graph"], () => { show_parts(); show_focus() })
  model.on("choices", tools.show)
  model.on("is_loading", show_loading)
  model.on("chosen", () => {
    for (const name of Object.keys(local)) local[name] = null
    tools.show()
    show_filter()
    const before = pitch
    if (model.graph) make_room()
    if (pitch !== before) show_graph()
  })
  model.on("msg:custom", ({files, numbers, diverse, part: chosen_part}) => {
    if (diverse && diverse.version === model.graph?.version && card.learn_diverse(diverse)) show_focus()
    if (chosen_part) show_part(chosen_part)
    if (files) saveFiles(files)
    if (numbers?.version === model.graph?.version) { card.learn(numbers); show_focus() }
  })
  new ResizeObserver(() => {
    canvas_size = {width: canvas.clientWidth, height: canvas.clientHeight}
    is_smooth = false
    if (model.graph && svg.clientWidth) show_graph()
  }).observe(canvas)
  tools.show()
  show_code()
  show_check()
  show_parts()
  show_loading()
  show_graph()
  return panel
}
