export function render({model}) {
  const send = (message) => model.send_msg(message)
  const panel = element("section", "panel differences", null, {"aria-label": "What differs between A and B"})
  const head = element("header", "head differences-head")
  const note = element("span", "muted note")
  const segments = (label, choices, choose) => {
    const box = element("div", "segments", null, {role: "group", "aria-label": label})
    box.append(...choices.map(([key, text]) => {
      const button = element("button", "segment", text, {type: "button", "data-key": key})
      button.addEventListener("click", () => choose(key))
      return button
    }))
    return box
  }
  const measures = segments("What is compared", [["mean", "Mean"], ["share", "Share"], ["maximum", "Maximum"], ["relevance", "Relevance"], ["gradient", "Gradient"], ["gradient_norm", "Norm"]], (name) => send({type: "measure", name}))
  const among = segments("Of which layers", [["all", "All layers"], ["layer", "This layer"]], (among) => send({type: "limit", among}))
  const {menu} = chartMenu(model, {picture: panelSaver(model, panel, () => "differences")})
  head.append(element("h2", "title", "What tells A from B"), note, measures, among, menu)
  const columns = element("div", "columns difference-grid")
  const list = element("div", "difference-list", null, {role: "list"})
  panel.append(head, columns, list)

  const value = (text, share, side) => {
    const box = element("div", `value side-${side}`)
    box.append(element("span", "number", text), bar(share))
    return box
  }
  const row = (one, table) => {
    const line = element("div", "difference-row difference-grid", null, {role: "listitem", "data-layer": one.layer, "data-channel": one.channel})
    const main = element("button", "difference-name", null, {type: "button", title: `Look at channel ${one.called} of ${one.label} in all views`})
    const layer = element("span", "muted name end-first")
    layer.append(element("bdi", "", one.label))
    main.append(element("b", "", one.called), layer)
    main.addEventListener("click", () => send({type: "look_at", layer: one.layer, channel: one.channel}))
    const faces = element("div", "faces", null, {title: one.seen ? `Strongest examples: ${one.seen}` : "No examples"})
    for (const [rank, instance, text] of one.faces) {
      const face = element("button", "face", null, {type: "button", title: text, "aria-label": `${text}; open it`, "data-instance": instance})
      face.append(element("img", "", null, {loading: "lazy", decoding: "async", alt: "", src: `${model.pictures}/${one.number}/${one.channel}/${rank}`}))
      face.addEventListener("click", () => send({type: "open", instance}))
      faces.append(face)
    }
    walkable(faces)
    if (!one.faces.length) faces.append(element("span", "muted name note", one.seen))
    const effect = element("div", `effect ${one.effect > 0 ? "more-a" : "more-b"}${one.is_sure ? "" : " unsure"}`)
    const track = element("div", "effect-track"), fill = element("div", "effect-fill")
    const half = 50 * Math.min(1, Math.abs(one.effect) / table.scale)
    fill.style.width = `${half}%`
    fill.style.left = one.effect > 0 ? `${50 - half}%` : "50%"
    track.append(fill)
    effect.append(track, element("span", "number", one.effect_text))
    const p = element("span", `number${one.is_sure ? "" : " muted"}`, one.p)
    const show = element("button", "quiet", "Instances", {type: "button", title: "Instances of A and B, sorted by this channel", "aria-label": `Instances by channel ${one.called} of ${one.label}`})
    show.addEventListener("click", () => send({type: "show_instances", layer: one.layer, channel: one.channel}))
    line.append(main, faces, value(one.a, one.bars[0], "a"), value(one.b, one.bars[1], "b"), effect, p, show)
    return line
  }
  const show_table = () => {
    const {table} = model
    columns.hidden = !table
    note.textContent = table?.note ?? ""
    menu.hidden = !table
    if (model.missing) return list.replaceChildren(notice(model.missing))
    if (!table) return list.replaceChildren(...(model.is_loading ? [notice({title: "Counting the channels of A and B …", text: "The first time takes longest."})] : []))
    const column = (text, title, cls = "") => element("span", cls, text, {title})
    columns.replaceChildren(
      column("Channel", "Number of the channel, and its layer"),
      column("Examples", "The instances of the whole run that excite the channel most; a click opens one"),
      column("A", `${table.what} in A: ${table.names[0]}`, "side-a"),
      column("B", `${table.what} in B: ${table.names[1]}`, "side-b"),
      column(`More in A | B (${table.sign})`, table.explanation, "middle"),
      column("p (adj.)", table.test, "right"), element("span"))
    list.replaceChildren(...table.rows.map((one) => row(one, table)))
    if (!table.rows.length) list.append(notice({title: "Nothing differs", text: "No channel can be compared: one of the two has no values."}))
    list.scrollTop = 0
    show_chosen()
  }
  const show_chosen = () => {
    const {chosen} = model
    for (const [box, key] of [[measures, chosen.measure], [among, chosen.among]]) {
      for (const button of box.children) button.hidden = box === measures && !chosen.measures.includes(button.dataset.key)
      for (const button of box.children) button.setAttribute("aria-pressed", String(button.dataset.key === key))
    }
    among.children[1].textContent = chosen.layer || "This layer"
    const [layer, channel] = chosen.pinned
    for (const line of list.querySelectorAll(".difference-row")) {
      const is_chosen = line.dataset.layer === layer && Number(line.dataset.channel) === channel
      line.classList.toggle("chosen", is_chosen)
      line.querySelector(".difference-name").setAttribute("aria-pressed", String(is_chosen))
    }
  }
  const show_loading = () => {
    panel.classList.toggle("loading", model.is_loading)
    if (!model.table) show_table()
  }
  model.on(["table", "missing"], show_table)
  model.on("chosen", show_chosen)
  model.on("is_loading", show_loading)
  show_table()
  show_chosen()
  show_loading()
  return panel
}
