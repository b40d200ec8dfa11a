// Inside of the opened instance: where channels fired, once the network was asked.
const ORDERS = {
  relevant: ["Most relevant", "Sum over positions of gradient × activation: what the output would lose, to first order, if the channel were 0"],
  active: ["Most active", "Largest maximum over positions"],
  unusual: ["Stand out", "Strongest compared with all instances: standard deviations above their mean"],
}

function insideOf(send, pictures, has_pictures) {
  const rows = element("div", "inside-rows"), ask = element("div", "inside-ask")
  const caption = element("p", "inside-caption muted", null, {"aria-live": "polite"})
  const graph = ownGraph(send)
  let order = "relevant", stage = null, one = null, inside = null, pinned = null
  const heat = (layer, channel, large = "") => `${pictures()}/heat/${one.n}/${inside.output}/${layer.number}/${channel}${large}`
  const seen = new IntersectionObserver((entries) => entries.forEach(({target, isIntersecting}) => {
    if (!isIntersecting) return
    seen.unobserve(target)
    target.style.setProperty("--map", `url("${target.dataset.map}")`)
  }))
  const layers = () => inside?.found?.layers || []
  const channels_of = (layer) => order === "unusual"
    ? (one.channels.find((each) => each.layer === layer.layer)?.channels || []).map((each) => [each.channel, each.short])
    : layer[order]

  const called = (layer, channel) => layer.channels[channel] || String(channel)
  // Of patches of a picture: what stands beside them has no place there.
  const placeless = ({left_out, aside}, channel) => !left_out ? ""
    : aside.includes(channel) ? `; it is strongest at ${left_out}, which ${left_out.startsWith("the") ? "has" : "have"} no place` : `; ${left_out} left out`

  // The picture, or the text, with a channel lit on it; with none it is as it is.
  const light = (layer, channel, text = "") => {
    if (!stage) return
    const map = stage.querySelector(".heat"), tokens = inside?.found?.tokens || []
    const is_kept = Boolean(layer?.mapped.includes(channel))
    const is_lit = is_kept && !tokens.length && layer.has_places
    stage.classList.toggle("lit", is_lit)
    if (is_lit) map.style.setProperty("--map", `url("${heat(layer, channel, "/large")}")`)
    if (tokens.length && is_kept) send({type: "tokens", layer: layer.layer, channel})
    else shade([])
    caption.textContent = !layer ? "Point at a channel: the place where it fires lights up"
      : `${layer.label}, channel ${called(layer, channel)}${text ? ` (${text})` : ""}: ` + (!is_kept ? "of this channel no map is kept"
        : tokens.length ? "the brighter a token, the stronger there" : layer.has_places ? `the brighter, the stronger there${placeless(layer, channel)}` : "it has no places")
  }
  const shade = (values) => stage?.querySelectorAll(".token").forEach((token, i) => {
    token.style.setProperty("--strength", values[i] || 0)
    token.classList.toggle("strong", values[i] > 0.45)
  })
  const rest = () => {
    const layer = pinned && layers().find((each) => each.layer === pinned[0])
    layer ? light(layer, pinned[1]) : light(null)
    for (const button of rows.querySelectorAll(".opened-channel")) button.setAttribute("aria-pressed", String(Boolean(layer) && button.dataset.key === `${pinned[0]} ${pinned[1]}`))
  }

  function channelButton(layer, channel, text) {
    const title = `${layer.label}, channel ${called(layer, channel)}: ${text}`
    const button = element("button", "opened-channel", null, {type: "button", title, "data-key": `${layer.layer} ${channel}`, "aria-pressed": "false"})
    if (layer.has_places && !inside.found.tokens.length && layer.mapped.includes(channel)) {
      const face = element("span", "heat-face")
      if (has_pictures()) face.style.setProperty("--picture", `url("${pictures()}/instances/${one.n}")`)
      const map = element("i", "heat", null, {"data-map": heat(layer, channel)})
      seen.observe(map)
      face.append(map)
      button.append(face)
    }
    button.append(element("b", "", called(layer, channel)), element("span", "muted", text))
    button.addEventListener("pointerenter", () => light(layer, channel, text))
    button.addEventListener("focus", () => light(layer, channel, text))
    button.addEventListener("pointerleave", rest)
    button.addEventListener("blur", rest)
    button.addEventListener("click", () => send({type: "look_at", layer: layer.layer, channel}))
    return button
  }
  const show_rows = () => {
    seen.disconnect()
    if (!inside?.found) return rows.replaceChildren()
    const tabs = element("div", "inside-orders", null, {role: "group", "aria-label": "Which channels are listed"})
    tabs.append(...Object.entries(ORDERS).map(([name, [label, title]]) => {
      const button = element("button", "quiet", label, {type: "button", title, "aria-pressed": String(name === order)})
      button.addEventListener("click", () => { order = name; show_rows(); rest(); rows.querySelector("[aria-pressed=true]")?.focus() })
      return button
    }))
    rows.replaceChildren(tabs, ...layers().map((layer) => {
      const line = element("div", "opened-layer"), list = element("div", "opened-channels")
      list.append(...channels_of(layer).map(([channel, text]) => channelButton(layer, channel, text)))
      if (!list.children.length) list.append(element("span", "muted", "none above 0"))
      line.append(element("span", "opened-label muted name", layer.label, {title: layer.layer}), list)
      return line
    }))
  }
  const show_ask = () => {
    const had_focus = ask.contains(ask.getRootNode().activeElement)
    fill_ask()
    // What was clicked is gone: the focus goes to what stands there now.
    if (had_focus) (ask.querySelector("button, [tabindex]") || rows.querySelector("button"))?.focus({preventScroll: true})
  }
  const fill_ask = () => {
    ask.replaceChildren()
    if (!inside || !inside.outputs.length) return
    if (inside.outputs.length > 1) {
      const choice = element("div", "inside-orders", null, {role: "group", "aria-label": "Which class is explained"})
      choice.append(element("span", "muted", "Why"), ...inside.outputs.map(([output, name]) => {
        const button = element("button", "quiet", `${name}?`, {type: "button", "aria-pressed": String(output === inside.output)})
        button.addEventListener("click", () => send({type: "explain_output", output}))
        return button
      }))
      ask.append(choice)
    }
    const {found, can_run, is_running, problem, command} = inside
    if (found) return [...found.problems, ...(found.why ? [`There is no graph: ${found.why}`] : [])].forEach((text) => ask.append(element("p", "muted note", text)))
    if (is_running) return ask.append(element("p", "opened-said inside-running", "The network runs on this instance …", {role: "status", tabindex: "-1"}))
    if (problem) ask.append(element("p", "opened-said", `The network could not be asked: ${problem}`, {role: "alert"}))
    ask.append(notice({title: "Where does each channel fire?", command: can_run ? "" : command,
      text: `The network is run once on this instance: ${can_run ? "it takes some seconds" : "this command does it"}. The answer is stored, and shown here, with the instance's own graph.`}))
    if (can_run) {
      const begin = element("button", "button check-now", "Run the network", {type: "button"})
      begin.addEventListener("click", () => send({type: "explain"}))
      ask.append(begin)
    }
  }

  // A text as its tokens, to be shaded; characters that no token has stay as they are.
  const tokens_of = (text, tokens) => {
    const line = element("p", "token-text")
    let at = 0
    for (const [word, start, stop] of tokens) {
      if (start > at) line.append(text.slice(at, start))
      line.append(element("span", `token${start === stop ? " special" : ""}`, start === stop ? word : text.slice(start, stop), {title: word}))
      at = Math.max(at, stop)
    }
    line.append(text.slice(at))
    return line
  }

  return {
    caption, rows, ask, graph: graph.box, shade,
    // Show what is known of an instance; its picture stands in a stage of its own.
    show(opened, value, lit, place) {
      one = opened
      inside = value
      stage = place
      pinned = lit
      caption.hidden = !value?.found || !(value.found.tokens.length || value.found.layers.some((layer) => layer.has_places))
      show_rows()
      show_ask()
      graph.show(value?.found?.graph, value?.found?.of)
      if (value?.found) {
        const {crop, tokens} = value.found
        if (tokens.length && place) place.replaceChildren(tokens_of(value.found.text, tokens))
        const frame = place?.querySelector(".crop")
        if (frame && crop) {
          const is_part = crop[0] > 0.01 || crop[1] > 0.01 || crop[2] < 0.99 || crop[3] < 0.99
          frame.hidden = !is_part
          Object.assign(frame.style, {left: `${100 * crop[0]}%`, top: `${100 * crop[1]}%`, width: `${100 * (crop[2] - crop[0])}%`, height: `${100 * (crop[3] - crop[1])}%`})
        }
        rest()
      }
    },
    pin(lit) {
      pinned = lit
      if (inside?.found) rest()
    },
  }
}
