// What stands in the place of the classes where there are none: why, and what can be chosen.
export function render({model}) {
  const panel = element("section", "panel parts-list", null, {"aria-label": "Subsets"})
  const list = element("div", "parts-rows", null, {role: "list"})
  panel.append(notice(model.missing), list)
  const row = (one) => {
    const line = element("div", "part-row", null, {role: "listitem"})
    const name = element("button", "part-name", null, {type: "button", title: `Look at ${one.name} as A`, "data-query": one.query})
    name.append(element("span", "name", one.name), element("span", "number muted", one.count))
    name.addEventListener("click", () => model.send_msg({type: "choose", side: "a", query: one.query}))
    const sides = ["a", "b"].map((side) => {
      const button = element("button", `side-button side-${side}`, side.toUpperCase(), {type: "button", "aria-label": `${one.name} as ${side.toUpperCase()}`})
      button.addEventListener("click", () => model.send_msg({type: "choose", side, query: one.query}))
      return button
    })
    line.append(name, ...sides)
    return {line, query: one.query, name, sides}
  }
  const rows = model.parts.map(row)
  list.append(...rows.map(({line}) => line))
  const show_chosen = () => {
    for (const {line, query, name, sides} of rows) {
      sides.forEach((button, i) => button.setAttribute("aria-pressed", String(model.chosen[i] === query)))
      line.classList.toggle("chosen", model.chosen[0] === query)
      name.setAttribute("aria-pressed", String(model.chosen[0] === query))
    }
  }
  model.on("chosen", show_chosen)
  show_chosen()
  return panel
}
