// What is drawn on a canvas, as shapes: it takes the same calls, as far as the matrix
// makes them, and becomes a drawing that any program opens.
function shapesOf(width, height) {
  const root = shape("svg", "", {xmlns: SVG, width, height, viewBox: `0 0 ${width} ${height}`})
  const measure = element("canvas").getContext("2d")
  let into = root, way = "", box = null
  const round = (value) => Math.round(value * 100) / 100
  const add = (tag, values, paint, value) => {
    const {color, opacity} = asHex(value), alpha = round(opacity * context.globalAlpha)
    const written = Object.fromEntries(Object.entries(values).map(([key, v]) => [key, typeof v === "number" ? round(v) : v]))
    const node = shape(tag, "", {...written, [paint]: color, ...(alpha < 1 ? {[`${paint}-opacity`]: alpha} : {})})
    into.append(node)
    return node
  }
  const context = {
    fillStyle: "#000", strokeStyle: "#000", lineWidth: 1, font: "12px sans-serif", textAlign: "left", globalAlpha: 1,
    fillRect(x, y, w, h) { add("rect", {x, y, width: w, height: h}, "fill", this.fillStyle) },
    strokeRect(x, y, w, h) { add("rect", {x, y, width: w, height: h, fill: "none", "stroke-width": this.lineWidth}, "stroke", this.strokeStyle) },
    beginPath() { way = ""; box = null },
    moveTo(x, y) { way += `M${round(x)} ${round(y)}` },
    lineTo(x, y) { way += `L${round(x)} ${round(y)}` },
    roundRect(x, y, w, h, rx) { box = {x, y, width: w, height: h, rx} },
    fill() { add("rect", box, "fill", this.fillStyle) },
    stroke() { add("path", {d: way, fill: "none", "stroke-width": this.lineWidth}, "stroke", this.strokeStyle) },
    measureText(text) {
      measure.font = this.font
      return measure.measureText(text)
    },
    fillText(text, x, y) {
      const values = {x, y, "font-family": "sans-serif", "font-size": parseFloat(this.font.match(/([\d.]+)px/)[1])}
      if (this.font.startsWith("bold")) values["font-weight"] = "bold"
      if (this.textAlign === "center") values["text-anchor"] = "middle"
      add("text", values, "fill", this.fillStyle).textContent = text
    },
    // Cells that are too narrow for shapes are a picture, each a pixel.
    drawImage(image, x, y, w, h) {
      into.append(shape("image", "", {x: round(x), y: round(y), width: round(w), height: round(h), preserveAspectRatio: "none", style: "image-rendering: pixelated", href: image.toDataURL()}))
    },
    // A part with its own origin, beyond whose edges nothing is drawn.
    inside(x, y, w, h, draw) {
      const outer = into
      into = shape("svg", "", {x, y, width: w, height: h})
      outer.append(into)
      draw()
      into = outer
    },
    text: () => new XMLSerializer().serializeToString(root),
  }
  return context
}
