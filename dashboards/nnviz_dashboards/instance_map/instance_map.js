const MANY_CLASSES = 30
const COLORS = [["sides", "A and B"], ["outcome", "Right or wrong"], ["class", "Class"], ["target", "Target"]]
const N_SHADES = 24

const NO_TARGET = 255

// From the colour of the smallest target to that of the largest.
function targetColors(of) {
  return Array.from({length: N_SHADES}, (_, i) => `color-mix(in oklab, ${of("accent")} ${Math.round((100 * i) / (N_SHADES - 1))}%, ${of("glyph")})`)
}

export function render({model}) {
  const send = (message) => model.send_msg(message)
  const panel = element("section", "panel instance-map", null, {"aria-label": "Map of the instances"})
  const head = element("header", "head instance-map-head")
  const title = element("h2", "title"), note = element("span", "muted note")
  const colors = element("div", "segments", null, {role: "group", "aria-label": "Colour by"})
  colors.append(...COLORS.map(([key, label]) => {
    const button = element("button", "segment", label, {type: "button", "data-key": key})
    button.addEventListener("click", () => send({type: "color", by: key}))
    return button
  }))
  head.append(title, note, colors)
  const body = element("div", "body instance-map-body")
  const canvas = element("canvas", "instance-points", null, {
    tabindex: "0", role: "application", "aria-roledescription": "map", "aria-describedby": "instance-map-said",
    "aria-label": "Map of the instances. Drag around points to choose them, drag with Shift to move, plus and minus zoom, 0 shows all, Escape gives up what is chosen",
  })
  const zooms = element("div", "zooms", null, {role: "group", "aria-label": "Zoom of the map of the instances"})
  const hint = element("div", "card instance-hint")
  hint.hidden = true
  body.append(canvas, zooms, hint)
  const foot = element("footer", "instance-map-foot")
  const legend = element("div", "instance-legend"), said = element("div", "chosen-line", null, {role: "status", id: "instance-map-said"})
  foot.append(legend, said)
  const message = element("div", "body")
  panel.append(head, body, foot, message)

  let shades = null
  let points = null, numbers = [], labels = new Int16Array(), marks = new Uint8Array()
  let hovered = -1, loop = null, chosen = [], grip = null, frame = 0, timer = null
  const space = instanceSpace(canvas, () => draw())
  canvas.placeOf = (number) => space.at(numbers.indexOf(number)) // for whoever looks one up, as the tests do
  for (const [text, name, action] of [["+", "Zoom in", () => space.zoom(1.5)], ["−", "Zoom out", () => space.zoom(1 / 1.5)], ["Fit", "Show all", space.fit]]) {
    const button = element("button", "button", text, {type: "button", "aria-label": `${name}: map of the instances`, title: name})
    button.addEventListener("click", action)
    zooms.append(button)
  }

  const draw = () => {
    if (!frame) frame = requestAnimationFrame(() => { frame = 0; paint() })
  }
  const hue = (label, n) => `hsl(${Math.round((label * 360) / Math.max(1, n))} 62% ${is_dark() ? 64 : 44}%)`
  const can_color = (key) => (key === "target" ? Boolean(shades) && !model.has_classes : key === "sides" || model.has_classes)
  const color_by = () => (can_color(model.color) ? model.color : "sides")
  const is_dark = () => getComputedStyle(panel).colorScheme === "dark" || document.documentElement.dataset.theme === "dark"
  function paint() {
    const {clientWidth: wide, clientHeight: tall} = body
    if (!points || !wide || !tall) return
    const context = fitCanvas(canvas, wide, tall), css = getComputedStyle(panel)
    const of = (name) => css.getPropertyValue(`--${name}`).trim()
    const by = color_by(), n_classes = Math.max(1, points.classes.length)
    const place_of = new Map(points.classes.map((c, i) => [c, i]))
    const ramp = by === "target" ? targetColors(of) : []
    const color_of = (i) => {
      if (by === "target") return shades[i] === NO_TARGET ? of("panel") : ramp[Math.floor((shades[i] / NO_TARGET) * N_SHADES)]
      if (by === "class") return labels[i] < 0 ? of("point") : hue(place_of.get(labels[i]) ?? 0, n_classes)
      if (by === "outcome") return marks[i] & 4 ? of("target") : of("accent-light")
      const side = marks[i] & 3
      return side & 1 ? of("first") : side & 2 && points.has_b ? of("second") : of("point")
    }
    const radius = Math.max(2, Math.min(5, 1.9 * Math.sqrt(space.k)))
    const rank = (i) => (by === "sides" ? [0, 2, 1, 2][marks[i] & 3] : by === "outcome" ? marks[i] & 4 : 0)
    const order = numbers.map((_, i) => i).sort((a, b) => rank(a) - rank(b))
    for (const i of order) {
      const [x, y] = space.at(i)
      if (x < -9 || y < -9 || x > wide + 9 || y > tall + 9) continue
      const is_front = rank(i) > 0 || by === "class" || by === "target"
      context.globalAlpha = is_front ? 0.9 : 0.6
      context.fillStyle = color_of(i)
      context.beginPath()
      context.arc(x, y, by === "sides" && marks[i] & 1 ? radius + 1 : radius, 0, 7)
      context.fill()
    }
    context.globalAlpha = 1
    context.strokeStyle = of("text")
    context.lineWidth = 0.8
    context.globalAlpha = 0.6
    for (const i of chosen) {
      const [x, y] = space.at(i)
      context.beginPath()
      context.arc(x, y, radius + 1.6, 0, 7)
      context.stroke()
    }
    context.globalAlpha = 1
    const is_many = points.anchors.length > MANY_CLASSES
    context.font = `${is_many ? 400 : 600} 11px ${of("font")}`
    context.textAlign = "center"
    context.lineWidth = 3.5
    context.lineJoin = "round"
    const taken = []
    // Of many classes more are named the nearer one looks; the chosen one always.
    const most = is_many ? MANY_CLASSES * space.k : Infinity
    const first = points.classes.indexOf(model.chosen)
    const named = [...(first >= 0 ? [first] : []), ...points.anchors.keys()]
    named.forEach((i) => {
      if (taken.length >= most) return
      const [ax, ay] = points.anchors[i]
      const name = model.names[points.classes[i]], [x, y] = [space.sx(ax), space.sy(ay) - radius - 5]
      const half = context.measureText(name).width / 2 + 3
      if (taken.some(([l, t, r, b]) => x - half < r && x + half > l && y - 11 < b && y + 3 > t)) return
      taken.push([x - half, y - 11, x + half, y + 3])
      context.strokeStyle = of("panel")
      context.strokeText(name, x, y)
      context.fillStyle = points.classes[i] === model.chosen ? of("accent") : of("text")
      context.fillText(name, x, y)
    })
    if (loop) {
      context.beginPath()
      loop.forEach(([x, y], i) => (i ? context.lineTo(x, y) : context.moveTo(x, y)))
      context.closePath()
      context.fillStyle = of("accent")
      context.globalAlpha = 0.08
      context.fill()
      context.globalAlpha = 1
      context.strokeStyle = of("accent")
      context.lineWidth = 1.5
      context.setLineDash([5, 4])
      context.stroke()
      context.setLineDash([])
    }
    if (hovered >= 0) {
      const [x, y] = space.at(hovered)
      context.beginPath()
      context.arc(x, y, radius + 3, 0, 7)
      context.strokeStyle = of("accent")
      context.lineWidth = 2
      context.stroke()
    }
  }

  function point(i) {
    if (i === hovered) return
    hovered = i
    canvas.classList.toggle("over", i >= 0)
    hint.hidden = i < 0
    clearTimeout(timer)
    timer = setTimeout(() => send({type: "point", number: i < 0 ? -1 : numbers[i]}), 80)
    if (i >= 0) {
      const number = `#${numbers[i].toLocaleString("en")}`
      const name = labels[i] >= 0 ? model.names[labels[i]] : model.has_classes ? "no label" : number
      const sides = [["", "in A", "in B", "in A and B"][marks[i] & 3], marks[i] & 4 ? "predicted wrong" : ""].filter(Boolean).join(", ")
      const text = element("div", "")
      text.append(element("b", "", name), element("div", "muted", [name === number ? "" : number, sides].filter(Boolean).join(", ")))
      hint.replaceChildren(text)
      if (points.has_pictures) {
        const image = element("img", "", null, {alt: "", src: `${model.pictures}/instances/${numbers[i]}`})
        image.addEventListener("error", () => image.remove())
        hint.prepend(image)
      }
      const [x, y] = space.at(i)
      const is_right = x > body.clientWidth - 220
      hint.style.left = is_right ? "" : `${x + 12}px`
      hint.style.right = is_right ? `${body.clientWidth - x + 12}px` : ""
      hint.style.top = `${Math.max(4, Math.min(y - 20, body.clientHeight - 84))}px`
    }
    draw()
  }
  const choose = (found) => {
    chosen = found
    if (!chosen.length) {
      said.replaceChildren(element("span", "muted note", "Drag around points to choose them; click one to open it"))
      return draw()
    }
    const use = ["a", "b"].map((side) => {
      const button = element("button", `side-button side-${side}`, side.toUpperCase(), {type: "button", "aria-label": `Chosen instances as ${side.toUpperCase()}`})
      button.addEventListener("click", () => {
        send({type: "use", side, numbers: chosen.map((i) => numbers[i])})
        choose([])
      })
      return button
    })
    const none = element("button", "quiet", "Give up", {type: "button"})
    none.addEventListener("click", () => choose([]))
    said.replaceChildren(element("span", "", `${chosen.length.toLocaleString("en")} chosen: look at them as`), ...use, none)
    draw()
  }
  canvas.addEventListener("pointerdown", (event) => {
    if (event.button !== 0 || !points) return
    canvas.setPointerCapture(event.pointerId)
    grip = {x: event.offsetX, y: event.offsetY, is_move: event.shiftKey}
    loop = null
  })
  canvas.addEventListener("pointermove", (event) => {
    if (!grip) return point(space.nearest(event.offsetX, event.offsetY))
    if (grip.is_move) {
      space.move(event.offsetX - grip.x, event.offsetY - grip.y)
      Object.assign(grip, {x: event.offsetX, y: event.offsetY, was_move: true})
      return
    }
    if (!loop && Math.hypot(event.offsetX - grip.x, event.offsetY - grip.y) < 5) return
    point(-1)
    loop ??= [[grip.x, grip.y]]
    loop.push([event.offsetX, event.offsetY])
    draw()
  })
  canvas.addEventListener("pointerup", (event) => {
    if (!grip) return
    const was = grip
    grip = null
    if (loop) {
      const found = loop.length > 2 ? space.inside(loop) : []
      loop = null
      choose(found)
    } else if (!was.is_move) {
      const i = space.nearest(event.offsetX, event.offsetY)
      if (i >= 0) send({type: "open", number: numbers[i]})
      else choose([])
    }
  })
  canvas.addEventListener("pointercancel", () => { grip = loop = null; draw() })
  canvas.addEventListener("pointerleave", () => { if (!grip) point(-1) })
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault()
    space.zoom(Math.exp(-event.deltaY * (event.deltaMode === 1 ? 20 : 1) * (event.ctrlKey ? 0.01 : 0.0015)), event.offsetX, event.offsetY)
  }, {passive: false})
  canvas.addEventListener("keydown", (event) => {
    const step = {ArrowLeft: [40, 0], ArrowRight: [-40, 0], ArrowUp: [0, 40], ArrowDown: [0, -40]}[event.key]
    if (step) space.move(...step)
    else if (event.key === "+" || event.key === "=") space.zoom(1.5)
    else if (event.key === "-") space.zoom(1 / 1.5)
    else if (event.key === "0") space.fit()
    else if (event.key === "Escape") choose([])
    else return
    event.preventDefault()
  })

  const show_points = () => {
    message.replaceChildren(...(model.missing ? [notice(model.missing)] : []))
    body.hidden = foot.hidden = Boolean(model.missing)
    colors.hidden = Boolean(model.missing) || !(model.has_classes || model.points?.shades)
    message.hidden = !model.missing
    const before = numbers
    points = model.points
    title.textContent = points ? `Instances in ${points.layer}` : "Map of the instances"
    note.textContent = points ? `${points.note}; ${points.kept}` : model.is_loading ? "Laying out …" : ""
    note.title = points ? points.explanation : ""
    if (!points) return
    points.has_b = points.sides[1] !== "all others"
    numbers = Array.from(new Uint32Array(bytes(points.numbers).buffer))
    labels = new Int16Array(bytes(points.labels).buffer)
    marks = bytes(points.marks)
    shades = points.shades ? bytes(points.shades) : null
    const wanted = Float32Array.from(new Int16Array(bytes(points.places).buffer), (v) => (v / 32767) * REACH)
    choose([])
    point(-1)
    space.go(numbers, before, wanted)
    show_legend()
  }
  const show_legend = () => {
    for (const button of colors.children) {
      button.hidden = !can_color(button.dataset.key)
      button.setAttribute("aria-pressed", String(button.dataset.key === color_by()))
    }
    if (!points) return
    const keys = {
      sides: points.sides[0] === "" ? [] : [["first", points.sides[0]], ...(points.has_b ? [["second", points.sides[1]], ["point", "others"]] : [["point", points.sides[1]]])],
      outcome: [["accent-light", "predicted right"], ["target", "predicted wrong"]],
      class: [],
    }[color_by()] ?? []
    if (color_by() === "target") return show_ramp()
    legend.replaceChildren(...keys.map(([name, text]) => {
      const key = element("span", "legend-key")
      const swatch = element("span", "swatch")
      swatch.style.background = `var(--${name})`
      key.append(swatch, element("span", "name", text, {title: text}))
      return key
    }))
    draw()
  }
  const show_ramp = () => {
    const ramp = element("span", "target-ramp", null, {"aria-hidden": "true"})
    legend.replaceChildren(element("span", "", `target ${points.bounds[0]} or less`), ramp, element("span", "", `${points.bounds[1]} or more`))
    draw()
  }
  const show_loading = () => {
    panel.classList.toggle("loading", model.is_loading)
    if (!points) note.textContent = model.is_loading ? "Laying out …" : note.textContent
  }
  model.on(["points", "missing"], show_points)
  model.on("color", show_legend)
  model.on("chosen", draw)
  model.on("is_loading", show_loading)
  onTheme(draw)
  new ResizeObserver(draw).observe(body)
  show_points()
  show_legend()
  show_loading()
  return panel
}
