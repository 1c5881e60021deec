// A strip of radio buttons from a list. Some of them may be disabled.

import { byId, element } from "./element.js"
import { worded } from "./language.js"

export class Choices {
  /** In fieldset `id`; `options` are {value, label or key (of the label's text), picture?}; `changed()` is called when a person chooses. */
  constructor(id, options, changed) {
    this.place = byId(id).querySelector(".choices")
    this.inputs = new Map()
    this.smalls = new Map()
    for (const { value, label, key, picture } of options) {
      const input = element("input", {
        type: "radio",
        name: id,
        value,
        form: "compose",
        "aria-describedby": `${id}-note`,
      })
      const small = element("small", { hidden: true })
      input.addEventListener("change", changed)
      this.inputs.set(value, input)
      this.smalls.set(value, small)
      const words = key ? worded(element("span"), key) : element("span", {}, label)
      this.place.append(element("label", {}, input, picture ?? null, words, small))
    }
  }

  get value() {
    return [...this.inputs.values()].find((input) => input.checked)?.value ?? null
  }

  set value(value) {
    const input = this.inputs.get(String(value))
    if (input) input.checked = true
  }

  /** Enable or disable a button, with a few words below its label. */
  set(value, { possible = true, small = "" }) {
    this.inputs.get(value).disabled = !possible
    const place = this.smalls.get(value)
    if (place.textContent !== small) place.textContent = small
    place.hidden = !small
  }

  /** If the chosen button is disabled, choose the first enabled one. */
  settle() {
    const chosen = this.inputs.get(this.value ?? "")
    if (chosen && !chosen.disabled) return
    const possible = [...this.inputs.values()].find((input) => !input.disabled)
    if (possible) possible.checked = true
  }
}
