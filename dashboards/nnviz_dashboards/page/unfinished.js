export function render({model}) {
  const box = element("div", "run-progress")
  const track = element("div", "track", null, {role: "progressbar", "aria-valuemin": "0", "aria-valuemax": "100", "aria-label": "Extracted instances"})
  const fill = element("div", "fill")
  track.append(fill)
  const text = element("span", "running-text", "", {role: "status"})
  const note = element("span", "muted note", "refreshes itself")
  const reload = element("button", "button", "Show what is new", {type: "button"})
  reload.addEventListener("click", () => location.reload())
  box.append(track, text, note, reload)
  const show = () => {
    fill.style.width = `${100 * model.share}%`
    track.setAttribute("aria-valuenow", String(Math.round(100 * model.share)))
    text.textContent = model.text
    note.hidden = model.has_news
    reload.hidden = !model.has_news
    if (model.has_news && model.reloads) location.reload()
  }
  model.on(["text", "share", "has_news"], show)
  show()
  return box
}
