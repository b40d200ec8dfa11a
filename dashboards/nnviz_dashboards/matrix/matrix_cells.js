const ROW_HEIGHT = 20
const WIDTHS = [1, 2, 3, 4, 6, 8, 10, 13, 16, 20, 24, 32, 44, 60]
const WIDEST = WIDTHS.at(-1)

// Shaded cells by their tile; what is not there yet is asked for once.
function tileCache(ask) {
  let tiles = new Map(), version = -1, [tall, wide] = [32, 256]
  const key = (row, column) => `${Math.floor(row / tall)} ${Math.floor(column / wide)}`
  return {
    reset(next, size) {
      version = next
      ;[tall, wide] = size
      tiles = new Map()
    },
    take(tile) {
      tiles.set(key(tile.row, tile.column), {...tile, shades: bytes(tile.data)})
    },
    // The shade of a cell, or null while it is on its way.
    shade(row, column) {
      const name = key(row, column)
      const tile = tiles.get(name)
      if (tile === undefined) {
        tiles.set(name, null)
        ask(Math.floor(row / tall) * tall, Math.floor(column / wide) * wide, version)
      }
      return tile ? tile.shades[(row - tile.row) * tile.n_columns + column - tile.column] : null
    },
    get version() { return version },
  }
}

// Colours of the 255 shades, from those of the page.
function palette(host) {
  const probe = document.createElement("canvas").getContext("2d", {willReadFrequently: true})
  const rgb = (color) => {
    probe.clearRect(0, 0, 1, 1)
    probe.fillStyle = color
    probe.fillRect(0, 0, 1, 1)
    return [...probe.getImageData(0, 0, 1, 1).data.slice(0, 3)]
  }
  let made = null, known = ""
  return () => {
    const css = getComputedStyle(host)
    const names = ["track", "accent", "panel", "text", "muted", "first", "second", "accent-light", "line", "hover"]
    const colors = Object.fromEntries(names.map((name) => [name, css.getPropertyValue(`--${name}`).trim()]))
    const now = JSON.stringify(colors)
    if (now !== known) {
      known = now
      const [low, high] = [rgb(colors.track), rgb(colors.accent)]
      const shades = Array.from({length: 255}, (_, k) => low.map((v, i) => Math.round(v + (high[i] - v) * k / 254)))
      made = {...colors, shades, texts: shades.map((c) => `rgb(${c.join(" ")})`)}
    }
    return made
  }
}

// Cells as rounded squares where they are wide enough to be told apart, else as an image.
function drawCells(context, colors, {rows, columns, left, top, width, height, shadeOf}) {
  if (width >= 6) {
    const gap = width >= 10 ? 2 : 1
    const radius = width >= 10 ? 3 : 1
    for (let r = rows[0]; r < rows[1]; r++) {
      for (let c = columns[0]; c < columns[1]; c++) {
        const shade = shadeOf(r, c)
        if (shade === null || shade === 255) continue
        context.fillStyle = colors.texts[shade]
        context.beginPath()
        context.roundRect(c * width - left + gap / 2, r * height - top + 1.5, width - gap, height - 3, radius)
        context.fill()
      }
    }
    return
  }
  const [n, m] = [rows[1] - rows[0], columns[1] - columns[0]]
  if (n <= 0 || m <= 0) return
  const image = new ImageData(m, n)
  for (let r = 0; r < n; r++) {
    for (let c = 0; c < m; c++) {
      const shade = shadeOf(rows[0] + r, columns[0] + c)
      if (shade === null || shade === 255) continue
      image.data.set([...colors.shades[shade], 255], 4 * (r * m + c))
    }
  }
  const small = element("canvas", "", null, {width: m, height: n})
  small.getContext("2d").putImageData(image, 0, 0)
  context.imageSmoothingEnabled = false
  context.drawImage(small, columns[0] * width - left, rows[0] * height - top, m * width, n * height)
}

// Above the columns: how A and B differ, what is dead, which channel is looked at.
function drawStrip(context, colors, {columns, left, width, bars, marks, called, chosen, pointed, bar_height}) {
  const middle = bar_height / 2
  context.font = "10px sans-serif"
  context.textAlign = "center"
  for (let c = columns[0]; c < columns[1]; c++) {
    const x = c * width - left
    const bar = bars[c], is_dead = marks[c] & 1, is_sure = marks[c] & 2
    if (bar) {
      const size = Math.max(1, Math.abs(bar) / 127 * (middle - 1))
      context.globalAlpha = is_sure ? 1 : 0.45
      context.fillStyle = bar > 0 ? colors.first : colors.second
      context.fillRect(x + 0.5, bar > 0 ? middle - size : middle, Math.max(1, width - (width >= 6 ? 2 : 0)), size)
      context.globalAlpha = 1
    }
    if (is_dead && width >= 4) {
      context.strokeStyle = colors.muted
      context.lineWidth = 1
      const [cx, d] = [x + width / 2 - 0.5, Math.min(3, width / 3)]
      context.beginPath()
      context.moveTo(cx - d, middle - d); context.lineTo(cx + d, middle + d)
      context.moveTo(cx + d, middle - d); context.lineTo(cx - d, middle + d)
      context.stroke()
    }
  }
  // A name that has no room is cut, unless it is the one that is looked at.
  const cut = (text) => {
    let n = text.length
    const made = () => n < text.length ? `${text.slice(0, n)}…` : text
    while (n > 1 && context.measureText(made()).width > width - 3) n--
    return made()
  }
  const label = (c, color, is_bold) => {
    if (c < columns[0] || c >= columns[1]) return
    context.font = `${is_bold ? "bold " : ""}10px sans-serif`
    const text = is_bold ? called(c) : cut(called(c))
    const half = context.measureText(text).width / 2 + 2
    const x = Math.max(half, c * width - left + width / 2)
    context.fillStyle = colors.panel
    context.fillRect(x - half, bar_height, 2 * half, 12)
    context.fillStyle = color
    context.fillText(text, x, bar_height + 10)
  }
  if (width >= 20) for (let c = columns[0]; c < columns[1]; c++) label(c, colors.muted, false)
  if (chosen >= 0) label(chosen, colors.accent, true)
  if (pointed >= 0) label(pointed, colors.text, true)
}
