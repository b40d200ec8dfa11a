const ROW = 26
const MOST_PICTURED = 250 // rows of a picture, as many as SUMMIT lists
const CONFIDENCE = "Histogram of the confidence of the class's predictions, from 0 on the left to 1 on the right, in 20 bins; a row is as high as its fullest bin"
const percent = (x) => (x === null ? "–" : `${(100 * x).toFixed(1)} %`)

// What a histogram of confidences shows, for whoever does not see it.
function inWords(bins) {
  const half = bins.reduce((sum, n) => sum + n, 0) / 2
  let least = bins.length, sum = 0
  while (least > 0 && sum < half) sum += bins[--least]
  return half ? `half of the predictions have a confidence of ${(least / bins.length).toFixed(2)} or more` : "no confidence is known"
}

// One axis for the histograms of all rows.
function confidenceHead() {
  const head = element("span", "confidence-head", null, {title: CONFIDENCE})
  const axis = element("span", "confidence-axis", null, {"aria-hidden": "true"})
  axis.append(element("span", "", "0"), element("span", "", "1"))
  head.append(element("span", "", "Confidence"), element("span", "unseen", ", 0 to 1"), axis)
  return head
}

function histogram(bins) {
  const most = Math.max(1, ...bins)
  const svg = shape("svg", "histogram", {
    viewBox: `0 0 ${bins.length} 10`, preserveAspectRatio: "none", role: "img", "aria-label": inWords(bins),
  })
  const bars = bins.map((n, i) => {
    const height = n === 0 ? 0 : Math.max(0.7, 10 * n / most)
    return n === 0 ? "" : `M${i + 0.1} 10v${-height}h0.8v${height}z`
  })
  svg.append(shape("path", "", {d: bars.join("")}))
  return svg
}

