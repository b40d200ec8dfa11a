export function render({model}) {
  const strip = element("div", "strip", null, {role: "radiogroup", "aria-label": "Layer"})
  const items = model.items
  const most = Math.max(1, ...items.map((item) => item.n_channels))
  const buttons = items.map((item, index) => {
    const button = element("button", "layer", null, {
      type: "button", role: "radio", title: item.title, "data-layer": item.name,
    })
    const glyph = element("span", "glyph")
    glyph.style.height = `${Math.round(8 + 14 * item.n_channels / most)}px`
    button.append(glyph, element("span", "layer-name", item.label),
                  element("span", "layer-size", item.size))
    button.addEventListener("click", () => model.send_msg({type: "choose", name: item.name}))
    button.addEventListener("keydown", (event) => {
      const step = {ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1}[event.key]
      const next = event.key === "Home" ? 0 : event.key === "End" ? items.length - 1 :
                   step ? (index + step + items.length) % items.length : null
      if (next === null) return
      event.preventDefault()
      buttons[next].focus()
      model.send_msg({type: "choose", name: items[next].name})
    })
    return button
  })
  const show = () => {
    items.forEach((item, index) => {
      const is_chosen = item.name === model.chosen
      buttons[index].setAttribute("aria-checked", String(is_chosen))
      buttons[index].tabIndex = is_chosen ? 0 : -1
      if (is_chosen) buttons[index].scrollIntoView?.({block: "nearest", inline: "nearest"})
    })
  }
  if (items.length === 0) {
    strip.append(element("span", "muted", "The run shows no layer."))
  }
  strip.append(element("span", "end", "input"), ...buttons, element("span", "end", "output"))
  model.on("chosen", show)
  show()
  return strip
}
