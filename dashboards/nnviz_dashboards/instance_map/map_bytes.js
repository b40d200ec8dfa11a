// What the server sends of a part of the plane: bytes, compressed.
async function inflated(text) {
  const stream = new Blob([bytes(text)]).stream().pipeThrough(new DecompressionStream("deflate"))
  return new Response(stream).arrayBuffer()
}

// Steps between numbers, places, classes, colours and marks, one after the other.
async function readPoints({points, n}) {
  const buffer = await inflated(points)
  const numbers = Array.from(new Uint32Array(buffer, 0, n))
  for (let i = 1; i < n; i++) numbers[i] += numbers[i - 1]
  return {
    numbers, places: new Float32Array(buffer, 4 * n, 2 * n), labels: new Int16Array(buffer, 12 * n, n),
    codes: new Uint8Array(buffer, 14 * n, n), marks: new Uint8Array(buffer, 15 * n, n),
  }
}

// A picture with a pixel for each cell; `colors` has the colour of each code.
async function readCells({cells, shape: [rows, columns]}, colors) {
  const values = new Uint8Array(await inflated(cells)), size = rows * columns
  return () => {
    const picture = element("canvas", "", null, {width: columns, height: rows})
    const context = picture.getContext("2d"), image = context.createImageData(columns, rows)
    const known = colors().map((color) => asHex(color).color.match(/\d+/g).map(Number))
    for (let row = 0; row < rows; row++) {
      for (let column = 0; column < columns; column++) {
        const level = values[row * columns + column]
        if (!level) continue
        const to = 4 * ((rows - 1 - row) * columns + column), code = values[size + row * columns + column]
        const [r, g, b] = known[Math.min(code, known.length - 1)]
        image.data.set([r, g, b, 70 + Math.round((185 * level) / 255)], to)
      }
    }
    context.putImageData(image, 0, 0)
    return picture
  }
}
