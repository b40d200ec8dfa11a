// All that changes what is drawn. Every change is a message; nothing is kept here.
const STRENGTHS = [0, 0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1]
const LIFTS = [0, 0.5, 1, 1.25, 1.5, 2, 3, 4, 5, 7.5, 10, 20, 50, 100]
const WAIT_MS = 150

function nearest(values, wanted) {
  return values.reduce((best, v, i) => (Math.abs(v - wanted) < Math.abs(values[best] - wanted) ? i : best), 0)
}

function makeSelect(label, name, changed) {
  const box = element("label", "field")
  const select = element("select", "select", null, {"data-select": name, "aria-label": label})
  box.append(element("span", "field-name", label), select)
  select.addEventListener("change", () => changed(select.value))
  let listed = ""
  const show = (options, value) => {
    const now = JSON.stringify(options)
    if (now !== listed) {
      select.replaceChildren(...options.map(([key, text]) => element("option", "", text, {value: key})))
      listed = now
    }
    select.value = value
    select.title = select.selectedOptions[0]?.textContent ?? ""
  }
  return {box, select, show}
}

// Of many options one is written, with completion: nobody scrolls through a thousand.
const MANY_OPTIONS = 30

function makeChoice(label, name, none, changed) {
  const select = makeSelect(label, name, changed)
  const box = element("label", "field")
  const listed = element("datalist", "", null, {id: `options-of-${name}`})
  const input = element("input", "select written", null, {
    "aria-label": label, "data-write": name, list: listed.id, placeholder: none, spellcheck: "false", autocomplete: "off",
  })
  box.append(element("span", "field-name", label), input, listed)
  let keys = new Map(), now = ""
  input.addEventListener("change", () => {
    const text = input.value.trim(), key = text ? keys.get(text.toLowerCase()) : ""
    input.setCustomValidity(key === undefined ? `There is no ${text}` : "")
    if (key === undefined) input.reportValidity()
    else changed(key)
  })
  const show = (options, value) => {
    const is_many = options.length > MANY_OPTIONS
    select.box.hidden = is_many || options.length === 0
    box.hidden = !is_many
    if (!is_many) return select.show([["", none], ...options], value)
    const text = JSON.stringify(options)
    if (text !== now) {
      now = text
      keys = new Map(options.map(([key, words]) => [words.toLowerCase(), key]))
      listed.replaceChildren(...options.map(([, words]) => element("option", "", null, {value: words})))
    }
    input.setCustomValidity("")
    input.value = options.find(([key]) => key === value)?.[1] ?? value
  }
  return {boxes: [select.box, box], show}
}

function makeSlider(label, name, title, values, text, changed) {
  const box = element("label", "field slider", null, {title})
  const input = element("input", "", null, {
    type: "range", min: 0, max: values.length - 1, step: 1, "data-slider": name, "aria-label": title,
  })
  const output = element("span", "field-value")
  box.append(element("span", "field-name", label), input, output)
  let timer = 0
  input.addEventListener("input", () => {
    const value = values[input.value]
    output.textContent = text(value)
    clearTimeout(timer)
    timer = setTimeout(() => changed(value), WAIT_MS)
    box.dispatchEvent(new CustomEvent("moved", {detail: value}))
  })
  const show = (value) => {
    input.value = nearest(values, value)
    output.textContent = text(value)
    input.setAttribute("aria-valuetext", output.textContent)
  }
  return {box, input, show}
}

function makeTools(model, act) {
  const send = (name, value) => model.send_msg({type: "option", name, value})
  const bar = element("div", "tools")
  const collection = makeSelect("Of", "collection", (name) => model.send_msg({type: "collection", name}))
  const member = makeSelect("Subset", "member", (name) => model.send_msg({type: "member", name}))
  const versus = makeChoice("Compare with", "versus", "nothing", (name) => model.send_msg({type: "versus", name}))
  const strength = makeSlider("Share", "strength", "Hide channels with a smaller share of the instances", STRENGTHS,
    (v) => (v > 0 ? `≥ ${Math.round(100 * v)} %` : "all"), (v) => send("strength", v))
  const lift = makeSlider("Lift", "specificity", "Hide channels with a smaller lift", LIFTS,
    (v) => (v > 0 ? `≥ ${v} ×` : "all"), (v) => send("specificity", v))
  const options = closable(element("details", "menu"))
  options.append(element("summary", "button", "Options"))
  const panel = element("div", "menu-panel")
  options.append(panel)
  const selects = model.options.map(({name, label, values}) => {
    const field = makeSelect(label, name, (value) => send(name, value))
    panel.append(field.box)
    return [name, field, values]
  })
  const gaps = Array.from({length: 31}, (_, i) => 10 * i)
  const gap = makeSlider("Between channels", "gap", "Gap between channels", gaps, (v) => `${v}`, (v) => send("gap", v))
  const row_gap = makeSlider("Between layers", "row_gap", "Gap between layers", gaps, (v) => `${v}`, (v) => send("row_gap", v))
  const tidy = element("button", "button", "Arrange anew, with few crossings", {type: "button"})
  tidy.addEventListener("click", () => model.send_msg({type: "tidy"}))
  panel.append(gap.box, row_gap.box, tidy)
  const files = closable(element("details", "menu"))
  files.append(element("summary", "button", "Save"))
  const list = element("div", "menu-panel narrow")
  for (const [format, label] of [["png", "Picture (PNG)"], ["svg", "Drawing (SVG)"], ["json", "Data (JSON)"],
                                 ["graphml", "Data (GraphML)"], ["csv", "Data (CSV)"], ["summit", "Data (SUMMIT's JSON)"]]) {
    const button = element("button", "menu-item", label, {type: "button", "data-save": format})
    button.addEventListener("click", () => {
      files.open = false
      if (format === "png" || format === "svg") act.picture(format)
      else model.send_msg({type: "files", format})
    })
    list.append(button)
  }
  files.append(list)
  const fields = element("div", "fields"), menus_box = element("div", "fields menus")
  const hint = element("span", "muted note graph-hint")
  fields.append(collection.box, member.box, ...versus.boxes, hint, strength.box, lift.box)
  menus_box.append(options, files)
  bar.append(fields, menus_box)
  for (const [slider, moved] of [[strength, act.strength], [lift, act.specificity], [gap, act.gap], [row_gap, act.row_gap]]) {
    slider.box.addEventListener("moved", (event) => moved(event.detail))
  }
  const show = () => {
    const {chosen, names} = model, {collections = [], members = [], member: of = "", others = [], order = [], hint: said = ""} = model.choices
    hint.textContent = said
    hint.hidden = !said
    collection.box.hidden = collections.length < 2
    collection.show(collections, chosen.collection)
    member.box.hidden = members.length < 2
    member.show(members, of)
    versus.show([...others, ...order.map((place) => [names[place], names[place]])], chosen.versus)
    for (const [name, field, values] of selects) {
      field.show(values, chosen[name])
      field.select.disabled = chosen.preset === "summit" && (name === "scoring" || name === "weight")
    }
    strength.show(chosen.strength)
    lift.show(chosen.specificity)
    lift.box.hidden = Boolean(model.graph?.is_relative) // a file has no base rates
  }
  const show_gaps = (pitch) => {
    gap.show(Math.round(pitch.x - SLOT))
    row_gap.show(Math.round(pitch.y - SLOT))
  }
  return {bar, show, show_gaps}
}
