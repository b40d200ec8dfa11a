// The card: examples and numbers of a node, or numbers of an arc.
function numbers(facts) {
  const list = element("dl", "card-facts")
  for (const [name, value] of facts) list.append(element("dt", "", name), element("dd", "", value))
  return list
}

function heading(text, swatch) {
  const line = element("div", "card-heading")
  if (swatch) line.append(element("span", `swatch ${swatch}`))
  line.append(element("span", "", text))
  return line
}

function makeCard(canvas, act) {
  const card = element("aside", "card", null, {"aria-live": "polite"})
  card.hidden = true
  canvas.append(card)
  const title = (node) => {
    const line = element("div", "card-title")
    line.append(element("span", "card-layer", node.label), element("span", "", ` channel ${node.channel}`))
    if (node.name) line.append(element("span", "card-name", `: ${node.name}`))
    return line
  }
  const examples = (node, pictures, n) => {
    const grid = element("div", "card-examples")
    for (const item of node.examples.slice(0, n)) {
      if (item.has_picture) {
        const image = element("img", item.is_of_class ? "of-class" : "", null, {
          src: `${pictures}/${node.number}/${node.channel}/${item.rank}`, alt: item.text,
          title: item.text, decoding: "async", draggable: "false",
        })
        grid.append(image)
      } else grid.append(element("span", "card-text", item.label, {title: item.text}))
    }
    return grid
  }
  const links = (items, name, swatch) => {
    const part = element("div", "card-links")
    part.append(heading(name, swatch))
    for (const item of items) {
      const button = element("button", "card-link", null, {type: "button"})
      button.append(element("span", "", item.text), element("span", "number", item.count))
      button.addEventListener("click", () => act.pin(item))
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
    hint: () => {
      show([element("div", "card-title", "Point at a channel"),
            element("div", "muted", "What feeds it, and what it feeds, lights up; its examples and numbers are shown here. A click keeps it."),
            element("div", "note", "Wheel: zoom. Drag: move. Arrow keys: walk.")], 0, false)
      card.classList.add("hint")
    },
    node: (node, pictures, x, is_pinned) => {
      const head = element("div", "card-head")
      head.append(title(node))
      if (is_pinned) {
        const close = element("button", "quiet", "Unpin", {type: "button", title: "Escape"})
        close.addEventListener("click", act.unpin)
        head.append(close)
      }
      const parts = [head, examples(node, pictures, 10), numbers(node.facts)]
      if (node.targets.length) parts.push(links(node.targets, "Feeds most often", "target"))
      if (node.sources.length) parts.push(links(node.sources, "Fed most often by", "source"))
      if (!is_pinned) parts.push(element("div", "note", "Click pins"))
      show(parts, x, is_pinned)
    },
    arc: (arc, source, target, pictures, x) => {
      const parts = [heading("From", "source"), title(source), examples(source, pictures, 5),
                     heading("To", "target"), title(target), examples(target, pictures, 5),
                     numbers(arc.facts)]
      show(parts, x, false)
    },
  }
}
