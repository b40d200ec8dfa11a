// The picture and the data as files of the visitor.
function save(name, blob) {
  const link = element("a", "", null, {href: URL.createObjectURL(blob), download: name})
  document.body.append(link)
  link.click()
  link.remove()
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000)
}

function saveFiles(files) {
  for (const {name, content} of files) {
    const bytes = Uint8Array.from(atob(content), (c) => c.charCodeAt(0))
    save(name, new Blob([bytes], {type: "application/octet-stream"}))
  }
}

async function asData(address) {
  const blob = await (await fetch(address)).blob()
  return new Promise((resolve, reject) => {
    const reader = new FileReader()
    reader.onload = () => resolve(reader.result)
    reader.onerror = () => reject(reader.error)
    reader.readAsDataURL(blob)
  })
}

const DRAWN = ["fill", "stroke", "stroke-width", "opacity", "font-family", "font-size", "font-weight", "text-anchor"]

// A file of its own: styles and pictures are written into it.
async function makePicture(svg, world, labels, title) {
  const box = world.getBBox()
  const rows = [...labels]
  const left = 40 + Math.max(0, ...rows.map((row) => 8 * row.text.length))
  const copy = svg.cloneNode(false)
  const whole = world.cloneNode(true)
  const [live, written] = [world, whole].map((root) => [...root.querySelectorAll("*")])
  await Promise.all(live.map(async (node, i) => {
    const style = getComputedStyle(node), target = written[i]
    if (style.display === "none") target.dataset.drop = "yes"
    for (const name of DRAWN) target.style.setProperty(name, style.getPropertyValue(name))
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
  whole.removeAttribute("transform")
  const text = (value, x, y, size) => {
    const node = shape("text", "", {x, y, "font-family": "sans-serif", "font-size": size, fill: "#1f2430"})
    node.textContent = value
    return node
  }
  const width = box.width + left + 40, height = box.height + 90
  copy.replaceChildren(
    shape("rect", "", {x: box.x - left, y: box.y - 70, width, height, fill: "#ffffff"}),
    text(title, box.x - left + 20, box.y - 42, 18),
    ...rows.map((row) => text(row.text, box.x - left + 20, row.y + 5, 14)), whole)
  copy.setAttribute("viewBox", `${box.x - left} ${box.y - 70} ${width} ${height}`)
  copy.setAttribute("xmlns", SVG)
  copy.setAttribute("width", width)
  copy.setAttribute("height", height)
  return {text: new XMLSerializer().serializeToString(copy), width, height}
}

async function savePicture(kind, name, picture) {
  const blob = new Blob([picture.text], {type: "image/svg+xml"})
  if (kind === "svg") return save(`${name}.svg`, blob)
  const image = new Image()
  image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(picture.text)}`
  await image.decode()
  const canvas = element("canvas"), scale = Math.min(2, 8000 / Math.max(picture.width, picture.height))
  canvas.width = picture.width * scale
  canvas.height = picture.height * scale
  canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height)
  canvas.toBlob((png) => save(`${name}.png`, png), "image/png")
}