export function render({model}) {
  const table = model.table
  const panel = element("section", "panel", null, {"aria-label": "Classes"})
  const head = element("header", "head class-head")
  const found = element("span", "muted note", "", {role: "status"})
  const search = element("input", "search", null, {
    type: "search", placeholder: "Find", "aria-label": "Search classes",
    spellcheck: "false", autocomplete: "off",
  })
  search.value = model.search
  const alike = element("select", "select alike", null, {"aria-label": "By what classes are alike"})
  alike.append(...Object.entries(model.alike_labels).map(([value, text]) => element("option", "", text, {value})))
  alike.addEventListener("change", () => model.send_msg({type: "alike", value: alike.value}))
  const {menu} = chartMenu(model, {label: "⋯", picture: (kind) => savePanel(kind)})
  head.append(element("h2", "title", "Classes"), found, alike, search, menu)

  const columns = element("div", "columns class-grid")
  const sorters = [
    ["name", "Class", () => "name"],
    ["accuracy", "Accuracy", () => (model.sort === "accuracy" ? "errors" : "accuracy")],
    ["similarity", "Similarity", () => "similarity"],
  ].map(([key, label, next]) => {
    const button = element("button", "sorter", null, {type: "button", "data-sort": key})
    const arrow = element("span", "arrow", "")
    button.append(element("span", "", label), arrow)
    button.addEventListener("click", () => model.send_msg({type: "sort", key: next()}))
    return {key, button, arrow}
  })
  columns.append(...sorters.map((s) => s.button), confidenceHead())

  const scroller = element("div", "scroller", null, {
    role: "listbox", tabindex: "0", "aria-label": "Classes",
  })
  const space = element("div", "space")
  scroller.append(space)
  panel.append(head, columns, scroller)

  const live = new Map() // rows in the page, by class
  let cursor = -1

  const make = (subset) => {
    const row = element("div", "row class-grid", null, {
      role: "option", id: `class-${subset}`, "data-class": subset,
    })
    const name = classLabel(table.names[subset], table.marks[subset])
    const similarity = element("span", "similarity")
    row.append(name, element("span", "number", percent(table.accuracy[subset])), similarity,
               histogram(table.confidence[subset]))
    row.title = `${table.names[subset]}: ${table.n_instances[subset].toLocaleString("en")} instances`
    row.addEventListener("click", () => model.send_msg({type: "choose", subset}))
    row.addEventListener("mouseenter", () => hover(subset))
    row.similarity = similarity
    return row
  }
  const fill = (row, subset) => {
    const hundredths = model.similarity?.[subset] ?? null
    if (row.shown === hundredths) return
    row.shown = hundredths
    row.similarity.replaceChildren()
    if (hundredths !== null) {
      const value = hundredths / 100
      row.similarity.append(bar(value), element("span", "number", value.toFixed(2).replace("-", "−")))
    }
  }
  const draw = (from = null, to = null) => {
    const {order} = model
    const first = from ?? Math.max(0, Math.floor(scroller.scrollTop / ROW) - 5)
    const last = Math.min(order.length, to ?? first + Math.ceil(scroller.clientHeight / ROW) + 10)
    const places = Array.from({length: Math.max(0, last - first)}, (_, i) => first + i)
    // The chosen class stays in view, at the edge behind which it is.
    const at = from === null ? order.indexOf(model.chosen) : -1
    const lowest = scroller.scrollTop + scroller.clientHeight - ROW
    const edge = at < 0 ? 0 : Math.max(scroller.scrollTop, Math.min(at * ROW, lowest))
    if (at >= 0 && (at < first || at >= last)) places.push(at)
    const wanted = new Set(places.map((i) => order[i]))
    for (const [subset, row] of live) {
      if (!wanted.has(subset)) {
        row.remove()
        live.delete(subset)
      }
    }
    for (const i of places) {
      const subset = order[i]
      let row = live.get(subset)
      if (!row) {
        row = make(subset)
        live.set(subset, row)
        space.append(row)
      }
      fill(row, subset)
      const top = i === at ? edge : i * ROW
      row.style.transform = `translateY(${top}px)`
      row.classList.toggle("at-edge", top !== i * ROW)
      row.setAttribute("aria-selected", String(subset === model.chosen))
      row.setAttribute("aria-posinset", i + 1)
      row.setAttribute("aria-setsize", order.length)
      row.classList.toggle("cursor", i === cursor)
      row.classList.toggle("pointed", subset === pointed)
    }
    if (cursor >= 0) scroller.setAttribute("aria-activedescendant", `class-${order[cursor]}`)
  }
  // In the page only what is in view is drawn; in a picture, all rows from the first on.
  const savePanel = async (kind) => {
    const n = Math.min(model.order.length, MOST_PICTURED), cut = model.order.length - n
    draw(0, n)
    space.style.height = `${n * ROW}px`
    const more = cut ? `The first ${n} rows; ${cut.toLocaleString("en")} more are in the data.` : ""
    const picture = panelPicture(panel, [more, model.about.explanation])
    space.style.height = `${model.order.length * ROW}px`
    draw()
    await savePicture(kind, "classes", await picture)
  }
  const show_order = () => {
    const {order} = model
    const n_all = table.n_listed
    space.style.height = `${order.length * ROW}px`
    cursor = -1
    found.textContent = order.length === n_all
      ? `${n_all.toLocaleString("en")}`
      : `${order.length.toLocaleString("en")} of ${n_all.toLocaleString("en")}`
    space.classList.toggle("nothing", order.length === 0)
    const place = order.indexOf(model.chosen)
    const top = place * ROW
    const is_seen = top >= scroller.scrollTop && top + ROW <= scroller.scrollTop + scroller.clientHeight
    if (model.sort === "similarity" || model.search) scroller.scrollTop = 0
    else if (place >= 0 && !is_seen) scroller.scrollTop = top - scroller.clientHeight / 3
    draw()
  }
  const show_alike = () => {
    alike.value = model.alike
    alike.title = sorters.find((s) => s.key === "similarity").button.title = model.explanation
  }
  const show_sort = () => {
    const is_unknown = model.sort === "similarity" && !model.similarity
    const sort = is_unknown ? "name" : model.sort
    const key = sort === "errors" ? "accuracy" : sort
    for (const s of sorters) {
      const is_active = s.key === key
      const is_rising = sort === "name" || sort === "errors"
      s.arrow.textContent = is_active ? (is_rising ? " ↑" : " ↓") : ""
      s.button.setAttribute("aria-sort", is_active ? (is_rising ? "ascending" : "descending") : "none")
      s.button.disabled = s.key === "similarity" && !model.similarity
    }
  }
  const hover = (subset) => pointAtClass(subset, panel)
  let pointed = -1
  onClassPointed(panel, (subset) => {
    pointed = subset
    draw()
  })
  let search_timer = 0
  search.addEventListener("input", () => {
    clearTimeout(search_timer)
    search_timer = setTimeout(() => model.send_msg({type: "search", text: search.value}), 120)
  })
  search.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && model.order.length) {
      model.send_msg({type: "choose", subset: model.order[0]})
    }
    if (event.key === "ArrowDown") scroller.focus()
  })
  scroller.addEventListener("scroll", () => draw(), {passive: true})
  scroller.addEventListener("mouseleave", () => hover(-1))
  scroller.addEventListener("keydown", (event) => {
    const page = Math.max(1, Math.floor(scroller.clientHeight / ROW) - 1)
    const last = model.order.length - 1
    const step = {ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -Infinity, End: Infinity}[event.key]
    if (step !== undefined) {
      event.preventDefault()
      if (cursor < 0) cursor = Math.max(0, model.order.indexOf(model.chosen))
      cursor = Math.max(0, Math.min(last, cursor + step))
      const at = model.order.indexOf(model.chosen), is_past = at >= 0 && at < cursor
      const top = (is_past ? cursor - 1 : cursor) * ROW // beside the chosen class's row
      if (top < scroller.scrollTop) scroller.scrollTop = top
      const bottom = (cursor + (at > cursor ? 2 : 1)) * ROW - scroller.clientHeight
      if (bottom > scroller.scrollTop) scroller.scrollTop = bottom
      draw()
      hover(model.order[cursor])
    } else if ((event.key === "Enter" || event.key === " ") && cursor >= 0) {
      event.preventDefault()
      model.send_msg({type: "choose", subset: model.order[cursor]})
    }
  })
  new ResizeObserver(() => draw()).observe(scroller)
  model.on("order", show_order)
  model.on(["similarity", "chosen"], () => draw())
  model.on(["sort", "similarity"], show_sort)
  model.on(["alike", "explanation"], show_alike)
  model.on("search", () => {
    if (search.value !== model.search && panel.getRootNode().activeElement !== search) {
      search.value = model.search
    }
  })
  show_sort()
  show_alike()
  show_order()
  requestAnimationFrame(show_order)
  return panel
}
