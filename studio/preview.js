// What there is to see of a running job: the part of its clip that is there, played in a loop, else its newest picture.

import * as api from "./api.js"
import { element } from "./element.js"
import { t } from "./language.js"
import { videos } from "./videos.js"

const SHORTEST_MS = 1000 // that a part of the clip is shown
const TRIES = 4 // after which there seem to be no previews
const STILL = matchMedia("(prefers-reduced-motion: reduce)")

export class Preview {
  #refused = 0
  #due = 0
  #version = null
  #steps = null // of the node that made the part on the screen

  constructor(video) {
    this.video = video
    this.picture = element("img", { alt: t("preview"), hidden: true })
    this.caption = element("p.edge.so-far", { hidden: true })
  }

  get isShown() {
    return !this.picture.hidden
  }

  /** Whether ComfyUI seems to make no previews. */
  get without() {
    return this.#refused > TRIES
  }

  /** Fetch what is newest. A part of the clip is played to its end first, unless the next node is at work: it decodes. */
  async look() {
    const { steps } = videos.get(this.video.id) ?? this.video
    if (performance.now() < this.#due && steps === this.#steps) return
    try {
      if (STILL.matches || !(await this.#play(steps))) this.#show(await api.blob(this.video.id, "preview"))
      this.#refused = 0
    } catch (error) {
      if (error.code === "no_preview") this.#refused += 1
    }
  }

  /** Play the part of the clip that is there; resolves to false if there is none. */
  async #play(steps) {
    const clip = await api.soFar(this.video.id).catch((error) => {
      if (error.code !== "no_preview") throw error
    })
    if (!clip) return false
    if (clip.version === this.#version) return true
    this.#version = clip.version
    this.#steps = steps
    this.#due = performance.now() + Math.max(SHORTEST_MS, 1000 * clip.seconds)
    this.#show(clip.picture)
    const whole = Number(this.video.duration ?? this.video.seconds) || clip.seconds
    const [count, of] = [Math.min(clip.seconds, whole), whole].map((seconds) => Math.round(seconds * 10) / 10)
    this.caption.textContent = t(clip.decoded ? "so.far" : "so.far.rough", { count, of })
    this.caption.hidden = false
    return true
  }

  #show(content) {
    if (!this.picture.isConnected) return
    const before = this.picture.src
    this.picture.src = URL.createObjectURL(content)
    this.picture.hidden = false
    if (before) URL.revokeObjectURL(before)
  }
}
