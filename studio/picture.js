// A place for a picture: click, drop or paste. The file is checked before it is sent.

import { element } from "./element.js"
import { t, worded } from "./language.js"

const KINDS = ["image/png", "image/jpeg", "image/webp"]

export class Picture {
  /** In `place`, with the text `key` as its name; `changed(fault)` is called with "", or with the reason why a file was rejected. */
  constructor(place, key, changed) {
    this.place = place
    this.changed = changed
    this.file = null
    this.input = element("input", {
      type: "file",
      accept: KINDS.join(),
      "aria-label": t(key),
      "data-t-aria-label": key,
      "aria-describedby": "picture-fault picture-note",
      onchange: () => this.take(this.input.files[0]),
    })
    this.words = worded(element("span"), key)
    this.hint = worded(element("small"), "picture.hint")
    this.label = element("label", {}, this.words, this.hint, this.input)
    this.removal = element(
      "button.quiet",
      { type: "button", "aria-label": t(`${key}.remove`), onclick: () => this.clear() },
      t("remove"),
    )
    this.removal.dataset.t = "remove"
    this.removal.setAttribute("data-t-aria-label", `${key}.remove`)
    this.removal.hidden = true
    place.append(this.label, this.removal)
    place.addEventListener("dragover", (event) => this.#over(event, true))
    place.addEventListener("dragleave", (event) => this.#over(event, false))
    place.addEventListener("drop", (event) => {
      this.#over(event, false)
      this.take(event.dataTransfer.files[0])
    })
  }

  #over(event, is) {
    event.preventDefault()
    this.place.classList.toggle("over", is && !this.input.disabled)
  }

  /** Take a file if it is a picture that the browser can open. */
  async take(file) {
    if (!file || this.input.disabled) return
    const picture = KINDS.includes(file.type) ? await opened(file) : null
    if (!picture) {
      this.input.value = ""
      this.changed(t("picture.wrong", { name: file.name }))
      return
    }
    this.#empty()
    this.file = file
    picture.alt = file.name
    this.label.append(picture)
    this.#filled(true)
    this.changed("")
  }

  clear() {
    this.#empty()
    this.#filled(false)
    this.input.focus()
    this.changed("")
  }

  #empty() {
    const picture = this.label.querySelector("img")
    if (picture) URL.revokeObjectURL(picture.src)
    picture?.remove()
    this.file = null
    this.input.value = ""
  }

  #filled(is) {
    this.place.classList.toggle("filled", is)
    this.words.hidden = this.hint.hidden = is
    this.removal.hidden = !is
  }

  set possible(possible) {
    this.input.disabled = !possible
    this.place.classList.toggle("off", !possible)
    worded(this.hint, possible ? "picture.hint" : "picture.impossible")
  }

  /** The file to send, or null. */
  get sent() {
    return this.input.disabled ? null : this.file
  }
}

async function opened(file) {
  const picture = new Image()
  picture.src = URL.createObjectURL(file)
  try {
    await picture.decode()
    return picture
  } catch {
    URL.revokeObjectURL(picture.src)
    return null
  }
}
