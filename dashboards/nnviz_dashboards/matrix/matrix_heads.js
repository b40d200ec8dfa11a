// Names of the rows that are in view; each sorts the columns by its row.
function rowHeads({sort, keep, remove, point}) {
  const box = element("div", "matrix-heads", null, {role: "list", "aria-label": "Rows"})
  const space = element("div", "matrix-heads-space")
  box.append(space)
  let drawn = ""
  const head = (one, index, is_sorted) => {
    const line = element("div", `matrix-head kind-${one.kind}${is_sorted ? " sorted" : ""}`, null, {role: "listitem", "data-row": index, "data-key": one.key})
    line.style.top = `${index * ROW_HEIGHT}px`
    const button = element("button", "matrix-name", null, {
      type: "button", "aria-pressed": String(is_sorted),
      title: `${one.name}: ${one.count} ${one.count === "1" ? "instance" : "instances"}. Click: sort the columns by this row`,
    })
    button.append(element("i", "row-mark"), element("span", "name", one.name), element("span", "number muted", one.count))
    button.addEventListener("click", () => sort(one.key))
    line.append(button)
    line.addEventListener("mouseenter", () => point(index))
    line.addEventListener("mouseleave", () => point(-1))
    if (one.kind === "instance" || one.kind === "subset") {
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
