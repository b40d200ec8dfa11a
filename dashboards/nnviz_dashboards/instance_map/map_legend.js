// What the colours of the map mean, and which they are in the theme.
const N_SHADES = 255, N_STEPS = 28
const NO_COLOR = 255
const SIDE_COLORS = ["first", "second", "shared", "point"], OUTCOME_COLORS = ["accent-light", "target"]

// The colour of every code, the last one for no value.
function codeColors(shown, of) {
  const none = of("glyph")
  if (shown.kind === "sides") {
    const is_all = shown.sides[1] === "all others"
    return [...SIDE_COLORS.map((name) => of(is_all && name === "second" ? "point" : name)), none]
  }
  if (shown.kind === "outcome") return [...OUTCOME_COLORS.map(of), none]
  if (shown.kind === "category") return [...shown.categories.map((_, i) => of(i < 10 ? `category-${i}` : "point")), none]
  const ends = [0, 1, 2].map((i) => of(`scale-${i}`))
  const shades = Array.from({length: N_SHADES}, (_, i) => {
    const t = (2 * i) / (N_SHADES - 1), at = Math.min(1, Math.floor(t))
    return `color-mix(in oklab, ${ends[at + 1]} ${(100 * (t - at)).toFixed(1)}%, ${ends[at]})`
  })
  return [...shades.map((mixed) => asHex(mixed).color), none]
}

function mapLegend(box, shown, of) {
  const colors = codeColors(shown, of), none = colors.at(-1)
  const key = (color, text) => {
    const line = element("span", "legend-key"), swatch = element("span", "swatch")
    swatch.style.background = color
    line.append(swatch, element("span", "name", text, {title: text}))
    return line
  }
  const parts = []
  if (shown.kind === "sides") {
    const [a, b] = shown.sides, is_all = b === "all others"
    if (a) parts.push(key(colors[0], a), key(colors[1], b), ...(is_all ? [] : [key(colors[3], "others")]))
  } else if (shown.low !== "–") {
    const ramp = element("span", "ramp", null, {"aria-hidden": "true"})
    for (let i = 0; i < N_STEPS; i++) {
      const step = element("span", "ramp-step")
      step.style.background = colors[Math.round((i * (N_SHADES - 1)) / (N_STEPS - 1))]
      ramp.append(step)
    }
    parts.push(element("span", "", `${shown.title}: ${shown.low} or less`), ramp, element("span", "", `${shown.high} or more`))
  } else {
    const other = (name, i) => (i === shown.categories.length - 1 && shown.n_other ? `${shown.n_other.toLocaleString("en")} others` : name || "(empty)")
    parts.push(...shown.categories.map((name, i) => key(colors[i], other(name, i))))
  }
  if (shown.n_missing) parts.push(key(none, `no value: ${shown.n_missing.toLocaleString("en")}`))
  box.replaceChildren(...parts)
}
