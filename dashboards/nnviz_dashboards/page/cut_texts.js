// What is cut off says all of itself when it is pointed at, unless something says more.
(() => {
  const told = new WeakSet()
  addEventListener("pointerover", (event) => {
    const [at, ...around] = event.composedPath()
    if (!(at instanceof HTMLElement) || (at.title && !told.has(at))) return
    const is_cut = at.scrollWidth > at.clientWidth && getComputedStyle(at).textOverflow === "ellipsis"
    if (told.has(at) && !is_cut) at.removeAttribute("title")
    if (!is_cut || around.some((node) => node.title)) return
    at.title = at.textContent
    told.add(at)
  }, {passive: true})
})()
