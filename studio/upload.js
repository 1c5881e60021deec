// A place for a picture or a sound: click, drop or paste. The file is checked before it is sent.

import { element } from "./element.js"
import { t, worded } from "./language.js"

/** What a place takes: `accept` types of files; `open(url)` resolves to an element that shows one, or rejects. */
const MEDIA = {
  picture: { accept: ["image/png", "image/jpeg", "image/webp"], open: picture },
  sound: { accept: ["audio/*", "video/mp4", "video/webm"], open: sound },
}

export class Upload {
  /**
   * In `place`, with the text `key` as its name. medium: "picture" or "sound". id: that of its messages.
   * `changed(fault)` is called with "", or with the reason why a file was rejected.
   */
  constructor(place, key, medium, id, changed) {
    Object.assign(this, { place, changed, medium, key, file: null, shown: null })
    this.input = element("input", {
      type: "file",
      accept: MEDIA[medium].accept.join(),
      "aria-label": t(key),
      "data-t-aria-label": key,
      "aria-describedby": `${id}-fault ${id}-note`,
      onchange: () => this.take(this.input.files[0]),
    })
    this.words = worded(element("span"), key)
    this.hint = worded(element("small"), "upload.hint")
    this.label = element("label", {}, this.words, this.hint, this.input)
    this.removal = worded(element("button.quiet", { type: "button", onclick: () => this.clear() }), "remove")
    this.removal.setAttribute("aria-label", t(`${key}.remove`))
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

  /** Take a file if the browser can open it. */
  async take(file) {
    if (!file || this.input.disabled) return
    const shown = await this.#opened(file)
    if (!shown) {
      this.input.value = ""
      this.changed(t(`${this.medium}.wrong`, { name: file.name }))
      return
    }
    this.#empty()
    Object.assign(this, { file, shown })
    if (this.medium === "picture") this.label.append(shown)
    else this.label.after(shown)
    this.#filled(true)
    this.changed("")
  }

  async #opened(file) {
    const { accept, open } = MEDIA[this.medium]
    if (!accept.some((type) => file.type.startsWith(type.replace("*", "")))) return null
    const url = URL.createObjectURL(file)
    try {
      return await open(url, file.name)
    } catch {
      URL.revokeObjectURL(url)
      return null
    }
  }

  clear() {
    this.#empty()
    this.#filled(false)
    this.input.focus()
    this.changed("")
  }

  #empty() {
    if (this.shown) URL.revokeObjectURL(this.shown.src)
    this.shown?.remove()
    Object.assign(this, { file: null, shown: null })
    this.input.value = ""
  }

  #filled(is) {
    this.place.classList.toggle("filled", is)
    this.words.hidden = this.hint.hidden = is && this.medium === "picture"
    this.removal.hidden = !is
  }

  set possible(possible) {
    this.input.disabled = !possible
    this.place.classList.toggle("off", !possible)
    worded(this.hint, possible ? "upload.hint" : "upload.impossible")
  }

  /** The file to send, or null. */
  get sent() {
    return this.input.disabled ? null : this.file
  }
}

async function picture(url, name) {
  const shown = Object.assign(new Image(), { src: url, alt: name })
  await shown.decode()
  return shown
}

function sound(url, name) {
  const shown = element("audio", { controls: true, "aria-label": name })
  return new Promise((resolve, reject) => {
    shown.addEventListener("loadedmetadata", () => resolve(shown))
    shown.addEventListener("error", reject)
    shown.src = url
  })
}
