// All subsets that can be chosen, each for A or for B.
function subsetMenu({choose, open, suggest}) {
  const menu = element("details", "menu")
  const summary = element("summary", "button", "Choose subsets", {title: "Parts of the class, saved subsets, suggestions"})
  const panel = element("div", "menu-panel subset-panel")
  const [own, saved, suggested, code] = ["of-class", "saved", "suggested", "in-python"].map((name) => element("div", `subset-part ${name}`))
  panel.append(own, saved, suggested, code)
  menu.append(summary, panel)
  menu.addEventListener("toggle", () => { if (menu.open) open() })
  // What had the focus may be drawn anew, so that keys arrive elsewhere.
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || !menu.open) return
    menu.open = false
    summary.focus()
  })
  document.addEventListener("pointerdown", (event) => {
    if (menu.open && !event.composedPath().includes(menu)) menu.open = false
  })

  const row = (one) => {
    const line = element("div", "subset-row")
    const name = element("span", "name", one.name, {title: one.title})
    const sides = ["a", "b"].map((side) => {
      const button = element("button", `side-button side-${side}`, side.toUpperCase(), {
        type: "button", "aria-label": `${one.name} as ${side.toUpperCase()}`, "data-query": one.query,
      })
      button.addEventListener("click", () => choose(side, one.query))
      return button
    })
    line.append(name, element("span", "number muted", one.count), ...sides)
    return line
  }
  const fill = (part, title, rows, empty) => {
    const head = element("div", "subset-title", title)
    part.replaceChildren(head, ...(rows.length ? rows.map(row) : [element("div", "muted note", empty)]))
  }
  const showSuggested = (rows, is_searching) => {
    if (rows) return fill(suggested, "Where it errs most", rows, "No subset errs more than the others.")
    const search = element("button", "button search-errors", is_searching ? "Searching …" : "Search for subsets with errors", {type: "button"})
    search.disabled = is_searching
    search.addEventListener("click", suggest)
    suggested.replaceChildren(element("div", "subset-title", "Where it errs most"), search)
  }
  return {
    menu,
    showClass: (title, rows) => fill(own, title, rows, "There are none."),
    showSaved: (rows) => fill(saved, "Saved subsets", rows, "None. The last line below saves one in the store."),
    showSuggested,
    showCode: (text) => code.replaceChildren(element("div", "subset-title", "In Python"), element("pre", "code", text)),
  }
}
