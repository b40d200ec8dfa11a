// The card: examples and numbers of a node, or numbers of an arc.
function numbers(facts, terms) {
  const list = element("dl", "card-facts")
  for (const [key, value] of Object.entries(facts)) {
    const [name, explanation] = terms[key]
    list.append(element("dt", "term", name, {title: explanation}), element("dd", "", value))
  }
  return list
}

function heading(text, swatch, title = "") {
  const line = element("div", "card-heading", null, title ? {title} : {})
  if (swatch) line.append(element("span", `swatch ${swatch}`))
  line.append(element("span", title ? "term" : "", text))
  return line
}

function makeCard(canvas, act) {
  const card = element("aside", "card", null, {"aria-live": "polite"})
  card.hidden = true
  canvas.append(card)
  // Numbers and texts are many and come when a node or arc is looked at; those of the
  // pinned node with the graph.
  const known = new Map(), asked = new Set()
  const knows = (what, index) => {
    const key = `${what} ${index}`, said = act.said()
    if (what === "node" && said.node === index && said.version === act.graph().version) return said
    if (!known.has(key) && !asked.has(key)) {
      asked.add(key)
      act.ask(what, index)
    }
    return known.get(key)
  }
  const title = (node) => {
    const line = element("div", "card-title")
    line.append(element("span", "card-layer", node.label), element("span", "", ` channel ${node.channel}`))
    if (node.name) line.append(element("span", "card-name", `: ${node.name}`))
    return line
  }
  const tell = (item, [short, long]) => {
    item.title = long
    if (item.tagName === "IMG") item.alt = long
    else item.textContent = short
  }
  // Of a card that stays, a click on an example opens the instance.
  const opening = (item, [, long, instance]) => {
    const button = element("button", "card-example", null, {type: "button", title: long, "aria-label": `${long}; open it`, "data-instance": instance})
    button.append(item)
    button.addEventListener("click", () => act.open(instance))
    return button
  }
  const examples = (node, n, is_pinned = false) => {
    const texts = knows("node", node.index)?.texts
    const grid = element("div", "card-examples")
    for (const [rank, mark] of [...node.examples].slice(0, n).entries()) {
      const is_of_class = mark !== mark.toLowerCase()
      const item = mark.toLowerCase() === "p"
        ? element("img", is_of_class ? "of-class" : "", null, {
          src: `${act.pictures()}/${node.number}/${node.channel}/${rank}`,
          alt: `example ${rank + 1}`, decoding: "async", draggable: "false",
        })
        : element("span", "card-text", "…")
      if (texts) tell(item, texts[rank])
      grid.append(is_pinned && texts ? opening(item, texts[rank]) : item)
    }
    walkable(grid)
    return grid
  }
  const waiting = () => element("div", "card-waiting", null, {"aria-hidden": "true"})
  const links = (items, name, swatch, explanation) => {
    const part = element("div", "card-links")
    part.append(heading(name, swatch, explanation))
    for (const [index, channel, count] of items) {
      const {name: layer, label, channels} = act.graph().layers[index]
      const button = element("button", "card-link", null, {type: "button"})
      button.append(element("span", "", `${label} ${channels?.[channel] ?? channel}`), element("span", "number", count.toLocaleString("en")))
      button.addEventListener("click", () => act.pin({layer, channel}))
      part.append(button)
    }
    return part
  }
  // Beside what is looked at, on the side with more room.
  const show = (parts, x, is_pinned) => {
    card.replaceChildren(...parts)
    card.classList.remove("hint")
    card.classList.toggle("pinned", is_pinned)
    card.classList.toggle("left", x > canvas.clientWidth / 2)
    card.hidden = false
  }
  return {
    hide: () => (card.hidden = true),
    // Another graph has other numbers.
    forget: () => { known.clear(); asked.clear() },
    learn: (numbers) => known.set(numbers.node === undefined ? `arc ${numbers.arc}` : `node ${numbers.node}`, numbers),
    hint: () => {
      show([element("div", "card-title", "Point at a channel"),
            element("div", "muted", "What feeds it, and what it feeds, lights up; its examples and numbers are shown here. A click keeps it."),
            element("div", "note", "Wheel: zoom. Drag: move. Arrow keys: walk.")], 0, false)
      card.classList.add("hint")
    },
    node: (node, x, is_pinned) => {
      const head = element("div", "card-head")
      head.append(title(node))
      if (is_pinned) {
        const close = element("button", "quiet", "Unpin", {type: "button", title: "Escape"})
        close.addEventListener("click", act.unpin)
        head.append(close)
      }
      const said = knows("node", node.index)
      const parts = [head, examples(node, 10, is_pinned), said ? numbers(said.facts, act.graph().node_terms) : waiting()]
      const times = "the number of instances in which the one is among the strongest sources of the other"
      if (said?.targets.length) parts.push(links(said.targets, "Feeds most often", "target", `Channels that it feeds, with ${times}`))
      if (said?.sources.length) parts.push(links(said.sources, "Fed most often by", "source", `Channels that feed it, with ${times}`))
      if (!is_pinned) parts.push(element("div", "note", "Click pins"))
      show(parts, x, is_pinned)
    },
    arc: (arc, source, target, x) => {
      const facts = knows("arc", arc.index)?.facts
      const parts = [heading("From", "source"), title(source), examples(source, 5),
                     heading("To", "target"), title(target), examples(target, 5),
                     facts ? numbers(facts, act.graph().arc_terms) : waiting()]
      show(parts, x, false)
    },
  }
}
