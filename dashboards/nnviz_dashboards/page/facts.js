export function render({model}) {
  const bar = element("header", "panel head facts", null, {"aria-label": "Chosen class"})
  const views = [["graph", "Graph"], ["channels", "Channels"], ["differences", "Differences"], ["instances", "Instances"], ["map", "Map"], ["confusions", "Confusions"], ["model", "Model"]].map(([key, label]) => {
    const button = element("button", "segment", label, {type: "button", "data-view": key})
    button.addEventListener("click", () => model.send_msg({type: "show", view: key}))
    return button
  })
  const segments = element("div", "segments", null, {role: "group", "aria-label": "View"})
  segments.append(...views)
  const show_facts = () => {
    bar.replaceChildren()
    const f = model.facts
    const title = element("h2", "title")
    if (f) title.append(classLabel(f.name, f.mark))
    else title.textContent = "Nothing is chosen"
    const rest = element("span", "muted rest", f ? kept(f.text) : "")
    bar.append(title, rest)
    if (f && f.confusions.length) {
      const wrong = element("span", "muted confusions", ", taken for ")
      f.confusions.forEach((c) => {
        const link = element("button", "link", c.text, {type: "button", title: "Compare these with those that are predicted right"})
        link.addEventListener("click", () => model.send_msg({type: "confusion", taken_for: c.subset}))
        wrong.append(link)
      })
      rest.append(wrong)
    }
    if (f?.against) rest.append(element("span", "against", f.against))
    if (model.has_views) bar.append(segments)
  }
  const show_view = () => {
    // The page's own style shows the part that is chosen.
    document.documentElement.dataset.view = model.view
    views.forEach((button) => {
      button.setAttribute("aria-pressed", String(button.dataset.view === model.view))
    })
  }
  model.on("facts", show_facts)
  model.on("view", show_view)
  show_facts()
  show_view()
  return bar
}
