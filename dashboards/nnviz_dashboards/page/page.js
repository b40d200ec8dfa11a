// What Panel asks to import modules; no view has an import map, and the browser can do it.
function importShim(address) {
  return import(address)
}
importShim.addImportMap = () => {};

// The address names what is chosen: each choice is a step to go back to.
(() => {
  const push = history.pushState.bind(history), replace = history.replaceState.bind(history)
  // What is typed or dragged is one step, however many values it passes on the way.
  const passing = new Set(["find", "strength", "lift", "gap", "rows"])
  const ONE_STEP_MS = 1500
  let before = {keys: "", at: -Infinity}, is_touched = false
  for (const type of ["pointerdown", "keydown", "click", "input"]) addEventListener(type, () => { is_touched = true }, {capture: true, once: true})
  const changed = (next) => {
    const [a, b] = [new URL(location.href).searchParams, next.searchParams]
    return [...new Set([...a.keys(), ...b.keys()])].filter((key) => a.get(key) !== b.get(key))
  }
  // How many steps lie behind, and ahead; of a page that was loaded again those ahead are not known.
  const step = () => history.state?.step ?? 0
  let last = step()
  const tell = () => dispatchEvent(new CustomEvent("nnviz-step", {detail: {behind: step(), ahead: last - step()}}))
  history.pushState = (state, title, url) => {
    const next = new URL(url, location.href)
    if (next.href === location.href) return
    const keys = changed(next), is_passing = keys.every((key) => passing.has(key))
    const now = {keys: is_passing ? keys.join() : "", at: performance.now()}
    const goes_on = is_passing && now.keys === before.keys && now.at - before.at < ONE_STEP_MS
    // What the page says by itself, as the layer it opens with, nobody has chosen.
    const is_first = !is_touched || document.documentElement.dataset.ready !== "yes"
    before = now
    if (is_first || goes_on) return replace({...state, step: step()}, title, url)
    push({...state, step: step() + 1}, title, url)
    last = step()
    tell()
  }
  addEventListener("popstate", () => {
    before = {keys: "", at: -Infinity}
    last = Math.max(last, step())
    tell()
    for (const model of locations()) model.search = location.search
  })
  const locations = () => Bokeh.documents.flatMap((d) => d.roots()).filter(({type}) => type === "panel.models.location.Location")
  addEventListener("nnviz-ready", () => {
    // The server, which has made the address, need not be told it after each click.
    for (const model of locations()) model.properties.href.internal = true
    tell()
  })
  const wait = setInterval(() => {
    if (window.Bokeh?.documents?.[0]?.is_idle) {
      clearInterval(wait)
      document.documentElement.dataset.ready = "yes"
      dispatchEvent(new Event("nnviz-ready"))
    }
  }, 50)
})()

// Undo and redo walk through these steps, and never out of the page.
addEventListener("DOMContentLoaded", () => {
  const undo = document.querySelector(".undo"), redo = document.querySelector(".redo")
  const is_typed = (target) => target.matches?.("textarea, [contenteditable], input:not([type=range], [type=checkbox], [type=radio])")
  undo.addEventListener("click", () => history.back())
  redo.addEventListener("click", () => history.forward())
  addEventListener("nnviz-step", ({detail}) => {
    undo.disabled = detail.behind < 1
    redo.disabled = detail.ahead < 1
  })
  document.addEventListener("keydown", (event) => {
    if (!(event.ctrlKey || event.metaKey) || event.altKey || is_typed(event.composedPath()[0])) return
    const key = event.key.toLowerCase()
    const button = key === "y" || (key === "z" && event.shiftKey) ? redo : key === "z" ? undo : null
    if (!button) return
    event.preventDefault()
    button.click() // one that is disabled does nothing
  })
})
