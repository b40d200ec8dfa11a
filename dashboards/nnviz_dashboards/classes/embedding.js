export function render({model}) {
  const panel = element("section", "panel", null, {"aria-label": "Embedding of the classes"})
  const head = element("header", "head")
  const title = element("h2", "title")
  const note = element("span", "muted note")
  head.append(title, note)
  const body = element("div", "body")
  panel.append(head, body)
  const drawing = model.get_child("drawing")
  const show = () => {
    title.textContent = model.title
    note.textContent = model.note
    body.replaceChildren(model.missing ? notice(model.missing) : drawing)
  }
  model.on(["title", "note", "missing"], show)
  show()
  return panel
}
