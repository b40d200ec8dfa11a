// What is drawn with zoom and pan, as a picture of all of it.

// The box of some shapes together; what only marks a row would make it endless.
function boxOf(shapes) {
  const boxes = shapes.map((node) => node.getBBox()).filter((box) => box.width > 0)
  const x = Math.min(...boxes.map((b) => b.x)), y = Math.min(...boxes.map((b) => b.y))
  const right = Math.max(...boxes.map((b) => b.x + b.width))
  const bottom = Math.max(...boxes.map((b) => b.y + b.height))
  return {x, y, width: right - x, height: bottom - y}
}

const write = (style, target) => {
  for (const name of DRAWN) target.style.setProperty(name, style.getPropertyValue(name))
}

// What a text is drawn over ends before it: its outline as a shape below it, as not every
// program knows the order in which one shape is painted.
function haloed(text) {
  if (text.style.stroke === "none") return
  const halo = text.cloneNode(true)
  halo.style.fill = "none"
  text.before(halo)
  text.style.stroke = "none"
}

// A part of the legend that is drawn, as it stands in the page.
function drawnKey(live, x, y) {
  const copy = live.cloneNode(true)
  const nodes = [...live.querySelectorAll("*")]
  ;[...copy.querySelectorAll("*")].forEach((target, i) => write(getComputedStyle(nodes[i]), target))
  for (const [name, value] of Object.entries({x, y})) copy.setAttribute(name, value)
  return copy
}

// A file of its own: styles and pictures are written into it. `keys` are the colours of
// the legend with what they mean, `lines` say below the drawing how it was made, and
// `scale` is the drawn part of the legend that stands below them.
async function makePicture(svg, world, {parts, box = boxOf(parts), rows: labels, title, keys, lines, scale = null}) {
  const rows = [...labels]
  const left = 40 + Math.max(0, ...rows.map((row) => 8 * row.text.length))
  const copy = svg.cloneNode(false)
  const whole = world.cloneNode(true)
  const [live, written] = [world, whole].map((root) => [...root.querySelectorAll("*")])
  await Promise.all(live.map(async (node, i) => {
    const style = getComputedStyle(node), target = written[i]
    if (style.display === "none") target.dataset.drop = "yes"
    write(style, target)
    target.style.removeProperty("--half")
    if (node.classList.contains("number-text")) {
      target.style.fontSize = "11px"
      target.setAttribute("y", -node.parentNode.style.getPropertyValue("--half").replace("px", "") - 4)
    }
    if (node.tagName === "image" && node.getAttribute("href")) {
      target.setAttribute("href", await asData(node.href.baseVal))
    }
  }))
  whole.querySelectorAll("[data-drop], .hit, .gone, .band").forEach((node) => node.remove())
  whole.querySelectorAll("text").forEach(haloed)
  whole.removeAttribute("transform")
  const theme = getComputedStyle(svg), color = (name) => theme.getPropertyValue(`--${name}`)
  const text = (value, x, y, size) => {
    const node = shape("text", "", {x, y, "font-family": "sans-serif", "font-size": size, fill: color("text")})
    node.textContent = value
    return node
  }
  const below = [...keys.map(([swatch, means]) => [means, swatch]), ...lines.map((line) => [line, null])]
  const longest = Math.max(title.length * 10, ...below.map(([line]) => line.length * 7 + 24))
  const width = Math.max(box.width + left + 40, longest + 40), height = box.height + 100 + 20 * below.length + (scale ? 24 : 0)
  const edge = box.x - left + 20, foot = box.y + box.height + 34
  copy.replaceChildren(
    shape("rect", "", {x: box.x - left, y: box.y - 70, width, height, fill: color("panel")}),
    text(title, edge, box.y - 42, 18),
    ...rows.map((row) => text(row.text, edge, row.y + 5, 14)), whole,
    ...below.flatMap(([line, swatch], i) => [
      ...(swatch ? [shape("rect", "", {x: edge, y: foot + 20 * i - 10, width: 11, height: 11, rx: 3, fill: color(swatch)})] : []),
      text(line, edge + (swatch ? 18 : 0), foot + 20 * i, 13),
    ]),
    ...(scale ? [drawnKey(scale, edge, foot + 20 * below.length - 10)] : []))
  copy.setAttribute("viewBox", `${box.x - left} ${box.y - 70} ${width} ${height}`)
  copy.setAttribute("xmlns", SVG)
  copy.setAttribute("width", width)
  copy.setAttribute("height", height)
  return {text: new XMLSerializer().serializeToString(copy), width, height}
}
