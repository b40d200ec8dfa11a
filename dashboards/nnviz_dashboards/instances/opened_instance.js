// One instance: its picture, what the network says, and the channels that stand out.
function openedInstance(send, pictures) {
  const box = element("aside", "opened", null, {"aria-label": "Opened instance"})
  box.hidden = true
  const outputs = (one) => {
    const list = element("div", "opened-outputs", null, {role: "list"})
    one.outputs.forEach((output) => {
      const line = element("div", `output${output.is_label ? " is-label" : ""}`, null, {role: "listitem"})
      line.append(element("span", "name", output.name, {title: output.is_label ? `${output.name}: its class` : output.name}), bar(output.share), element("span", "number", output.text))
      list.append(line)
    })
    return list
  }
  const channels = (one) => one.channels.map((layer) => {
    const line = element("div", "opened-layer")
    const row = element("div", "opened-channels")
    layer.channels.forEach((channel) => {
      const button = element("button", "opened-channel", null, {type: "button", title: `${layer.label}, channel ${channel.called}: ${channel.text}`})
      if (channel.face >= 0) {
        button.append(element("img", "", null, {loading: "lazy", decoding: "async", alt: "", src: `${pictures()}/${layer.number}/${channel.channel}/${channel.face}`}))
      }
      button.append(element("b", "", channel.called), element("span", "muted", channel.short))
      button.addEventListener("click", () => send({type: "look_at", layer: layer.layer, channel: channel.channel}))
      row.append(button)
    })
    if (!layer.channels.length) row.append(element("span", "muted", "none above the mean"))
    line.append(element("span", "opened-label muted name", layer.label, {title: layer.layer}), row)
    return line
  })
  let without = null, one_shown = null, stage = null
  const inside = insideOf(send, pictures, () => without === "")
  const no_picture = () => element("p", "muted note opened-none", without === null ? "" : `No picture: ${without || "it cannot be read"}`)
  const photograph = (one) => {
    const picture = element("img", `opened-picture${one.is_wrong ? " wrong" : ""}`, null, {alt: one.said || one.title, src: `${pictures()}/instances/${one.n}/large`})
    picture.addEventListener("error", () => picture.replaceWith(no_picture()))
    return picture
  }
  // A picture that was clicked in another view is hidden with it: the focus goes on here.
  const follow = (title, until) => {
    if (performance.now() > until || !title.isConnected) return
    if (!title.getClientRects().length) return requestAnimationFrame(() => follow(title, until))
    const at = document.activeElement
    if (at === document.body || !at.getClientRects().length) title.focus({preventScroll: true})
  }
  // The picture with what lies over it: where a channel fires, and what the network saw.
  const staged = (picture) => {
    const place = element("div", "opened-stage")
    place.append(picture, element("i", "heat"), element("i", "crop", null, {hidden: "", title: "What the network saw"}))
    return place
  }
  const show = (one, value, lit) => {
    box.hidden = !one
    one_shown = one
    if (!one) return box.replaceChildren()
    const head = element("div", "opened-head")
    const close = element("button", "button", "×", {type: "button", "aria-label": "Close", title: "Close (Esc)"})
    close.addEventListener("click", () => send({type: "open", number: one.n}))
    const title = element("h3", "title", one.title, {tabindex: "-1"})
    head.append(title, element("span", "muted name", one.id, {title: one.id}), close)
    const picture = without === "" ? photograph(one) : no_picture()
    const rows = element("dl", "card-facts")
    one.rows.forEach(([name, value]) => rows.append(element("dt", "", name), element("dd", "name", value, {title: value})))
    const keep = element("button", "button", "Keep its row among the neurons", {type: "button"})
    keep.addEventListener("click", () => send({type: "keep", number: one.n}))
    stage = staged(picture)
    const sight = element("div", "opened-sight")
    sight.append(stage, inside.caption)
    const unusual = element("div", "opened-unusual")
    if (one.channels.length) {
      unusual.append(element("h4", "opened-title", "Channels that stand out", {title: "Strongest compared with all instances: standard deviations above their mean"}), ...channels(one))
    }
    box.replaceChildren(
      head, sight, element("p", "opened-said", one.said), keep,
      element("h4", "opened-title", one.what), outputs(one))
    if (one.rows.length) box.append(rows)
    box.append(inside.ask, unusual, inside.rows, inside.graph)
    showInside(value, lit)
    if (document.documentElement.dataset.ready === "yes") follow(title, performance.now() + 2000)
  }
  const showInside = (value, lit) => {
    if (!one_shown) return
    inside.show(one_shown, value, lit, stage)
    box.classList.toggle("has-inside", Boolean(value?.found))
  }
  return {box, show, showInside, pin: inside.pin, shade: inside.shade, setPictures: (why) => { without = why }}
}
