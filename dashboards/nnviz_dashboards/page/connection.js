// Where the server is gone, clicks would do nothing: say so, and when it is back.
addEventListener("nnviz-ready", () => {
  const RETRY_MS = 4000
  const banner = document.querySelector(".lost"), page = document.querySelector(".page")
  const script = document.querySelector("script[src]").src
  let turn = 0
  const tell = (text) => {
    const words = document.createElement("span"), reload = document.createElement("button")
    words.textContent = text
    reload.type = "button"
    reload.textContent = "Reload"
    reload.addEventListener("click", () => location.reload())
    banner.replaceChildren(words, reload)
  }
  const ask = async (now) => {
    if (now !== turn) return
    try {
      const {status} = await fetch(script, {method: "HEAD", cache: "no-store"})
      if (now !== turn) return
      tell(status === 401
        ? "The server was started again and has another token: open the address that it printed."
        : "The connection to the server was lost. It answers again: reload the page to go on.")
    } catch {
      setTimeout(() => ask(now), RETRY_MS)
    }
  }
  const show = (is_lost) => {
    if (banner.hidden !== is_lost) return
    turn += 1
    banner.hidden = !is_lost
    page.classList.toggle("lost-server", is_lost)
    if (!is_lost) return
    tell("The connection to the server was lost: nothing that is clicked has an effect. It is tried again every few seconds.")
    ask(turn)
  }
  for (const view of Bokeh.documents) {
    view.config.notify_connection_status = false // this banner does
    view.on_event("connection_lost", () => show(true))
    view.on_event("client_reconnected", () => show(false))
  }
})
