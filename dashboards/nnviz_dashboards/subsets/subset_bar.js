const LETTERS = ["a", "b"]

export function render({model}) {
  const bar = element("section", "panel subset-bar", null, {"aria-label": "Subsets A and B"})
  const line = element("div", "bar-line")
  const said = element("p", "sentence", null, {"aria-live": "polite"})
  bar.append(line, said)
  let side = "a"
  const send = (message) => model.send_msg(message)

  const chips = LETTERS.map((letter) => {
    const chip = element("div", `chip side-${letter}`)
    const main = element("button", "chip-main", null, {type: "button"})
    main.addEventListener("click", () => edit(letter))
    chip.append(main)
    return {chip, main}
  })
  const clear = element("button", "chip-clear", "×", {type: "button", "aria-label": "Compare A with all others", title: "Compare A with all others"})
  clear.addEventListener("click", () => send({type: "write", side: "b", query: ""}))
  chips[1].chip.append(clear)
  const swap = element("button", "button", "⇄", {type: "button", "aria-label": "Exchange A and B", title: "Exchange A and B"})
  swap.addEventListener("click", () => send({type: "swap"}))

  const holder = element("div", "query-holder")
  const letter = element("button", "query-side", "A", {type: "button", title: "Whether A or B is written", "aria-label": "Write A or B"})
  letter.addEventListener("mousedown", (event) => event.preventDefault())
  letter.addEventListener("click", () => edit(side === "a" ? "b" : "a"))
  const field = completingField({
    label: "Query", placeholder: `a query, for instance: ${model.asked}`,
    ask: (text, cursor, turn) => send({type: "complete", text, cursor, turn}),
    accept: (query) => send({type: "write", side, query}),
    give_up: () => {
      problem.hidden = true
      field.input.value = model.sides[LETTERS.indexOf(side)]?.query ?? ""
      field.input.setAttribute("aria-invalid", "false")
    },
  })
  const problem = element("pre", "query-problem", null, {role: "alert"})
  problem.hidden = true
  holder.append(letter, field.box, problem)
  const menu = subsetMenu({
    choose: (letter, query) => send({type: "write", side: letter, query}),
    open: () => send({type: "saved"}),
    suggest: () => send({type: "suggest"}),
  })
  const against = element("span", "muted against", "against")
  line.append(chips[0].chip, against, chips[1].chip, swap, holder, menu.menu)

  function edit(letter) {
    side = letter
    problem.hidden = true
    show_side()
    field.input.value = model.sides[LETTERS.indexOf(side)]?.query ?? ""
    field.input.focus()
    field.input.select()
  }
  const show_side = () => {
    letter.textContent = side.toUpperCase()
    holder.dataset.side = side
  }
  const show_sides = () => {
    chips.forEach(({chip, main}, i) => {
      const one = model.sides[i]
      chip.hidden = !one
      if (!one) return
      main.replaceChildren(
        element("b", "chip-letter", LETTERS[i].toUpperCase()),
        element("span", "name", one.name, {title: one.query || "all other instances"}),
        element("span", "number", one.count))
      main.setAttribute("aria-label", `${LETTERS[i].toUpperCase()}: ${one.name}, ${one.count} instances; edit`)
      chip.classList.toggle("empty", one.n === 0)
    })
    against.hidden = swap.hidden = !model.sides.length
    const has_b = Boolean(model.sides[1]?.query)
    clear.hidden = !has_b
    swap.disabled = !has_b
    if (field.input.getRootNode().activeElement !== field.input) {
      field.input.value = model.sides[LETTERS.indexOf(side)]?.query ?? ""
    }
    menu.showCode(model.code)
  }
  const show_problem = () => {
    const p = model.problem
    problem.hidden = !p
    field.input.setAttribute("aria-invalid", String(Boolean(p)))
    if (!p) return
    side = p.side
    show_side()
    field.input.value = p.query
    problem.textContent = p.text
  }
  const show_said = () => {
    said.replaceChildren(...model.sentence.map((part) => {
      if (part.channel < 0) return element("span", part.is_muted ? "muted" : "", kept(part.text))
      const link = element("button", "link inline", part.text, {type: "button", title: "Look at this channel"})
      link.addEventListener("click", () => send({type: "look_at", layer: part.layer, channel: part.channel}))
      return link
    }))
    if (model.missing) said.append(element("span", "", ` ${model.missing.title}: ${model.missing.text}`))
    else if (model.is_loading) said.append(element("span", "muted", model.sentence.some((part) => part.is_muted) ? " The exact numbers follow …" : " Counting the channels …"))
  }
  const show_choices = () => {
    menu.showClass(model.of_what, model.of_class)
    menu.showSuggested(model.suggested, model.is_searching)
  }
  // Lines that a sentence has needed stay, so that what is below does not move with the
  // next one; in a window of another width they are counted anew.
  let width = 0
  new ResizeObserver(([{contentRect}]) => {
    if (contentRect.width !== width || model.missing) said.style.minHeight = ""
    width = contentRect.width
    if (!model.missing) said.style.minHeight = `${said.offsetHeight}px`
  }).observe(said)
  field.input.addEventListener("input", () => { problem.hidden = true })
  model.on("sides", show_sides)
  model.on("code", show_sides)
  model.on("problem", show_problem)
  model.on(["sentence", "is_loading", "missing"], show_said)
  model.on(["of_class", "suggested", "is_searching"], show_choices)
  model.on("msg:custom", (message) => {
    if (message.completions) field.show(message.completions, message.turn)
    if (message.saved) menu.showSaved(message.saved)
  })
  show_side()
  show_sides()
  show_problem()
  show_said()
  show_choices()
  return bar
}
