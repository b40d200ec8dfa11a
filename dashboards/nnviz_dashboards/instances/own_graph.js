// The graph of one instance beside that of a class: rows are layers, the output on top.
function ownGraph(send) {
  const ROW = 26, RADIUS = 5, MARGIN = 9
  const box = element("section", "own-graph", null, {"aria-label": "Its own graph beside its class's"})
  let chosen = 0

  function drawing(graph, data, which, title) {
    const figure = element("div", "own-figure", null, {role: "group", "aria-label": title})
    const svg = shape("svg", "own-arcs", {"aria-hidden": "true"})
    const height = data.layers.length * ROW
    figure.style.height = `${height}px`
    const reach = Math.max(0.5, ...graph.nodes.map(([, x]) => Math.abs(x)))
    const across = (x) => 50 + (x / reach) * 44
    const down = (row) => (row + 0.5) * ROW
    svg.setAttribute("viewBox", `0 0 100 ${height}`)
    svg.setAttribute("preserveAspectRatio", "none")
    const paths = graph.arcs.map(([source, target]) => {
      const [low, x0] = graph.nodes[source], [high, x1] = graph.nodes[target]
      const y0 = down(low), y1 = down(high), middle = (y0 + y1) / 2
      const is_shared = graph.nodes[source][3][which] && graph.nodes[target][3][which]
      return shape("path", is_shared ? "shared" : "", {
        d: `M${across(x0)} ${y0}C${across(x0)} ${middle} ${across(x1)} ${middle} ${across(x1)} ${y1}`,
        "vector-effect": "non-scaling-stroke"})
    })
    svg.append(...paths)
    figure.append(svg)
    graph.nodes.forEach(([row, x, channel, common, score], number) => {
      const layer = data.layers[data.layers.length - 1 - row]
      const name = data.names[data.layers.length - 1 - row]
      const called = data.channels[data.layers.length - 1 - row][channel] || channel
      const text = `${layer}, channel ${called}: score ${score}${common[which] ? "; in both graphs" : ""}`
      const node = element("button", `own-node${common[which] ? " common" : ""}`, null, {type: "button", title: text, "aria-label": text, "data-key": `${name} ${channel}`})
      node.style.left = `${across(x)}%`
      node.style.top = `${down(row)}px`
      const mark = (is_on) => {
        for (const [i, [source, target]] of graph.arcs.entries()) paths[i].classList.toggle("pointed", is_on && (source === number || target === number))
        for (const other of box.querySelectorAll(".own-node")) other.classList.toggle("pointed", is_on && other.dataset.key === node.dataset.key)
      }
      for (const event of ["pointerenter", "focus"]) node.addEventListener(event, () => mark(true))
      for (const event of ["pointerleave", "blur"]) node.addEventListener(event, () => mark(false))
      node.addEventListener("click", () => send({type: "look_at", layer: name, channel}))
      figure.append(node)
    })
    walkable(figure)
    return figure
  }

  const show = (data, of) => {
    box.hidden = !data || !data.own.nodes.length
    if (box.hidden) return box.replaceChildren()
    chosen = Math.min(chosen, Math.max(0, data.classes.length - 1))
    const labels = element("div", "own-labels", null, {"aria-hidden": "true"})
    labels.append(...[...data.layers].reverse().map((label, i) => element("span", "muted name", label, {title: [...data.names].reverse()[i]})))
    const figures = element("div", "own-figures")
    const beside = data.classes[chosen]
    const head = (name, n) => {
      const line = element("div", "own-name")
      line.append(element("b", "name", name, {title: name}), element("span", "muted", ` ${n.toLocaleString("en")} channels`))
      return line
    }
    figures.append(head("This instance", data.n), element("span"))
    if (beside) {
      const named = head(beside.name, beside.n)
      if (data.classes.length > 1) {
        const choice = element("select", "select", null, {"aria-label": "Class whose graph stands beside"})
        choice.append(...data.classes.map((one, i) => element("option", "", one.name, {value: i})))
        choice.value = String(chosen)
        choice.addEventListener("change", () => { chosen = Number(choice.value); show(data, of); box.querySelector("select")?.focus() })
        named.replaceChild(choice, named.firstChild)
      }
      figures.append(named)
    } else figures.append(element("span"))
    figures.append(drawing(data.own, data, chosen, "Graph of this instance"), labels)
    if (beside) figures.append(drawing(beside, data, 0, `Graph of ${beside.name}`))
    const legend = element("p", "muted note own-legend")
    legend.append(element("i", "own-node common still"), " in both  ", element("i", "own-node still"), " in one only")
    box.replaceChildren(element("h4", "opened-title", `What ${of || "the output"} rests on here`), element("p", "opened-said", data.said), figures, legend)
  }
  return {box, show}
}
