// What every chart offers beside what it draws: how to read it, its data, a picture, and
// the lines of Python that give the same numbers.
const TABLE_FORMATS = {csv: "CSV", parquet: "Parquet"}
const PICTURE_FORMATS = {png: "Picture (PNG)", svg: "Drawing (SVG)"}

// `picture` saves the chart as png or svg, `pictures` names those that it can be; `tables`
// names its tables, each with its place, where there are several.
function chartMenu(model, {label = "More", picture = null, pictures = ["png", "svg"], tables = () => [["", 0]]} = {}) {
  const menu = closable(element("details", "menu chart-menu"))
  const summary = element("summary", "button", label, {title: "How to read it, its data, its picture, lines of Python", "aria-label": "More of this chart"})
  const panel = element("div", "menu-panel")
  menu.append(summary, panel)
  const item = (text, key, act) => {
    const button = element("button", "menu-item", text, {type: "button", "data-save": key})
    button.addEventListener("click", () => {
      menu.open = false
      act()
    })
    return button
  }
  const show = () => {
    const {explanation = "", code = "", formats = []} = model.about
    const parts = []
    if (explanation) parts.push(element("b", "", "How to read it"), element("p", "chart-explanation", explanation))
    const items = element("div", "chart-files")
    for (const [name, place] of tables()) {
      items.append(...formats.map((format) => item(`Data${name ? ` of ${name}` : ""} (${TABLE_FORMATS[format]})`, place ? `${format}-${place}` : format,
        () => model.send_msg({type: "data", kind: format, ...(place ? {place} : {})}))))
    }
    if (picture) items.append(...pictures.map((kind) => item(PICTURE_FORMATS[kind], kind, () => picture(kind))))
    parts.push(items)
    if (code) {
      const copy = element("button", "quiet", "Copy", {type: "button"})
      copy.addEventListener("click", () => navigator.clipboard?.writeText(code))
      const line = element("div", "chart-python")
      line.append(element("b", "", "In Python"), copy)
      parts.push(line, element("pre", "code", code))
    }
    panel.replaceChildren(...parts)
  }
  // In view and whole, wherever its button stands; what scrolls away below it closes it.
  menu.addEventListener("toggle", () => {
    if (!menu.open) return
    const at = summary.getBoundingClientRect(), {width, height} = panel.getBoundingClientRect()
    panel.style.left = `${Math.max(8, Math.min(at.right - width, innerWidth - 8 - width))}px`
    const below = at.bottom + 6
    panel.style.top = `${below + height < innerHeight - 8 ? below : Math.max(8, Math.min(innerHeight - 8 - height, below))}px`
  })
  window.addEventListener("scroll", () => (menu.open = false), {passive: true})
  window.addEventListener("resize", () => (menu.open = false))
  model.on("about", show)
  model.on("msg:custom", ({file}) => { if (file) saveBytes(file.name, file.content) })
  show()
  return {menu, show}
}

// The usual picture: the panel as it is drawn, and below it how to read it.
const panelSaver = (model, panel, name) => async (kind) => savePicture(kind, name(), await panelPicture(panel, [model.about.explanation]))
