// Short messages at the foot of the page, and messages for screen readers.

import { byId, element } from "./element.js"
import { t } from "./language.js"

const STAYS = 7000

/** Announce a text to screen readers. */
export function speak(text) {
  const place = byId("spoken")
  place.textContent = ""
  requestAnimationFrame(() => (place.textContent = text))
}

/**
 * Show a message for a while. `action` {label, run} adds a button; `then` runs if the message ends without its use.
 * The time stops while the pointer or the focus is on the message. Returns a function that ends it at once.
 */
export function notify(text, { action, then = () => {}, stays = STAYS } = {}) {
  let timer = null
  let over = false
  const end = (after) => {
    if (over) return
    over = true
    clearTimeout(timer)
    shown.remove()
    after()
  }
  const count = () => {
    clearTimeout(timer)
    timer = setTimeout(end, stays, then)
  }
  const hold = () => clearTimeout(timer)
  const shown = element(
    "div.notice",
    { onmouseenter: hold, onmouseleave: count, onfocusin: hold, onfocusout: count },
    element("p", {}, text),
    element("button", { type: "button", onclick: () => end(action?.run ?? then) }, action?.label ?? t("close")),
  )
  byId("notices").append(shown)
  speak(text)
  count()
  return () => end(then)
}
