// How alike every two classes are: a square of cells, those that are alike beside each other.
const LEAST_NAMED = 11 // pixels of a row that has room for its name
const NAMES_WIDE = 0.34 // of the width, at most
const NO_VALUE = -128

function classPairs(host, {name_of, choose, compare, point, said}) {
  const canvas = element("canvas", "map pairs", null, {
    tabindex: "0", role: "application", "aria-roledescription": "matrix", "aria-describedby": "map-cursor",
    "aria-label": "Similarity of the classes. Arrow keys walk, Enter compares two classes as A and B, on the diagonal it chooses one",
  })
  let classes = [], values = new Int8Array(), is_signed = false, chosen = -1, other = -1
  let cursor = null, pointed = -1, place = {x: 0, y: 0, cell: 0}

  const value = (i, j) => values[i * classes.length + j]
  const text = (v) => (v === NO_VALUE ? "unknown" : (v / 100).toFixed(2).replace("-", "−"))
  const words = (i, j) => (i === j ? `${name_of(classes[i])}` : `${name_of(classes[i])} and ${name_of(classes[j])}: ${text(value(i, j))}`)

  const draw = (width, height) => {
    const context = fitCanvas(canvas, width, height), n = classes.length
    if (!n) return
    const color = themeColors(canvas, ["text", "muted", "accent", "target", "track", "line", "first", "second", "panel"])
    context.font = `11px ${getComputedStyle(canvas).fontFamily}`
    const legend = 22, pad = 8
    const tall = height - legend - 2 * pad
    const widest = Math.max(...classes.map((c) => context.measureText(name_of(c)).width)) + 8
    const is_named = tall / n >= LEAST_NAMED
    const left = is_named ? Math.min(widest, NAMES_WIDE * width) : 0
    const cell = Math.max(1, Math.min(tall, width - left - 2 * pad) / n)
    place = {x: Math.max(pad + left, (width - cell * n + left) / 2), y: pad, cell}
    const gap = cell > 6 ? 1 : 0
    classes.forEach((_, i) => classes.forEach((_, j) => {
      const v = value(i, j), share = Math.min(1, Math.abs(v) / 100)
      context.fillStyle = v === NO_VALUE ? color.panel : color.track
      context.fillRect(place.x + j * cell, place.y + i * cell, cell - gap, cell - gap)
      if (v === NO_VALUE) return
      context.globalAlpha = share
      context.fillStyle = v < 0 ? color.target : color.accent
      context.fillRect(place.x + j * cell, place.y + i * cell, cell - gap, cell - gap)
      context.globalAlpha = 1
    }))
    const [at, versus] = [classes.indexOf(chosen), classes.indexOf(other)]
    const frame = (x, y, w, h, stroke, line) => {
      context.strokeStyle = stroke
      context.lineWidth = line
      context.strokeRect(place.x + x * cell - gap, place.y + y * cell - gap, w * cell + gap, h * cell + gap)
    }
    if (at >= 0) frame(0, at, n, 1, color.first, 1.5)
    if (at >= 0 && versus >= 0) frame(versus, at, 1, 1, color.second, 2.5)
    if (pointed >= 0 && !cursor) frame(0, classes.indexOf(pointed), n, 1, color.muted, 1)
    if (cursor) frame(cursor[1], cursor[0], 1, 1, color.text, 2)
    context.textBaseline = "middle"
    if (is_named) {
      context.textAlign = "right"
      classes.forEach((c, i) => {
        context.fillStyle = i === at || i === cursor?.[0] ? color.text : color.muted
        context.fillText(shortened(context, name_of(c), left - 6), place.x - 5, place.y + (i + 0.5) * cell)
      })
    }
    write_legend(context, color, height - legend / 2, width)
  }
  const shortened = (context, name, room) => {
    if (context.measureText(name).width <= room) return name
    let n = name.length
    while (n > 1 && context.measureText(`${name.slice(0, n)}…`).width > room) n--
    return `${name.slice(0, n)}…`
  }
  const write_legend = (context, color, y, width) => {
    const ends = is_signed ? ["−1", "1"] : ["0", "1"], long = 64
    context.textAlign = "left"
    context.fillStyle = color.muted
    context.fillText(ends[0], 10, y)
    for (let i = 0; i < long; i++) {
      const v = is_signed ? (2 * i) / (long - 1) - 1 : i / (long - 1)
      context.fillStyle = color.track
      context.fillRect(30 + i, y - 5, 1, 10)
      context.globalAlpha = Math.abs(v)
      context.fillStyle = v < 0 ? color.target : color.accent
      context.fillRect(30 + i, y - 5, 1, 10)
      context.globalAlpha = 1
    }
    context.fillStyle = color.muted
    context.fillText(ends[1], 34 + long, y)
    if (!cursor) return
    context.fillStyle = color.text
    context.fillText(shortened(context, words(...cursor), width - long - 154), 52 + long, y)
  }
  const at = (x, y) => {
    const [j, i] = [Math.floor((x - place.x) / place.cell), Math.floor((y - place.y) / place.cell)]
    return i >= 0 && j >= 0 && i < classes.length && j < classes.length ? [i, j] : null
  }
  const go = (next, is_told = false) => {
    if (String(next) === String(cursor)) return
    cursor = next
    canvas.classList.toggle("over", Boolean(next))
    point(next ? classes[next[0]] : -1)
    if (is_told) said(next ? words(...next) : "")
    host()
  }
  const take = () => {
    if (!cursor) return
    const [i, j] = cursor
    if (i === j) choose(classes[i])
    else compare(classes[i], classes[j])
  }
  canvas.addEventListener("pointermove", (event) => go(at(event.offsetX, event.offsetY)))
  canvas.addEventListener("pointerleave", () => go(null))
  canvas.addEventListener("click", (event) => {
    go(at(event.offsetX, event.offsetY)) // new numbers may have come since the pointer moved
    take()
  })
  canvas.addEventListener("blur", () => go(null))
  canvas.addEventListener("keydown", (event) => {
    const step = {ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0]}[event.key]
    const last = classes.length - 1, start = Math.max(0, classes.indexOf(chosen))
    if (step) {
      const [i, j] = cursor ?? [start, start]
      const clamp = (v) => Math.max(0, Math.min(last, v))
      go(cursor ? [clamp(i + step[0]), clamp(j + step[1])] : [i, j], true)
    } else if (event.key === "Enter" || event.key === " ") take()
    else if (event.key === "Escape") go(null, true)
    else return
    event.preventDefault()
  })
  // For whoever looks a pair up, as the tests do: the middle of its cell.
  canvas.placeOfPair = (first, second) => {
    const [i, j] = [classes.indexOf(first), classes.indexOf(second)]
    if (i < 0 || j < 0 || !place.cell) return null // not there, or not drawn yet
    return [place.x + (j + 0.5) * place.cell, place.y + (i + 0.5) * place.cell]
  }
  return {
    canvas, draw,
    show: (pairs) => {
      classes = pairs?.classes ?? []
      values = new Int8Array(pairs ? bytes(pairs.similarity).buffer : 0)
      is_signed = Boolean(pairs?.is_signed)
      cursor = null
    },
    focus: (a, b) => { [chosen, other] = [a, b] },
    point: (subset) => { pointed = subset },
  }
}
