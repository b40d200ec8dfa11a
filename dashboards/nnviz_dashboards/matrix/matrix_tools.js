const MEASURE_WORDS = {mean: "Mean", share: "Share", maximum: "Maximum", relevance: "Relevance", gradient: "Gradient", gradient_norm: "Norm"}
const MEASURE_TITLES = {
  mean: "Mean activation of the row's instances",
  share: "In which share of the row's instances the channel is among the top channels",
  maximum: "Largest activation among the row's instances",
  relevance: "What the channel does for the explained output, against its mean over all instances",
  gradient: "How the explained output changes with the channel, summed over positions",
  gradient_norm: "How much the explained output can change with the channel: the norm of its gradient over positions",
}

// What stands in the head: measure, order, shading, zoom, and what can be saved.
function matrixTools(model, send, {zoom, picture, tables}) {
  const box = element("div", "matrix-tools")
  const measures = element("div", "segments", null, {role: "group", "aria-label": "What is shown"})
  const buttons = Object.keys(MEASURE_WORDS).map((name) => {
    const button = element("button", "segment", MEASURE_WORDS[name], {type: "button", "data-measure": name, title: MEASURE_TITLES[name]})
    button.addEventListener("click", () => send({type: "measure", name}))
    return button
  })
  measures.append(...buttons)
  const choice = (label, name) => {
    const field = element("label", "field")
    const select = element("select", "select", null, {"aria-label": label})
    select.addEventListener("change", () => send({type: name, [name === "sort" ? "key" : "name"]: select.value}))
    field.append(element("span", "field-name", label), select)
    return {field, select}
  }
  const order = choice("Sorted by", "sort")
  const shade = choice("Strongest", "shade")
  const options = (select, values, chosen) => {
    select.replaceChildren(...values.map(([value, text]) => new Option(text, value, false, value === chosen)))
  }
  const zooms = element("div", "segments", null, {role: "group", "aria-label": "Width of the columns"})
  for (const [text, step, label] of [["+", 1, "Wider columns"], ["−", -1, "Narrower columns"], ["Fit", 0, "As wide as fits"]]) {
    const button = element("button", "segment", text, {type: "button", "aria-label": label, title: label})
    button.addEventListener("click", () => zoom(step))
    zooms.append(button)
  }
  const {menu, show: show_menu} = chartMenu(model, {picture, tables})
  const more = element("select", "select matrix-more", null, {"aria-label": "Open another layer", title: "Open the neurons of another layer below"})
  more.addEventListener("change", () => { if (more.value) send({type: "toggle_layer", name: more.value}) })
  const large = element("button", "button matrix-large", "", {type: "button"})
  large.addEventListener("click", () => send({type: "enlarge"}))
  box.append(measures, order.field, shade.field, zooms, more, large, menu)
  return {
    box,
    enlarged(is_large) {
      large.textContent = is_large ? "⤡" : "⤢"
      large.title = is_large ? "Smaller: show the view below again" : "Larger: take the room of the view below"
      large.setAttribute("aria-label", large.title)
    },
    show(chosen, can_open) {
      box.classList.toggle("has-signals", chosen.measures.includes("relevance"))
      for (const button of buttons) {
        button.hidden = !chosen.measures.includes(button.dataset.measure)
        button.setAttribute("aria-pressed", String(button.dataset.measure === chosen.measure))
      }
      const is_row = !chosen.orders.some(([key]) => key === chosen.sorted_by)
      const of_row = is_row ? [[chosen.sorted_by, `row ${chosen.sorted_by}`]] : []
      options(order.select, [...chosen.orders, ...of_row], chosen.sorted_by)
      options(shade.select, [["layer", "of the layer"], ["channel", "of each channel"]], chosen.shade)
      more.hidden = can_open.length === 0
      options(more, [["", "+ layer"], ...can_open], "")
      show_menu()
    },
  }
}
