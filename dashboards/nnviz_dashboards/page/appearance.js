// Light or dark: as the system is, until the visitor wants the other.
(() => {
  const root = document.documentElement, system = matchMedia("(prefers-color-scheme: dark)")
  const kept = "nnviz-theme"
  const read = () => { try { return localStorage.getItem(kept) } catch { return null } }
  const write = (theme) => {
    try { theme ? localStorage.setItem(kept, theme) : localStorage.removeItem(kept) } catch { /* it lasts as long as the page */ }
  }
  const chosen = read()
  if (chosen === "light" || chosen === "dark") root.dataset.theme = chosen
  const of_system = () => (system.matches ? "dark" : "light")
  const shown = () => root.dataset.theme ?? of_system()
  const show = () => {
    const button = document.querySelector(".theme")
    const other = shown() === "dark" ? "light" : "dark"
    button.textContent = other === "dark" ? "Dark" : "Light"
    button.title = `Show the page in ${other} colours`
  }
  addEventListener("DOMContentLoaded", () => {
    document.querySelector(".theme").addEventListener("click", () => {
      const next = shown() === "dark" ? "light" : "dark"
      // What the system wants needs no word of its own, and follows it again.
      if (next === of_system()) delete root.dataset.theme
      else root.dataset.theme = next
      write(root.dataset.theme)
      show()
    })
    system.addEventListener("change", show)
    show()
  })
})()

// Which part is seen where there is room for one alone.
addEventListener("DOMContentLoaded", () => {
  const root = document.documentElement, buttons = [...document.querySelectorAll(".parts button")]
  const show = (part) => {
    root.dataset.part = part
    for (const button of buttons) button.setAttribute("aria-pressed", String(button.dataset.part === part))
  }
  for (const button of buttons) button.addEventListener("click", () => show(button.dataset.part))
  show("main")
})
// What explains the page closes by Escape, and by a click elsewhere.
addEventListener("nnviz-ready", () => {
  const about = document.querySelector(".about")
  document.addEventListener("pointerdown", (event) => {
    if (!event.composedPath().includes(about)) about.open = false
  })
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && about.open) {
      about.open = false
      about.querySelector("summary").focus()
    }
  })
})
