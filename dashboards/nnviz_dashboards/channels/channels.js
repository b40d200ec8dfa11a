// A stored example; a click opens the instance.
function example(item, row, pictures, preview, open) {
  const text = `${item.label || "instance"} #${item.instance.toLocaleString("en")}: activation ${item.value}${item.text ? `: ${item.text}` : ""}`
  const node = element("button", `example${item.is_of_class ? " of-class" : ""}`, null, {
    type: "button", "aria-label": `${text}; open it`, "data-instance": item.instance,
  })
  node.addEventListener("click", () => open(item.instance))
  if (item.has_picture) {
    const image = element("img", "", null, {
      loading: "lazy", decoding: "async", alt: "", draggable: "false",
      src: `${pictures}/${row.channel}/${item.rank}`,
    })
    node.append(image)
    node.addEventListener("mouseenter", () => preview.show(node, image.src, item))
    node.addEventListener("mouseleave", preview.hide)
    node.addEventListener("focus", () => { if (node.matches(":focus-visible")) preview.show(node, image.src, item) })
    node.addEventListener("blur", preview.hide)
  } else {
    node.title = text
    node.classList.add("text")
    node.append(element("span", "", item.label || `#${item.instance}`),
                element("span", "muted", item.value))
  }
  return node
}

// A larger picture beside the one that is pointed at.
function makePreview() {
  const box = element("div", "preview")
  const image = element("img", "", null, {alt: ""})
  const name = element("div", "name")
  const facts = element("div", "muted note")
  box.append(image, name, facts)
  box.hidden = true
  const show = (node, source, item) => {
    image.src = source
    name.textContent = item.label || "no label"
    facts.textContent = `instance ${item.instance.toLocaleString("en")}, activation ${item.value}`
    if (item.text) facts.textContent += `: ${item.text}`
    box.hidden = false
    const at = node.getBoundingClientRect(), {width, height} = box.getBoundingClientRect()
    box.style.left = `${Math.max(8, Math.min(at.left + at.width / 2 - width / 2, innerWidth - width - 8))}px`
    const below = at.bottom + 6
    box.style.top = `${below + height < innerHeight ? below : at.top - height - 6}px`
  }
  return {box, show, hide: () => (box.hidden = true)}
}

export function render({model}) {
  const preview = makePreview()
  const panel = element("section", "panel", null, {"aria-label": "Top channels"})
  const head = element("div", "head second")
  const columns = element("div", "columns channel-grid")
  const list = element("div", "channel-list", null, {tabindex: "-1"})
  panel.append(head, columns, list, preview.box)
  list.addEventListener("scroll", preview.hide, {passive: true})

  const rankings = [["count", "Most frequent"], ["lift", "Most specific"]].map(([key, label]) => {
    const button = element("button", "segment", label, {type: "button", "data-ranking": key})
    button.addEventListener("click", () => model.send_msg({type: "rank", key}))
    return button
  })
  const segments = element("div", "segments", null, {role: "group", "aria-label": "Order of the channels"})
  segments.append(...rankings)
  const title = element("h2", "title")
  const note = element("span", "muted note")
  const {menu} = chartMenu(model, {picture: panelSaver(model, panel, () => model.title)})
  head.append(title, note, segments, menu)
  const column = (text, explanation, cls = "") => element("span", cls, text, {title: explanation})
  const show_columns = () => columns.replaceChildren(
    column("Channel", "Number of the channel in the layer"),
    column("Count", `Instances of ${model.of} in which the channel is among the top channels`, "right"),
    column(`Share of ${model.of}`, `Bar: count as a share of ${model.of}. Mark: share of all instances`, "name"),
    column("Lift", `Share of ${model.of} divided by the base rate`, "right"),
    column(`Strongest examples${model.is_cropped ? ", cropped to what the channel sees" : ""} (underlined: of ${model.of})`,
           "The instances of the whole run that excite the channel most, strongest first; a click opens one", "name"),
  )

  const show_head = () => {
    title.textContent = model.title
    note.textContent = model.note
    rankings.forEach((button) => {
      button.setAttribute("aria-pressed", String(button.dataset.ranking === model.ranking))
    })
    segments.hidden = columns.hidden = head.hidden = Boolean(model.missing)
    show_columns()
  }
  const open = (instance) => model.send_msg({type: "open", instance})
  const show_rows = () => {
    preview.hide()
    list.replaceChildren()
    if (model.missing) {
      list.append(notice(model.missing))
      return
    }
    if (model.rows.length === 0) {
      list.append(notice({title: "No top channels", text: `No channel of this layer is among the top channels of an instance of ${model.of}.`}))
      return
    }
    if (model.missing_examples) list.append(notice(model.missing_examples))
    for (const row of model.rows) {
      const line = element("div", "channel-row channel-grid", null, {"data-channel": row.channel})
      const choose = element("button", "channel", row.called, {
        type: "button", title: "Show which classes use this channel",
      })
      choose.addEventListener("click", () => model.send_msg({type: "choose", channel: row.channel}))
      const count = element("span", "number", row.count)
      const share = element("div", "share")
      const caption = element("div", "caption")
      caption.append(element("span", "", row.share_text), element("span", "muted", row.base_text))
      share.append(caption, bar(row.share, row.base_rate))
      const examples = element("div", "examples")
      if (row.has_feature) {
        const feature = element("img", "feature", null, {
          loading: "lazy", decoding: "async", draggable: "false", src: `${model.features}/${row.channel}`,
          alt: `Feature of channel ${row.channel}`, title: `What channel ${row.channel} was made to see: from the folder beside the store`,
        })
        feature.addEventListener("error", () => feature.remove())
        examples.append(feature)
      }
      examples.append(...row.examples.map((item) => example(item, row, model.pictures, preview, open)))
      walkable(examples)
      line.append(choose, count, share, element("span", "number lift", row.lift), examples)
      list.append(line)
    }
    list.scrollTop = 0
    show_chosen()
  }
  const show_chosen = () => {
    for (const line of list.querySelectorAll(".channel-row")) {
      const is_chosen = Number(line.dataset.channel) === model.chosen
      line.classList.toggle("chosen", is_chosen)
      line.querySelector(".channel").setAttribute("aria-pressed", String(is_chosen))
      line.querySelector(".uses")?.remove()
      if (is_chosen && model.uses.length) {
        const uses = element("div", "uses muted", "Most in: ")
        for (const use of model.uses) {
          const link = element("button", "link", use.text, {type: "button"})
          link.addEventListener("click", () => model.send_msg({type: "choose_subset", subset: use.subset}))
          uses.append(link)
        }
        line.append(uses)
      }
    }
  }
  model.on(["title", "of", "note", "ranking", "missing"], show_head)
  model.on(["rows", "missing", "pictures"], show_rows)
  model.on(["chosen", "uses"], show_chosen)
  show_head()
  show_rows()
  return panel
}
