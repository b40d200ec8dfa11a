// The classes of a folder of graphs: a click looks at one, what is written finds some.
export function render({model}) {
  const panel = element("section", "panel", null, {"aria-label": "Classes"})
  const head = element("header", "head")
  const found = element("span", "muted note", "", {role: "status"})
  const search = element("input", "search", null, {type: "search", placeholder: "Find", "aria-label": "Search classes", spellcheck: "false", autocomplete: "off"})
  head.append(element("h2", "title", "Classes"), found, search)
  const list = element("div", "file-rows", null, {role: "group", "aria-label": "Classes"})
  panel.append(head, list)
  const rows = model.names.map((name, number) => {
    const row = element("button", "file-row", null, {type: "button", "data-class": number, title: `Look at ${model.files[number]}`})
    row.append(element("span", "name", name), element("span", "muted", model.files[number]))
    row.addEventListener("click", () => model.send_msg({type: "choose", number}))
    return row
  })
  list.append(...rows)
  const shown = () => rows.filter((row) => !row.hidden)
  const show_found = () => {
    const words = search.value.trim().toLowerCase()
    for (const row of rows) row.hidden = !row.textContent.toLowerCase().includes(words)
    const n = shown().length
    found.textContent = n === rows.length ? n.toLocaleString("en") : `${n.toLocaleString("en")} of ${rows.length.toLocaleString("en")}`
  }
  const show_chosen = () => {
    rows.forEach((row, number) => {
      row.setAttribute("aria-pressed", String(number === model.chosen))
      row.tabIndex = number === model.chosen ? 0 : -1
    })
    rows[model.chosen]?.scrollIntoView({block: "nearest"})
  }
  search.addEventListener("input", show_found)
  search.addEventListener("keydown", (event) => {
    if (event.key === "Enter") shown()[0]?.click()
    if (event.key === "ArrowDown") shown()[0]?.focus()
  })
  list.addEventListener("keydown", (event) => {
    const all = shown(), at = all.indexOf(event.target)
    const next = {ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: all.length - 1}[event.key]
    if (at < 0 || next === undefined) return
    event.preventDefault()
    all[Math.max(0, Math.min(all.length - 1, next))].focus()
  })
  model.on("chosen", show_chosen)
  show_found()
  show_chosen()
  requestAnimationFrame(show_chosen)
  return panel
}
