// A screen on which a clip is seen frame by frame: a slider with a step for each frame, and a button to play.

import * as api from "../api.js"
import { element } from "../element.js"
import { t } from "../language.js"
import { number } from "../words.js"
import { does } from "./button.js"
import { Frames } from "./frames.js"

const USUAL_RATE = 24 // frames per second, of a video whose record has none

export const rateOf = (video) => video.fps || USUAL_RATE
export const framesOf = (video) => Math.max(1, video.num_frames ?? Math.round(Number(video.seconds) * rateOf(video)))

export class Viewer {
  #playing = null
  frames = null
  video = null
  cursor = 0
  total = 1
  fps = USUAL_RATE

  /**
   * `shown(frame)` is the clip's frame to show at a frame, or null where `blank()` tells why there is none.
   * `moved(frame)` is called when another frame is on the screen, `come(frame)` when a frame of the clip can be drawn,
   * and `failed()` if this browser cannot show the clip.
   */
  constructor({ shown = (frame) => frame, blank = () => "", moved = () => {}, come = () => {}, failed = () => {} }) {
    Object.assign(this, { shown, blank, moved, come, failed })
    this.screen = element("canvas.screen", { width: 16, height: 9, role: "img" })
    this.words = element("p.blank", { hidden: true })
    this.scrub = element("input", {
      type: "range",
      min: 0,
      step: 1,
      value: 0,
      "aria-label": t("viewer.frame"),
      oninput: () => (this.pause(), this.goTo(Number(this.scrub.value))),
    })
    this.time = element("output", {})
    this.play = does("viewer.play", () => this.toggle(), { keys: "Space" })
    const transport = element("div.transport", {}, this.play, this.scrub, this.time)
    this.element = element("div.viewing", {}, element("div.viewer", {}, this.screen, this.words), transport)
  }

  /** Show a finished video. Another one's frames are kept until then. */
  async load(video) {
    this.close()
    Object.assign(this, { video, fps: rateOf(video) })
    try {
      const url = await api.address(video.id, "video")
      if (this.video !== video) return
      const come = (frame) => {
        if (this.shown(this.cursor) === frame) this.draw()
        this.come(frame)
      }
      this.frames = new Frames(url, framesOf(video), this.fps, { come, failed: this.failed })
      this.draw()
    } catch {
      this.failed()
    }
  }

  /** The number of frames to go through. */
  lasts(total) {
    this.total = Math.max(1, total)
    this.scrub.max = this.total - 1
    this.goTo(this.cursor)
  }

  goTo(frame) {
    this.cursor = Math.max(0, Math.min(frame, this.total - 1))
    this.draw()
    this.moved(this.cursor)
  }

  draw() {
    const frame = this.shown(this.cursor)
    this.words.hidden = frame !== null
    this.words.textContent = frame === null ? this.blank() : ""
    if (frame !== null) this.frames?.draw(this.screen, frame)
    const text = t("viewer.at", { frame: this.cursor + 1, of: this.total, time: number(this.cursor / this.fps) })
    this.time.value = text
    this.scrub.value = this.cursor
    this.scrub.setAttribute("aria-valuetext", text)
    this.screen.setAttribute("aria-label", text)
  }

  toggle() {
    if (this.#playing) return this.pause()
    const began = performance.now()
    const from = this.cursor >= this.total - 1 ? 0 : this.cursor
    this.#playing = () => {
      const frame = from + Math.floor(((performance.now() - began) / 1000) * this.fps)
      if (!this.#playing || frame >= this.total) return this.pause()
      if (frame !== this.cursor) this.goTo(frame)
      requestAnimationFrame(this.#playing)
    }
    this.play.firstChild.textContent = t("viewer.pause")
    this.#playing()
  }

  pause() {
    this.#playing = null
    this.play.firstChild.textContent = t("viewer.play")
  }

  /** Space plays, unless it presses another button. Returns whether the key was taken. */
  key(event) {
    if (event.key !== " " || event.target.matches("textarea, input:not([type=range]), summary")) return false
    if (event.target.matches("button") && event.target !== this.play) return false
    event.preventDefault()
    this.toggle()
    return true
  }

  close() {
    this.pause()
    this.frames?.close()
    Object.assign(this, { frames: null, video: null })
  }
}
