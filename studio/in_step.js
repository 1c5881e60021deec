// Several videos that play in step: one button, one time line, and the picture of each at the same moment.

import { element } from "./element.js"
import { t } from "./language.js"
import { elapsed } from "./words.js"

const DRIFT = 0.04 // seconds by which a video may be off before it is put right: a frame at 24 a second
const STILL = matchMedia("(prefers-reduced-motion: reduce)")

export class InStep {
  /** `players` are <video> elements. `bar` is the element with the controls. */
  constructor(players) {
    Object.assign(this, { players, frame: null })
    this.button = element("button.quiet", { type: "button", onclick: () => this.toggle() })
    this.time = element("input", { type: "range", min: 0, max: 1, step: "any", value: 0, "aria-label": t("moment") })
    this.time.addEventListener("input", () => this.seek(Number(this.time.value)))
    this.text = element("output", {})
    this.bar = element("div.transport", {}, this.button, this.time, this.text)
    for (const player of players) {
      Object.assign(player, { muted: true, playsInline: true, preload: "auto" })
      player.addEventListener("loadedmetadata", () => this.measure())
    }
    this.measure()
    if (!STILL.matches) this.play()
  }

  /** The longest video leads. The others show their last frame when they are over. */
  measure() {
    this.leader = this.players.reduce((best, player) => ((player.duration || 0) > (best.duration || 0) ? player : best))
    for (const player of this.players) player.loop = player === this.leader
    this.time.max = this.leader.duration || 1
    this.say()
  }

  get playing() {
    return this.frame !== null
  }

  toggle() {
    if (this.playing) this.pause()
    else this.play()
  }

  play() {
    this.frame ??= requestAnimationFrame(() => this.follow())
    this.say()
  }

  pause() {
    cancelAnimationFrame(this.frame)
    this.frame = null
    for (const player of this.players) player.pause()
    this.seek(this.leader.currentTime)
  }

  seek(seconds) {
    for (const player of this.players) player.currentTime = Math.min(seconds, player.duration || seconds)
    this.say()
  }

  /** Once per frame of the screen: start what stands still, and put right what is off. */
  follow() {
    const { leader } = this
    const now = leader.currentTime
    for (const player of this.players) {
      const over = player !== leader && now >= (player.duration || 0)
      if (player.paused && !over && player.readyState > 1) player.play().catch(() => {})
      const due = Math.min(now, player.duration || now)
      if (player !== leader && !player.seeking && Math.abs(player.currentTime - due) > DRIFT) player.currentTime = due
    }
    this.say()
    this.frame = requestAnimationFrame(() => this.follow())
  }

  say() {
    const now = this.leader.currentTime
    this.time.value = now
    const text = `${elapsed(now)} / ${elapsed(this.leader.duration || 0)}`
    if (this.text.value !== text) this.text.value = text
    this.time.setAttribute("aria-valuetext", t("seconds", { count: Math.round(now * 100) / 100 }))
    const label = t(this.playing ? "pause" : "play")
    if (this.button.textContent !== label) this.button.textContent = label
  }

  /** Stop for good, and free the videos. */
  close() {
    cancelAnimationFrame(this.frame)
    for (const player of this.players) {
      player.pause()
      player.removeAttribute("src")
      player.load()
    }
  }
}
