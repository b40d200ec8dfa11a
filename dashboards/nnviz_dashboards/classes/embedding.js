export function render({model}) {
  const panel = element("section", "panel map-panel", null, {"aria-label": "Map of the classes"})
  const head = element("header", "head")
  const title = element("h2", "title")
  const note = element("span", "muted note")
  const layouts = element("div", "segments", null, {role: "group", "aria-label": "How the classes are laid out"})
  layouts.append(...[["map", "Map", "Near are classes that are alike"], ["pairs", "Pairs", "How alike every two classes are"]].map(([key, text, explanation]) => {
    const button = element("button", "segment", text, {type: "button", "data-layout": key, title: explanation})
    button.addEventListener("click", () => model.send_msg({type: "lay_out", layout: key}))
    return button
  }))
  head.append(title, layouts, note)
  const body = element("div", "body")
  const canvas = element("canvas", "map", null, {
    tabindex: "0", role: "application", "aria-roledescription": "map", "aria-describedby": "map-cursor",
    "aria-label": "Map of the classes. Arrow keys walk, Enter chooses, plus and minus zoom, 0 shows all",
  })
  const told = element("span", "unseen", "", {role: "status", id: "map-cursor"})
  const zooms = element("div", "zooms", null, {role: "group", "aria-label": "Zoom of the map"})
  panel.append(head, body)

  const map = classMap(canvas, {names: model.names, subsets: model.subsets, changed: () => draw()})
  for (const [text, name, action] of [["+", "Zoom into the map", () => map.zoom(1.5)], ["−", "Zoom out of the map", () => map.zoom(1 / 1.5)],
                                      ["Fit", "Show the whole map", map.fit]]) {
    const button = element("button", "button", text, {type: "button", "aria-label": name, title: name})
    button.addEventListener("click", action)
    zooms.append(button)
  }
  const pairs = classPairs(() => draw(), {
    name_of: (subset) => map.name_of(subset),
    choose: (subset) => model.send_msg({type: "choose", subset}),
    compare: (first, second) => model.send_msg({type: "compare", first, second}),
    point: (subset) => pointAtClass(subset, panel),
    said: (text) => { told.textContent = text },
  })
  const {menu} = chartMenu(model, {label: "⋯", picture: panelSaver(model, panel, () => model.title)})
  layouts.after(menu)
  // For whoever looks a class up, as the tests do: where it is on the canvas.
  canvas.placeOf = map.place_of

  let hovered = -1, cursor = -1, frame = 0 // the cursor is where the map itself was pointed at
  const draw = () => {
    cancelAnimationFrame(frame)
    frame = requestAnimationFrame(() => {
      const {clientWidth: width, clientHeight: height} = body
      if (width && pairs.canvas.isConnected) pairs.draw(width, height)
      else if (width && canvas.isConnected) drawMap(canvas, map, {...model.focus, shade: model.shade, width, height, hovered, corner: [zooms.offsetLeft, zooms.offsetTop]})
    })
  }
  const point = (subset, is_own = true) => {
    if (is_own) cursor = subset
    if (subset === hovered) return
    hovered = subset
    canvas.classList.toggle("over", is_own && subset >= 0)
    if (is_own) pointAtClass(subset, panel)
    draw()
  }
  canvas.addEventListener("pointermove", (event) => {
    if (!map.is_dragged()) point(map.nearest(event.offsetX, event.offsetY))
  })
  canvas.addEventListener("pointerleave", () => point(-1))
  canvas.addEventListener("click", (event) => {
    const subset = map.was_drag() ? -1 : map.nearest(event.offsetX, event.offsetY)
    if (subset >= 0) model.send_msg({type: "choose", subset})
  })
  canvas.addEventListener("dblclick", map.fit)
  canvas.addEventListener("keydown", (event) => {
    const step = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1]}[event.key]
    if (step) {
      point(map.beside(cursor >= 0 ? cursor : model.focus.chosen, ...step))
      map.show(cursor)
      told.textContent = map.name_of(cursor)
    } else if ((event.key === "Enter" || event.key === " ") && cursor >= 0) model.send_msg({type: "choose", subset: cursor})
    else if (event.key === "+" || event.key === "=") map.zoom(1.5)
    else if (event.key === "-") map.zoom(1 / 1.5)
    else if (event.key === "0") map.fit()
    else if (event.key === "Escape") point(-1)
    else return
    event.preventDefault()
  })
  canvas.addEventListener("blur", () => point(-1))
  onClassPointed(panel, (subset) => {
    pairs.point(subset)
    point(subset, false)
  })

  const show_texts = () => {
    title.textContent = model.title
    note.textContent = note.title = model.note
    if (model.explanation) note.title = `${model.note}. ${model.explanation}`
    layouts.hidden = Boolean(model.missing) || !model.can_pair
    for (const button of layouts.children) button.setAttribute("aria-pressed", String(button.dataset.layout === model.layout))
    const shown = model.pairs ? [pairs.canvas, told] : [canvas, zooms, told]
    const parts = model.missing ? [notice(model.missing)] : shown
    if (parts.some((part, i) => body.children[i] !== part)) body.replaceChildren(...parts)
  }
  const show_pairs = () => {
    pairs.show(model.pairs)
    show_texts()
    draw()
  }
  const show_places = () => {
    if (model.places) map.go(model.places)
    draw()
  }
  const show_focus = () => {
    map.show(model.focus.chosen)
    pairs.focus(model.focus.chosen, model.focus.versus)
    draw()
  }
  model.on(["title", "note", "missing", "layout"], show_texts)
  model.on("pairs", show_pairs)
  model.on("msg:custom", ({file}) => { if (file) saveBytes(file.name, file.content) })
  model.on("places", show_places)
  model.on("focus", show_focus)
  model.on("shade", draw)
  onTheme(draw)
  new ResizeObserver(draw).observe(body)
  show_pairs()
  show_places()
  show_focus()
  return panel
}
