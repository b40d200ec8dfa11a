// The address names what is chosen, and the back button walks through the choices.
(() => {
  const push = history.pushState.bind(history)
  // What is typed or dragged: the steps on the way are no choices to go back to.
  const passing = new Set(["find", "strength", "lift", "gap", "rows"])
  const only_passing_differs = (next) => {
    const [a, b] = [new URL(location.href).searchParams, next.searchParams]
    const keys = new Set([...a.keys(), ...b.keys()])
    return [...keys].every((key) => passing.has(key) || a.get(key) === b.get(key))
  }
  history.pushState = (state, title, url) => {
    const next = new URL(url, location.href)
    if (next.href === location.href) return
    const is_first = location.search === "" || document.documentElement.dataset.ready !== "yes"
    if (is_first || only_passing_differs(next)) history.replaceState(state, title, url)
    else push(state, title, url)
  }
  window.addEventListener("popstate", () => {
    for (const model of Bokeh.documents.flatMap((d) => d.roots())) {
      if (model.type === "panel.models.location.Location") model.search = location.search
    }
  })
  const wait = setInterval(() => {
    if (window.Bokeh?.documents?.[0]?.is_idle) {
      clearInterval(wait)
      document.documentElement.dataset.ready = "yes"
      dispatchEvent(new Event("nnviz-ready"))
    }
  }, 50)
})()
