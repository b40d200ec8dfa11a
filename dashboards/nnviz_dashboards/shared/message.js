export function render({model}) {
  const panel = element("section", "panel", null, {role: "status"})
  panel.append(notice(model.missing ?? {title: "Reload the page", text: "The run has gone on."}))
  return panel
}
