// Draws points, marks, lines to what is alike, and as many names as fit between them.
const NAME_HEIGHT = 15
const FEW = 40 // names of all points are written while no more than this are in view
const TOGETHER = 5 // pixels: closer ones are told as one with the one that is pointed at
const SIZES = {chosen: 6, hovered: 5.5, near: 4}

// Right of and below `corner` are the buttons: no name is written under them.
function drawMap(canvas, map, {width, height, chosen, others, weights, shade, hovered, corner}) {
  const context = fitCanvas(canvas, width, height)
  const color = themeColors(canvas, ["panel", "text", "muted", "point", "accent", "accent-light"])
  const {row_of, x_of, y_of, has_place} = map
  const roles = [[chosen, "chosen"], ...others.filter((subset) => subset !== chosen).map((subset) => [subset, shade ? "user" : "near"])]
  const pointed = hovered >= 0 && hovered !== chosen
  const shown = (pointed ? [[hovered, "hovered"], ...roles.filter(([subset]) => subset !== hovered)] : roles)
    .map(([subset, role]) => [row_of.get(subset), role]).filter(([row]) => has_place(row))
  const disc = (row, radius, fill, alpha) => {
    context.globalAlpha = alpha
    context.fillStyle = fill
    context.beginPath()
    context.arc(x_of(row), y_of(row), radius, 0, 2 * Math.PI)
    context.fill()
  }
  // What is alike is joined, whether the plane has room to put it near or not.
  const start = row_of.get(chosen)
  if (!shade && has_place(start)) {
    context.strokeStyle = color["accent-light"]
    others.forEach((subset, i) => {
      const row = row_of.get(subset), weight = Math.max(0, weights[i] ?? 0)
      if (!has_place(row) || weight < 0.02) return
      context.globalAlpha = 0.55
      context.lineWidth = 0.4 + 4 * weight
      context.beginPath()
      context.moveTo(x_of(start), y_of(start))
      context.lineTo(x_of(row), y_of(row))
      context.stroke()
    })
  }
  const visible = []
  map.subsets.forEach((_, row) => {
    const [x, y] = [x_of(row), y_of(row)]
    if (!(x >= 0 && y >= 0 && x <= width && y <= height)) return
    visible.push(row)
    disc(row, 3, shade ? `color-mix(in srgb, ${color.accent} ${Math.round(100 * shade[row])}%, ${color.point})` : color.point, 0.8)
  })
  for (const [row, role] of [...shown].reverse()) {
    if (!(role in SIZES)) continue
    disc(row, SIZES[role] + 1.2, color.panel, 1)
    disc(row, SIZES[role], role === "near" ? color["accent-light"] : color.accent, 1)
  }
  context.globalAlpha = 1
  writeNames(context, map, {width, height, color, shown, visible, pointed, corner})
}

function writeNames(context, map, {width, height, color, shown, visible, pointed, corner}) {
  const {x_of, y_of} = map
  const known = new Set(shown.map(([row]) => row))
  const rest = visible.length <= FEW ? visible.filter((row) => !known.has(row)).map((row) => [row, "other"]) : []
  const taken = shown.map(([row]) => [x_of(row) - 5, y_of(row) - 5, x_of(row) + 5, y_of(row) + 5])
  taken.push([...corner, width, height])
  const font = getComputedStyle(context.canvas).fontFamily
  context.textBaseline = "middle"
  context.lineJoin = "round"
  context.lineWidth = 3
  for (const [row, role] of [...shown, ...rest]) {
    const is_strong = role === "chosen" || role === "hovered"
    const px = x_of(row), py = y_of(row), gap = is_strong ? 10 : 8
    if (px < 0 || py < 0 || px > width || py > height) continue
    context.font = `${is_strong ? "bold " : ""}11px ${font}`
    let text = map.names[row].length > 30 ? `${map.names[row].slice(0, 29)}…` : map.names[row]
    if (role === "hovered" && pointed) {
      const n = visible.filter((other) => other !== row && Math.hypot(x_of(other) - px, y_of(other) - py) < TOGETHER).length
      if (n) text += ` and ${n} more`
    }
    const w = context.measureText(text).width + 4
    let box = null, at = null
    for (const [align, dx, dy] of [["left", gap, 0], ["right", -gap, 0], ["center", 0, -gap - 5], ["center", 0, gap + 5]]) {
      const left = align === "left" ? px + dx : align === "right" ? px + dx - w : px - w / 2
      const candidate = [left, py + dy - NAME_HEIGHT / 2, left + w, py + dy + NAME_HEIGHT / 2]
      const is_inside = left >= 0 && left + w <= width && candidate[1] >= 0 && candidate[3] <= height
      const is_free = !taken.some((b) => b[0] < candidate[2] && candidate[0] < b[2] && b[1] < candidate[3] && candidate[1] < b[3])
      if (!is_inside || !(is_free || (is_strong && !box))) continue
      box = candidate
      at = [align, px + dx, py + dy]
      if (is_free) break
    }
    if (!box) continue
    taken.push(box)
    context.textAlign = at[0]
    context.strokeStyle = color.panel
    context.strokeText(text, at[1], at[2])
    context.fillStyle = role === "other" ? color.muted : color.text
    context.fillText(text, at[1], at[2])
  }
}
