export function render({model}) {
  const strip = element("div", "strip", null, {role: "radiogroup", "aria-label": "Layer"})
  const items = model.items
  // Of a folded stage its last layer stands for all.
  const is_last = (name) => Object.values(model.stages).some(({layers}) => layers.at(-1) === name)
  const is_hidden = (name) => !is_last(name) && Object.values(model.stages).some(({is_open, layers}) => !is_open && layers.includes(name))
  const most = Math.max(1, ...items.map((item) => item.n_channels))
  const buttons = items.map((item, index) => {
    const button = element("button", "layer", null, {
      type: "button", role: "radio", title: item.title, "data-layer": item.name,
    })
    const glyph = element("span", "glyph")
    glyph.style.height = `${Math.round(8 + 14 * item.n_channels / most)}px`
    const name = element("span", "layer-name end-first")
    name.append(element("bdi", "", item.label))
    button.append(glyph, name,
                  element("span", "layer-size", item.size))
    button.dataset.size = item.size
    const is_beside = (event) => event.shiftKey || event.ctrlKey || event.metaKey
    button.addEventListener("click", (event) => model.send_msg({type: is_beside(event) ? "toggle_beside" : "choose", name: item.name}))
    button.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && is_beside(event)) {
        event.preventDefault()
        return model.send_msg({type: "toggle_beside", name: item.name})
      }
      const step = {ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1}[event.key]
      let next = event.key === "Home" ? 0 : event.key === "End" ? items.length - 1 :
                 step ? (index + step + items.length) % items.length : null
      while (next !== null && is_hidden(items[next].name)) next = (next + (step ?? 1) + items.length) % items.length
      if (next === null) return
      event.preventDefault()
      buttons[next].focus()
      if (is_beside(event)) return // looks for one to open
      model.send_msg({type: "choose", name: items[next].name})
    })
    return button
  })
  const show = () => {
    items.forEach((item, index) => {
      const is_chosen = item.name === model.chosen
      buttons[index].setAttribute("aria-checked", String(is_chosen))
      buttons[index].tabIndex = is_chosen ? 0 : -1
      buttons[index].classList.toggle("beside", !is_chosen && model.beside.includes(item.name))
    })
  }
  if (items.length === 0) {
    strip.append(element("span", "muted", "The run shows no layer."))
  }
  // Before the first layer of a stage that is seen stands what folds and opens it.
  const folds = new Map(Object.entries(model.stages).map(([stage, {layers}]) => {
    const button = element("button", "layer-fold", null, {type: "button", "data-stage": stage})
    button.addEventListener("click", () => model.send_msg({type: "fold", stage}))
    return [stage, {button, layers}]
  }))
  const fold_before = (name) => [...folds.values()].find(({layers}) => layers[0] === name)?.button
  // What a network receives may be a layer of its own, which says so itself.
  strip.append(...(items[0]?.is_input ? [] : [element("span", "end", "input")]),
    ...buttons.flatMap((button, index) => [fold_before(items[index].name), button].filter(Boolean)),
    element("span", "end", "output"))
  const show_stages = () => {
    items.forEach((item, index) => { buttons[index].hidden = is_hidden(item.name) })
    for (const [stage, {button, layers}] of folds) {
      const {is_open} = model.stages[stage]
      button.textContent = is_open ? "−" : "+"
      button.title = is_open ? `Fold ${stage}: show its last layer only` : `Open ${stage}: show all of its ${layers.length} layers`
      button.setAttribute("aria-label", button.title)
      button.setAttribute("aria-expanded", String(is_open))
      const last = buttons[items.findIndex((item) => item.name === layers.at(-1))]
      last.querySelector(".layer-size").textContent = is_open ? last.dataset.size : `${last.dataset.size} · last of ${layers.length}`
    }
  }
  // The chosen layer is in view once there is a width, and stays so when it changes.
  const reveal = () => {
    const button = buttons[items.findIndex((item) => item.name === model.chosen)]
    if (!button || !strip.clientWidth) return
    const margin = 60, left = button.offsetLeft - margin, right = button.offsetLeft + button.offsetWidth + margin
    if (left < strip.scrollLeft) strip.scrollLeft = left
    else if (right > strip.scrollLeft + strip.clientWidth) strip.scrollLeft = right - strip.clientWidth
    show_ends()
  }
  // Where the strip goes on, its end fades.
  const show_ends = () => {
    strip.classList.toggle("more-left", strip.scrollLeft > 2)
    strip.classList.toggle("more-right", strip.scrollLeft + strip.clientWidth < strip.scrollWidth - 2)
  }
  strip.addEventListener("scroll", show_ends, {passive: true})
  strip.addEventListener("wheel", (event) => {
    if (strip.scrollWidth <= strip.clientWidth || event.deltaX || event.shiftKey) return
    strip.scrollLeft += event.deltaY
    event.preventDefault()
  }, {passive: false})
  new ResizeObserver(reveal).observe(strip)
  model.on("beside", show)
  model.on("stages", () => { show_stages(); reveal() })
  model.on("chosen", () => { show(); reveal() })
  show_stages()
  show()
  return strip
}
