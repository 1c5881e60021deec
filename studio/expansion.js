// "Expand prompt": the longer prompt is shown, can be changed, and is used only while its switch is on.

import * as api from "./api.js"
import { byId, say } from "./element.js"
import { speak } from "./notices.js"
import { problem } from "./words.js"

export class Expansion {
  /** `model()` is the chosen model; `changed()` is called when the form is to look at itself again. */
  constructor(model, changed) {
    Object.assign(this, { model, changed, of: null })
    byId("expand").addEventListener("click", () => this.expand())
    byId("prompt").addEventListener("input", () => this.outdate())
  }

  async expand() {
    const prompt = byId("prompt").value.trim()
    const button = byId("expand")
    if (!prompt) {
      say("expand-note", "Write a prompt first.")
      byId("prompt").focus()
      return
    }
    button.setAttribute("aria-disabled", "true")
    say("expand-note", "Expanding …")
    try {
      const made = await api.expand(prompt, this.model().id)
      this.show(prompt, made)
    } catch (error) {
      const text =
        error.code === "unknown_url" || error.status === 405 ? "This server cannot expand prompts." : problem(error)
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
    say("expanded-note", [`Expanded by ${expander}.`, ...warnings, "Change it as you like."].join(" "))
    byId("expanded").focus()
    speak("The generated prompt can be read and changed.")
  }

  /** The expansion of another prompt than the one that stands there now is not used unasked. */
  outdate() {
    if (!byId("use-expanded").checked || byId("prompt").value.trim() === this.of) return
    byId("use-expanded").checked = false
    say("expanded-note", "Switched off, because the prompt has changed since.")
  }

  /** The prompt that is to be sent. */
  get prompt() {
    const expanded = byId("expanded").value.trim()
    return (byId("use-expanded").checked && expanded) || byId("prompt").value.trim()
  }
}
