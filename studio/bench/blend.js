// Blend: a video turns into a second one; a curve with points to drag says how.

import * as api from "../api.js"
import { Boards } from "../boards.js"
import { element } from "../element.js"
import { t } from "../language.js"
import { videos } from "../videos.js"
import { brief } from "../words.js"
import { CURVES, Curve } from "./curve.js"
import { does } from "./button.js"
import { isGone } from "./gone.js"
import { keep, kept } from "./kept.js"
import { Shelf, carried } from "./shelf.js"
import { Steps } from "./steps.js"

export class Blend {
  /** `bench` sends the request and says what is wrong. */
  constructor(bench) {
    Object.assign(this, { bench, video: null, second: null, swapped: false })
    this.savedAs = null // {id, content} of the blend that was opened or saved
    this.steps = new Steps(CURVES.linear, (points) => this.curve.draw(points))
    this.build()
  }

  get state() {
    const { video, second, swapped, savedAs } = this
    return { ...this.content, video, second, swapped, savedAs }
  }

  set state({ video, second, swapped, points, prompt, seconds, savedAs }) {
    Object.assign(this, { video, second, swapped, savedAs })
    this.steps.reset(points)
    this.prompt.value = prompt
    this.seconds.value = seconds
  }

  /** What is saved: the videos by their ids, and what a person has set. */
  get content() {
    const { video, second, swapped, steps, prompt, seconds } = this
    const videos = { video: video?.id, second: second?.id }
    const set = { swapped, points: steps.now, prompt: prompt.value, seconds: Number(seconds.value) }
    return { kind: "blend", ...videos, ...set }
  }

  build() {
    this.pair = element("div.pair", {})
    this.shelf = new Shelf(t("blend.second"), (video) => this.pick(video))
    this.seconds = element("input", {
      type: "range",
      id: "blend-seconds",
      min: 0.25,
      max: 10,
      step: 0.25,
      value: 1,
      oninput: () => this.update(),
      onchange: () => this.keep(),
    })
    this.length = element("output", { for: "blend-seconds" })
    this.curve = new Curve((points) => {
      this.steps.add(points)
      this.keep()
      this.update()
    })
    const named = Object.keys(CURVES).map((name) => does(`blend.${name}`, () => this.preset(CURVES[name])))
    this.undo = does("undo", () => (this.steps.undo(), this.update()), { keys: "Control+Z" })
    this.redo = does("redo", () => (this.steps.redo(), this.update()), { keys: "Control+Y" })
    this.prompt = element("textarea", { rows: 2, id: "blend-prompt", dir: "auto", onchange: () => this.keep() })
    this.make = element("button.generate", { type: "button", onclick: () => this.send() }, t("blend.make"))
    this.swap = does("blend.swap", () => {
      this.swapped = !this.swapped
      this.keep()
      this.update()
    })
    this.element = element(
      "div.blending",
      { ondragover: (event) => event.preventDefault(), ondrop: (event) => this.drop(event) },
      this.pair,
      element("h3", {}, t("blend.second")),
      this.shelf.place,
      element("div.field", {}, element("label", { for: "blend-prompt" }, t("blend.prompt")), this.prompt),
      element(
        "div.field",
        {},
        element("div.row", {}, element("label", { for: "blend-seconds" }, t("blend.seconds")), this.length),
        this.seconds,
      ),
      element("h3", {}, t("blend.curve")),
      this.curve.element,
      element("p.note", {}, t("blend.help")),
      element("div.acts", {}, ...named, this.swap, this.undo, this.redo),
      element(
        "div.acts",
        {},
        this.make,
        does("blend.save", () => this.save()),
      ),
    )
  }

  open(video) {
    if (video && video.id !== this.video?.id) {
      this.video = video
      Object.assign(this, { savedAs: null, fresh: true })
      if (this.second?.id === video.id) this.second = null
      this.prompt.value = video.prompt ?? ""
      this.restored = this.remember(video)
    }
    this.curve.draw(this.steps.now)
    this.update()
  }

  /** Take up what was set for this video before the page was left. */
  async remember(video) {
    const before = await kept(`blend/${video.id}`)
    if (before && this.video === video && this.fresh)
      this.put({ ...before, second: videos.get(before.second) ?? null })
  }

