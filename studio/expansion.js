// "Expand prompt": shows the expansion for editing. It is used only while its switch is on.

import * as api from "./api.js"
import { byId, say } from "./element.js"
import { t } from "./language.js"
import { speak } from "./notices.js"
import { problem } from "./words.js"

export class Expansion {
  /** `model()` is the chosen model; `changed()` is called when the form must refresh. */
  constructor(model, changed) {
    Object.assign(this, { model, changed, of: null })
    byId("expand").addEventListener("click", () => this.expand())
    byId("prompt").addEventListener("input", () => this.outdate())
  }

  async expand() {
    const prompt = byId("prompt").value.trim()
    const button = byId("expand")
    if (!prompt) {
      say("expand-note", t("expand.unwritten"))
      byId("prompt").focus()
      return
    }
    button.setAttribute("aria-disabled", "true")
    say("expand-note", t("expand.working"))
    try {
      this.show(prompt, await api.expand(prompt, this.model().id))
    } catch (error) {
      const text = error.code === "unknown_url" || error.status === 405 ? t("expand.impossible") : problem(error)
      say("expand-note", text)
      speak(text)
    }
    button.removeAttribute("aria-disabled")
    this.changed()
  }

  show(prompt, { prompt: expanded, expander, warnings = [] }) {
    byId("expanded").value = expanded
    byId("use-expanded").checked = true
    this.of = prompt
    say("expand-note", "")
    say("expanded-note", [t("expanded.by", { expander }), ...warnings, t("expanded.edit")].join(" "))
    byId("expanded").focus()
    speak(t("expanded.ready"))
  }

  /** Switch an expansion off when the prompt it was made from changes. */
  outdate() {
    if (!byId("use-expanded").checked || byId("prompt").value.trim() === this.of) return
    byId("use-expanded").checked = false
    say("expanded-note", t("expanded.outdated"))
  }

  /** The prompt to send. */
  get prompt() {
    const expanded = byId("expanded").value.trim()
    return (byId("use-expanded").checked && expanded) || byId("prompt").value.trim()
  }
}
