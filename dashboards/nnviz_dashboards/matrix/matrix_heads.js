// Names of the rows that are in view; each sorts the columns by its row.
function rowHeads({sort, keep, remove, rename, move, point}) {
  const box = element("div", "matrix-heads", null, {role: "list", "aria-label": "Rows"})
  const space = element("div", "matrix-heads-space")
  box.append(space)
  let drawn = "", n_fixed = 0, n_kept = 0, was_drag = false
  // What a visitor keeps can be dragged, or moved with Alt and the arrow keys.
  const makeMovable = (line, button, one, index) => {
    line.classList.add("movable")
    button.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return
      const start = event.clientY
      let place = index
      was_drag = false
      const drag = (event) => {
        const by = event.clientY - start
        if (!was_drag && Math.abs(by) < 5) return
        was_drag = true
        line.classList.add("dragged")
        place = Math.max(n_fixed, Math.min(n_fixed + n_kept - 1, index + Math.round(by / ROW_HEIGHT)))
        line.style.top = `${index * ROW_HEIGHT + by}px`
      }
      const drop = () => {
        removeEventListener("pointermove", drag)
        line.classList.remove("dragged")
        line.style.top = `${index * ROW_HEIGHT}px`
        if (was_drag && place !== index) move(one.key, place - n_fixed)
        setTimeout(() => { was_drag = false })
      }
      addEventListener("pointermove", drag)
      addEventListener("pointerup", drop, {once: true})
    })
    button.addEventListener("keydown", (event) => {
      const step = {ArrowUp: -1, ArrowDown: 1}[event.key]
      if (!step || !event.altKey) return
      move(one.key, Math.max(0, index - n_fixed + step))
      event.preventDefault()
    })
  }
  const edit = (line, one) => {
    const input = element("input", "row-rename", null, {type: "text", maxlength: 80, "aria-label": `New name of ${one.name}`})
    input.value = one.name
    let is_given_up = false, is_done = false
    const done = () => {
      if (is_done) return
      is_done = true // to remove what has the focus blurs it
      const name = input.value
      input.remove()
      if (!is_given_up && name.trim() !== one.name) rename(one.key, name)
    }
    input.addEventListener("keydown", (event) => {
      if (event.key === "Escape") is_given_up = true
      if (event.key === "Enter" || event.key === "Escape") { event.stopPropagation(); done() }
    })
    input.addEventListener("blur", done)
    line.append(input)
    input.select()
    input.focus()
  }
  const head = (one, index, is_sorted) => {
    const line = element("div", `matrix-head kind-${one.kind}${is_sorted ? " sorted" : ""}`, null, {role: "listitem", "data-row": index, "data-key": one.key})
    line.style.top = `${index * ROW_HEIGHT}px`
    const button = element("button", "matrix-name", null, {
      type: "button", "aria-pressed": String(is_sorted),
      title: `${one.name}: ${one.count} ${one.count === "1" ? "instance" : "instances"}. Click: sort the columns by this row`,
    })
    button.append(element("i", "row-mark"), element("span", "name", one.name), element("span", "number muted", one.count))
    button.addEventListener("click", () => { if (!was_drag) sort(one.key) })
    line.append(button)
    line.addEventListener("mouseenter", () => point(index))
    line.addEventListener("mouseleave", () => point(-1))
    if (one.kind === "instance" || one.kind === "subset") {
      makeMovable(line, button, one, index)
      const name = element("button", "row-button", "✎", {type: "button", "aria-label": `Rename ${one.name}`, title: "Rename this row"})
      name.addEventListener("click", () => edit(line, one))
      line.append(name)
      const away = element("button", "row-button", "×", {type: "button", "aria-label": `Remove ${one.name}`, title: "Remove this row"})
      away.addEventListener("click", () => remove(one.key))
      line.append(away)
    } else if (one.kind === "a" || (one.kind === "b" && one.name !== "all others")) {
      const pin = element("button", "row-button", "+", {type: "button", "aria-label": `Keep ${one.name} as a row`, title: "Keep as a row of its own"})
      pin.addEventListener("click", () => keep(one.key))
      line.append(pin)
    }
    return line
  }
  return {
    box,
    // Draws the rows from first to last, if they are others than before.
    show({rowOf, n_rows, first, last, top, sorted_by, version}) {
      box.scrollTop = top
      const now = `${version} ${first} ${last} ${sorted_by}`
      if (now === drawn) return
      drawn = now
      n_fixed = n_kept = 0
      for (let i = 0, one; i < n_rows && (one = rowOf(i)).kind !== "class"; i++) {
        if (one.kind === "a" || one.kind === "b") n_fixed++
        else n_kept++
      }
      space.style.height = `${n_rows * ROW_HEIGHT}px`
      const focused = box.getRootNode().activeElement?.closest?.(".matrix-head")?.dataset.key
      const rows = []
      for (let i = first; i < last; i++) {
        const one = rowOf(i)
        rows.push(head(one, i, one.key === sorted_by))
      }
      space.replaceChildren(...rows)
      box.scrollTop = top
      if (focused) rows.find((row) => row.dataset.key === focused)?.querySelector("button").focus({preventScroll: true})
    },
    mark(index) {
      for (const row of space.children) row.classList.toggle("pointed", Number(row.dataset.row) === index)
    },
  }
}
