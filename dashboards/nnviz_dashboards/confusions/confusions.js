export function render({model}) {
  const panel = element("section", "panel confusions", null, {"aria-label": "Confusions"})
  const head = element("header", "head confusions-head")
  const note = element("span", "muted note")
  let what = "both"
  const picks = [["both", "A, right ones as B"], ["a", "A"], ["b", "B"]].map(([key, label]) => {
    const button = element("button", "segment", label, {type: "button", "data-what": key})
    button.addEventListener("click", () => { what = key; show_picks() })
    return button
  })
  const segments = element("div", "segments", null, {role: "group", "aria-label": "What a click chooses"})
  segments.append(...picks)
  const field = element("div", "field")
  field.append(element("span", "field-name", "A click chooses"), segments)
  const {menu} = chartMenu(model, {picture: panelSaver(model, panel, () => "confusions")})
  head.append(element("h2", "title", "Confusions"), note, field, menu)
  const body = element("div", "confusions-body")
  panel.append(head, body)
  const send = (message) => model.send_msg({...message, what})
  const show_picks = () => picks.forEach((one) => one.setAttribute("aria-pressed", String(one.dataset.what === what)))

  function grid(table) {
    const n = table.classes.length
    const largest = Math.max(1, ...table.counts.map((row, i) => Math.max(0, ...row.filter((_, j) => j !== i))))
    const box = element("div", "confusion-table", null, {role: "grid", "aria-label": "True classes by predicted classes"})
    box.style.setProperty("--n", n)
    box.append(element("div", "confusion-corner muted", "true ↓ predicted →"))
    table.names.forEach((name, j) => {
      const button = element("button", "confusion-top", null, {type: "button", title: `All that are predicted as ${name}`, tabindex: "-1"})
      button.append(element("span", "name", name))
      button.addEventListener("click", () => send({type: "pick_class", index: table.classes[j], predicted: true}))
      box.append(button)
    })
    table.names.forEach((name, i) => {
      const button = element("button", "confusion-left name", name, {type: "button", title: `All instances of ${name}: ${table.n_instances[i].toLocaleString("en")}`})
      button.addEventListener("click", () => send({type: "pick_class", index: table.classes[i], predicted: false}))
      box.append(button)
      table.counts[i].forEach((count, j) => {
        const is_right = i === j
        const cell = element("button", `confusion-cell${is_right ? " right-one" : ""}`, count ? count.toLocaleString("en") : "", {
          type: "button", tabindex: i + j ? "-1" : "0", "data-query": table.queries[i][j], "data-place": i * n + j,
          title: `${count.toLocaleString("en")} of ${table.n_instances[i].toLocaleString("en")} instances of ${name} ${is_right ? "are predicted right" : `are taken for ${table.names[j]}`}`,
        })
        const share = is_right ? 0 : Math.sqrt(count / largest)
        cell.style.setProperty("--share", share.toFixed(3))
        cell.classList.toggle("dark", share > 0.55)
        cell.disabled = count === 0
        cell.addEventListener("click", () => send({type: "pick", label: table.classes[i], prediction: table.classes[j]}))
        box.append(cell)
      })
    })
    box.addEventListener("keydown", (event) => {
      const step = {ArrowLeft: -1, ArrowRight: 1, ArrowUp: -n, ArrowDown: n}[event.key]
      const here = event.composedPath()[0].dataset?.place
      if (!step || here === undefined) return
      // Empty cells cannot be chosen: the next one in this direction that is not empty.
      for (let at = Number(here) + step; at >= 0 && at < n * n; at += step) {
        const next = box.querySelector(`[data-place="${at}"]`)
        if (Math.abs(step) === 1 && Math.floor(at / n) !== Math.floor(Number(here) / n)) break
        if (next.disabled) continue
        box.querySelectorAll(".confusion-cell[tabindex='0']").forEach((cell) => cell.setAttribute("tabindex", "-1"))
        next.setAttribute("tabindex", "0")
        next.focus()
        break
      }
      event.preventDefault()
    })
    return box
  }
  function list(table) {
    const box = element("div", "frequent", null, {"aria-label": "Most frequent confusions", role: "group"})
    const title = element("h3", "frequent-title")
    title.append(element("b", "", "Most frequent"))
    if (table.frequent.length) title.append(element("span", "muted", "and share of the class"))
    box.append(title)
    if (!table.frequent.length) box.append(element("p", "muted", "No instance is predicted wrong."))
    for (const one of table.frequent) {
      const row = element("button", "frequent-row", null, {type: "button", "data-query": one.query})
      const names = element("span", "name", null, {title: `${one.from} taken for ${one.to}`})
      names.append(one.from, element("span", "muted", " taken for "), one.to)
      row.append(names, element("span", "number", one.count), element("span", "number muted", one.share))
      row.addEventListener("click", () => send({type: "pick", label: one.label, prediction: one.prediction}))
      box.append(row)
    }
    return box
  }
  const show_table = () => {
    const {table} = model
    field.hidden = note.hidden = menu.hidden = !table
    if (model.missing) return body.replaceChildren(notice(model.missing))
    if (!table) return body.replaceChildren()
    note.textContent = table.note
    const holder = element("div", "confusion-holder")
    holder.append(grid(table))
    body.replaceChildren(holder, list(table))
    show_chosen()
  }
  const show_chosen = () => {
    const [a, b] = model.chosen
    for (const cell of body.querySelectorAll("[data-query]")) {
      cell.classList.toggle("is-a", cell.dataset.query === a)
      cell.classList.toggle("is-b", Boolean(b) && cell.dataset.query === b)
    }
  }
  model.on(["table", "missing"], show_table)
  model.on("chosen", show_chosen)
  show_picks()
  show_table()
  return panel
}
