const REST_MS = 400 // that a pointer rests on a node before diverse examples are looked for
const MOST_WRITTEN = 3 // examples that are to be read are larger, and so fewer

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
  // Diverse examples take longer, and are looked for once somebody stays.
  const diverse = new Map(), sought = new Set()
  let resting = 0, rests_on = null
  const stay = (node, ms) => {
    if (rests_on === node.index || sought.has(node.index)) return
    leave()
    rests_on = node.index
    resting = setTimeout(() => {
      rests_on = null
      sought.add(node.index)
      act.ask("diverse", node.index)
    }, ms)
  }
  const leave = () => { clearTimeout(resting); rests_on = null }
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
    const has_pictures = node.examples.toLowerCase?.().startsWith("p") ?? false
    const most = act.written() && has_pictures ? MOST_WRITTEN : n
    for (const [rank, mark] of [...node.examples].slice(0, most).entries()) {
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
  const face = (node, place) => `${act.pictures()}/diverse/${node.number}/${node.channel}/${place}`
  const diverse_part = (node, is_pinned) => {
    if (!act.rule() || node.number < 0) return []
    const rows = diverse.get(node.index)
    if (!rows) stay(node, is_pinned ? 0 : REST_MS)
    if (rows && rows.length < 2) return [] // there is nothing that is unlike the strongest
    const grid = element("div", "card-examples card-diverse")
    for (const [place, [short, long, instance, has_picture, is_of_class]] of (rows ?? Array(5).fill([])).entries()) {
      const item = has_picture ? element("img", is_of_class ? "of-class" : "", null, {src: face(node, place), decoding: "async", draggable: "false"})
        : rows ? element("span", "card-text") : element("span", "card-sought")
      item.addEventListener("error", () => item.replaceWith(element("span", "card-text", short, {title: long})))
      if (rows) tell(item, [short, long])
      grid.append(is_pinned && rows ? opening(item, [short, long, instance]) : item)
    }
    if (is_pinned && rows) walkable(grid)
    const said = element("div", "note card-rule", "strong, and least alike in this layer", {title: act.rule()})
    const part = element("div", "card-part", null, {role: "group", "aria-label": "Diverse examples"})
    part.append(heading("Diverse examples", "", act.rule()), grid, said)
    return [part]
  }
  const feature = (node) => {
    const image = element("img", "card-feature", null, {
      src: `${act.pictures()}/features/${node.number}/${node.channel}`, decoding: "async", draggable: "false",
      alt: "What the channel was made to see", title: "What the channel was made to see: from the folder beside the store",
    })
    image.addEventListener("error", () => image.remove())
    return image
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
    card.classList.toggle("written", act.written())
    card.classList.toggle("left", x > canvas.clientWidth / 2)
    card.hidden = false
  }
  return {
    hide: () => { leave(); card.hidden = true },
    // Another graph has other numbers.
    forget: () => { leave(); for (const one of [known, asked, diverse, sought]) one.clear() },
    // What was not looked for, since something else was, may be asked again. Returns
    // whether there is something new to show.
    learn_diverse: ({node, rows}) => {
      if (rows) diverse.set(node, rows)
      else sought.delete(node)
      return Boolean(rows)
    },
    // Which of the diverse examples stands at this part of a node's width; null for none.
    face_at: (node, part) => {
      const rows = diverse.get(node.index) ?? []
      const place = Math.max(0, Math.min(rows.length - 1, Math.floor(part * rows.length)))
      if (rows.length < 2 || !rows[place][3]) return null
      for (const [i, item] of card.querySelectorAll(".card-diverse > *").entries()) item.classList.toggle("looked-at", i === place)
      return face(node, place)
    },
    learn: (numbers) => known.set(numbers.node === undefined ? `arc ${numbers.arc}` : `node ${numbers.node}`, numbers),
    hint: () => {
      leave()
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
      if (rests_on !== null && rests_on !== node.index) leave()
      const parts = [head, examples(node, 10, is_pinned), said ? numbers(said.facts, act.graph().node_terms) : waiting()]
      if (said?.has_feature) parts.splice(1, 0, feature(node))
      parts.push(...diverse_part(node, is_pinned))
      const times = "the number of instances in which the one is among the strongest sources of the other"
      if (said?.targets.length) parts.push(links(said.targets, "Feeds most often", "target", `Channels that it feeds, with ${times}`))
      if (said?.sources.length) parts.push(links(said.sources, "Fed most often by", "source", `Channels that feed it, with ${times}`))
      if (!is_pinned) parts.push(element("div", "note", "Click pins"))
      show(parts, x, is_pinned)
    },
    arc: (arc, source, target, x) => {
      leave()
      const facts = knows("arc", arc.index)?.facts
      const parts = [heading("From", "source"), title(source), examples(source, 5),
                     heading("To", "target"), title(target), examples(target, 5),
                     facts ? numbers(facts, act.graph().arc_terms) : waiting()]
      show(parts, x, false)
    },
  }
}
