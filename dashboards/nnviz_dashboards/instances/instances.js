const SIDE_NAMES = {a: "A", b: "B"}

export function render({model}) {
  const send = (message) => model.send_msg(message)
  const panel = element("section", "panel instances", null, {"aria-label": "Instances of A and B"})
  const head = element("header", "head instances-head")
  const sort = element("select", "select", null, {"aria-label": "Order of the instances"})
  const turned = element("button", "button", "↓", {type: "button"})
  const field = element("label", "field")
  field.append(element("span", "field-name", "Sorted by"), sort, turned)
  const chosen = element("div", "chosen-line", null, {role: "status"})
  const {menu} = chartMenu(model, {picture: panelSaver(model, panel, () => "instances")})
  head.append(element("h2", "title", "Instances"), field, chosen, menu)
  const body = element("div", "instances-body")
  const lists = element("div", "instance-lists")
  const opened = openedInstance(send, () => model.pictures)
  body.append(lists, opened.box)
  panel.append(head, body)

  let timer = null
  const point = (number) => {
    clearTimeout(timer)
    timer = setTimeout(() => send({type: "point", number}), 80)
  }
  sort.addEventListener("change", () => send({type: "sort", order: sort.value}))
  turned.addEventListener("click", () => {
    const by = model.order.replace(/^-/, "")
    send({type: "sort", order: model.order.startsWith("-") ? by : `-${by}`})
  })

  function square(one) {
    const cell = element("div", `square${one.is_wrong ? " wrong" : ""}`, null, {"data-instance": one.n})
    const main = element("button", "square-main", null, {type: "button", title: one.title, "aria-label": one.title})
    const face = element("span", "square-face")
    face.append(element("span", "square-text", `#${one.n.toLocaleString("en")}`))
    const caption = element("span", "square-caption")
    caption.append(element("span", "name", one.prediction || one.label || "–"), element("span", "number", one.score))
    main.append(face, caption)
    main.addEventListener("click", (event) => send({type: event.shiftKey || event.ctrlKey || event.metaKey ? "mark" : "open", number: one.n}))
    main.addEventListener("pointerenter", () => point(one.n))
    main.addEventListener("pointerleave", () => point(-1))
    main.addEventListener("focus", () => point(one.n))
    main.addEventListener("blur", () => point(-1))
    const mark = element("button", "square-mark", "✓", {type: "button", "aria-label": `Mark #${one.n}`, title: "Mark: several become a subset"})
    mark.addEventListener("click", () => send({type: "mark", number: one.n}))
    cell.append(main, mark)
    return cell
  }

  function list(page) {
    const part = element("section", `instance-list side-${page.side}`, null, {"aria-label": `Instances of ${SIDE_NAMES[page.side]}`})
    const line = element("div", "list-line")
    const name = element("span", "list-name", null, {title: page.name})
    name.append(element("b", "chip-letter", SIDE_NAMES[page.side]), element("span", "name", page.name))
    const turn = (text, label, first, is_possible) => {
      const button = element("button", "button", text, {type: "button", "aria-label": label})
      button.disabled = !is_possible
      button.addEventListener("click", () => send({type: "turn", side: page.side, first}))
      return button
    }
    const all = element("button", "quiet", "Mark these", {type: "button"})
    all.hidden = page.n_shown === 0
    all.addEventListener("click", () => send({type: "mark_page", side: page.side}))
    line.append(name, element("span", "muted number span", page.span), all)
    if (page.n > page.n_shown) {
      line.append(turn("‹", "Earlier", page.first - page.page, page.first > 0), turn("›", "Later", page.first + page.page, page.first + page.n_shown < page.n))
    }
    const grid = element("div", "squares")
    if (page.n === 0) grid.append(element("p", "muted squares-empty", `No instance is in ${SIDE_NAMES[page.side]}.`))
    grid.append(...page.shown.map(square))
    part.append(line, grid)
    return part
  }

  const show_pages = () => {
    if (model.missing) return lists.replaceChildren(notice(model.missing))
    if (!model.pages.length) return lists.replaceChildren(notice({title: "No subset is chosen", text: "Write a query above, as A."}))
    lists.replaceChildren(...model.pages.map(list))
    lists.scrollTop = 0
    show_pictures()
    show_marked()
    show_opened()
  }
  const show_order = () => {
    const by = model.order.replace(/^-/, "")
    const known = model.orders.some(([key]) => key === by)
    const options = model.orders.map(([key, words]) => element("option", "", words, {value: key}))
    if (!known) options.unshift(element("option", "", "as stored", {value: by}))
    sort.replaceChildren(...options)
    sort.value = by
    const is_up = model.order.startsWith("-")
    turned.textContent = is_up ? "↑" : "↓"
    turned.title = is_up ? "Smallest first; turn round" : "Largest first; turn round"
    turned.setAttribute("aria-label", turned.title)
  }
  const show_marked = () => {
    const marked = new Set(model.marked)
    for (const cell of lists.querySelectorAll(".square")) {
      const is_marked = marked.has(Number(cell.dataset.instance))
      cell.classList.toggle("marked", is_marked)
      cell.querySelector(".square-mark").setAttribute("aria-pressed", String(is_marked))
    }
    panel.classList.toggle("marking", marked.size > 0)
    if (!marked.size) return chosen.replaceChildren(element("span", "muted note", model.without_pictures ? `No pictures: ${model.without_pictures}` : "Click opens, ✓ marks"))
    const use = ["a", "b"].map((side) => {
      const button = element("button", `side-button side-${side}`, SIDE_NAMES[side], {type: "button", "aria-label": `Marked instances as ${SIDE_NAMES[side]}`})
      button.addEventListener("click", () => send({type: "use_marked", side}))
      return button
    })
    const none = element("button", "quiet", "Unmark", {type: "button"})
    none.addEventListener("click", () => send({type: "unmark"}))
    chosen.replaceChildren(element("span", "", `${marked.size.toLocaleString("en")} marked: look at them as`), ...use, none)
  }
  const pinned = () => (model.lit.length ? model.lit : null)
  const show_opened = () => {
    opened.show(model.opened, model.inside, pinned())
    panel.classList.toggle("has-opened", Boolean(model.opened))
    for (const cell of lists.querySelectorAll(".square")) {
      const is_open = Number(cell.dataset.instance) === model.opened?.n
      cell.classList.toggle("open", is_open)
      cell.querySelector(".square-main").setAttribute("aria-expanded", String(is_open))
    }
  }
  // Pictures are asked for once it is known that there are some.
  const show_pictures = () => {
    opened.setPictures(model.without_pictures)
    if (model.without_pictures !== "") return
    for (const cell of lists.querySelectorAll(".square")) {
      const face = cell.querySelector(".square-face")
      if (face.querySelector("img")) continue
      const image = element("img", "", null, {loading: "lazy", decoding: "async", alt: "", draggable: "false", src: `${model.pictures}/instances/${cell.dataset.instance}`})
      image.addEventListener("load", () => face.replaceChildren(image))
      image.addEventListener("error", () => image.remove())
      face.append(image)
    }
  }
  const show_loading = () => panel.classList.toggle("loading", model.is_loading)
  panel.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && model.opened) {
      send({type: "open", number: model.opened.n})
      lists.querySelector(".square.open .square-main")?.focus()
      return
    }
    const step = {ArrowRight: 1, ArrowLeft: -1}[event.key]
    const here = event.composedPath()[0].closest?.(".square")
    if (!step || !here) return
    const all = [...lists.querySelectorAll(".square-main")]
    all[all.indexOf(here.querySelector(".square-main")) + step]?.focus()
    event.preventDefault()
  })
  model.on(["pages", "missing"], show_pages)
  model.on(["order", "orders"], show_order)
  model.on("marked", show_marked)
  model.on("opened", show_opened)
  model.on("inside", () => opened.showInside(model.inside, pinned()))
  model.on("lit", () => opened.pin(pinned()))
  model.on("msg:custom", ({shaded}) => shaded && opened.shade(shaded))
  model.on("without_pictures", () => { show_pictures(); show_opened(); show_marked() })
  model.on("is_loading", show_loading)
  show_pages()
  show_order()
  show_loading()
  return panel
}
