// A button of the bench, with the key that does the same.

import { element } from "../element.js"
import { t } from "../language.js"

/** A button with a text by its key, and the key that does the same, if any. */
export function does(key, run, { keys = null, kind = "button.quiet" } = {}) {
  const label = t(key)
  return element(
    kind,
    { type: "button", onclick: run, "aria-keyshortcuts": keys, title: keys ? `${label} (${keys})` : null },
    label,
    keys && element("kbd", { "aria-hidden": "true" }, keys.replace("Control+", "Ctrl ").replace("Delete", "Del")),
  )
}
