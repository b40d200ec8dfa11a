// A text field that offers what could be written next.
function completingField({label, placeholder, ask, accept, give_up}) {
  const box = element("div", "completing")
  const input = element("input", "query", null, {
    type: "text", spellcheck: "false", autocomplete: "off", autocapitalize: "off",
    "aria-label": label, placeholder, role: "combobox", "aria-expanded": "false",
    "aria-controls": "completions", "aria-autocomplete": "list",
  })
  const list = element("div", "completions", null, {role: "listbox", id: "completions", "aria-label": "Completions"})
  list.hidden = true
  box.append(input, list)
  let found = [], chosen = -1, turn = 0, timer = null

  const close = () => {
    list.hidden = true
    chosen = -1
    input.setAttribute("aria-expanded", "false")
    input.removeAttribute("aria-activedescendant")
  }
  const mark = (index) => {
    chosen = index
    ;[...list.children].forEach((row, i) => row.setAttribute("aria-selected", String(i === index)))
    list.children[index]?.scrollIntoView({block: "nearest"})
    if (index >= 0) input.setAttribute("aria-activedescendant", `completion-${index}`)
    else input.removeAttribute("aria-activedescendant")
  }
  const take = ({text, start, stop}) => {
    const gap = /[(\s]$/.test(text) ? "" : " "
    const rest = input.value.slice(stop)
    input.value = input.value.slice(0, start) + text + gap + rest.trimStart()
    const at = start + text.length + gap.length
    input.focus()
    input.setSelectionRange(at, at)
    request()
  }
  const request = () => {
    clearTimeout(timer)
    timer = setTimeout(() => ask(input.value, input.selectionStart ?? input.value.length, ++turn), 70)
  }
  const show = (completions, of_turn) => {
    if (of_turn !== turn || !isFocused()) return
    const marked = found[chosen]?.text
    found = completions
    list.replaceChildren(...found.map((one, i) => {
      const row = element("div", "completion", null, {role: "option", id: `completion-${i}`, "aria-selected": "false"})
      row.append(element("span", "completion-text", one.text), element("span", "muted", one.meaning === "word" ? "" : one.meaning))
      // The field keeps the focus.
      row.addEventListener("mousedown", (event) => { event.preventDefault(); take(one) })
      return row
    }))
    list.hidden = found.length === 0
    // What is marked stays so, where it is still offered.
    mark(found.findIndex((one) => one.text === marked))
    input.setAttribute("aria-expanded", String(!list.hidden))
  }
  const isFocused = () => input.getRootNode().activeElement === input

  input.addEventListener("input", request)
  input.addEventListener("focus", request)
  input.addEventListener("blur", close)
  input.addEventListener("keydown", (event) => {
    const is_open = !list.hidden
    if (is_open && (event.key === "ArrowDown" || event.key === "ArrowUp")) {
      const n = found.length, step = event.key === "ArrowDown" ? 1 : -1
      mark(chosen < 0 ? (step > 0 ? 0 : n - 1) : (chosen + step + n) % n)
    } else if (is_open && event.key === "Tab" && !event.shiftKey && chosen >= 0) take(found[chosen])
    else if (event.key === "Enter" && is_open && chosen >= 0) take(found[chosen])
    else if (event.key === "Enter") { close(); turn++; clearTimeout(timer); accept(input.value) }
    else if (event.key === "Escape") { close(); give_up(); input.blur(); return }
    else return
    event.preventDefault()
  })
  return {box, input, show, close}
}