  /** Put a saved blend on the bench; `second` is its second video, or null if that has been deleted. */
  restore({ id, ...saved }) {
    this.put({ ...saved, savedAs: Boards.opened(id) })
    this.keep()
  }

  put({ second, swapped, points, prompt, seconds, savedAs }) {
    Object.assign(this, { second, swapped: Boolean(swapped && second), savedAs })
    this.prompt.value = prompt ?? ""
    this.seconds.value = seconds
    this.preset(points)
  }

  async save() {
    this.savedAs = await this.bench.save(this.savedAs, this.content)
    this.keep()
  }

  keep() {
    this.fresh = false
    if (this.video) keep(`blend/${this.video.id}`, { ...this.content, savedAs: this.savedAs })
  }

  leave() {
    this.keep()
  }

  /** The blend that a video was made with. */
  take({ blend, prompt }) {
    this.second = videos.get(blend.video) ?? null
    this.swapped = false
    this.seconds.value = blend.seconds
    this.prompt.value = prompt
    this.preset(CURVES[blend.curve] ?? (Array.isArray(blend.curve) ? blend.curve : CURVES.linear))
  }

  update() {
    const { video, second, swapped } = this
    this.shelf.draw(second?.id)
    const order = swapped ? [second, video] : [video, second]
    const state = JSON.stringify(order.map((one) => [one?.id, this.isGone(one)]))
    if (state !== this.drawn) {
      this.drawn = state
      this.pair.replaceChildren(...order.map((one, index) => this.side(one, index)))
    }
    const text = t("seconds.short", { count: Number(this.seconds.value) })
    this.length.value = text
    this.seconds.setAttribute("aria-valuetext", text)
    this.undo.disabled = !this.steps.canUndo
    this.redo.disabled = !this.steps.canRedo
    this.swap.disabled = !second
  }

  isGone(video) {
    return Boolean(video) && isGone(video.id, () => this.update())
  }

  side(video, index) {
    const label = t(index ? "blend.to" : "blend.from")
    if (!video)
      return element("figure", {}, element("div.empty", {}, t("blend.none")), element("figcaption", {}, label))
    const picture = element("img", { alt: "" })
    api.address(video.id, "thumbnail").then(
      (url) => (picture.src = url),
      () => {},
    )
    const length = t("seconds.short", { count: Number(video.duration ?? video.seconds) })
    const gone = this.isGone(video) && element("p.fault", {}, t("bench.gone"))
    const name = element("span", { dir: "auto" }, brief(video.prompt, 60))
    return element("figure", {}, picture, element("figcaption", {}, element("strong", {}, label), name, length, gone))
  }

  pick(video) {
    if (video.id === this.video.id) return this.bench.fault(t("blend.same"))
    this.second = video
    if (this.prompt.value === this.video.prompt && video.prompt !== this.video.prompt)
      this.prompt.value = t("blend.words", { first: this.video.prompt, second: video.prompt })
    this.keep()
    this.update()
    this.bench.say(t("blend.picked", { name: brief(video.prompt, 60) }))
  }

  preset(points) {
    this.steps.add(points)
    this.curve.draw(points)
    this.keep()
    this.update()
  }

  key(event) {
    if (!this.steps.key(event)) return
    this.keep()
    this.update()
  }

  drop(event) {
    event.preventDefault()
    const id = carried(event.dataTransfer)
    const video = videos.get(id)
    if (video?.status === "completed") this.pick(video)
    else if (id) this.bench.fault(t("bench.unfinished"))
    else if (event.dataTransfer.files.length) this.bench.fault(t("blend.file"))
  }

  async send() {
    const { video, second, swapped } = this
    if (!second) return this.bench.fault(t("blend.none"))
    const [first, other] = swapped ? [second, video] : [video, second]
    const prompt = this.prompt.value.trim() || first.prompt
    const blend = { video: { id: other.id }, seconds: Number(this.seconds.value), curve: this.steps.now }
    const fields = { prompt, video: { id: first.id }, blend, size: null, seconds: null, fps: null }
    await this.bench.send(api.edit, fields, {}, this.make)
  }
}
