// Re-cut: a clip as pieces, to split, drag, drop, repeat and trim, with gaps that the model fills.

import * as api from "../api.js"
import { Boards } from "../boards.js"
import { element, say } from "../element.js"
import { t } from "../language.js"
import { does } from "./button.js"
import { isGone } from "./gone.js"
import { keep, kept } from "./kept.js"
import * as cut from "./pieces.js"
import { Steps } from "./steps.js"
import { Strip } from "./strip.js"
import { Viewer, framesOf, rateOf } from "./viewer.js"

export class Recut {
  /** `bench` sends the request and says what is wrong. */
  constructor(bench) {
    this.bench = bench
    this.video = null
    this.savedAs = null // {id, content} of the re-cut that was opened or saved
    this.steps = new Steps([], () => this.show())
    this.build()
  }

  get pieces() {
    return this.steps.now
  }

  /** The video in one piece. */
  get whole() {
    return [{ from: 0, to: framesOf(this.video) }]
  }

  /** What is kept over a change of the language. */
  get state() {
    return { video: this.video, pieces: this.pieces, prompt: this.prompt.value, savedAs: this.savedAs }
  }

  set state({ video, pieces, prompt, savedAs }) {
    Object.assign(this, { video, savedAs })
    this.steps.reset(pieces)
    this.prompt.value = prompt
  }

  build() {
    this.viewer = new Viewer({
      shown: (frame) => cut.shownAt(this.pieces, frame),
      blank: () => t(this.pieces.length ? "recut.gap.here" : "recut.empty"),
      moved: (frame) => this.moved(frame),
      come: (frame) => this.strip.come(frame, this.viewer.frames),
      failed: () => this.bench.fault(t("recut.unplayable")),
    })
    this.strip = new Strip({
      choose: (index) => this.choose(index),
      goTo: (frame) => this.viewer.goTo(frame),
      range: (range) => this.mark(range),
      move: (index, place) => this.change(cut.moved(this.pieces, index, place), place > index ? place - 1 : place),
      trim: (index, side, by, done) => this.trim(index, side, by, done),
    })
    this.prompt = element("textarea", {
      rows: 2,
      id: "recut-prompt",
      dir: "auto",
      "aria-describedby": "recut-gap-note",
      onchange: () => this.keep(),
    })
    this.gaps = element(
      "div.field",
      { hidden: true },
      element("label", { for: "recut-prompt" }, t("recut.prompt")),
      this.prompt,
      element("p.note", { id: "recut-gap-note" }),
    )
    this.buttons = {
      split: does("recut.split", () => this.split(), { keys: "S" }),
      remove: does("recut.remove", () => this.remove(), { keys: "Delete" }),
      repeat: does("recut.repeat", () => this.repeat(), { keys: "R" }),
      gap: does("recut.gap", () => this.gap(), { keys: "G" }),
      start: does("recut.start", () => this.trimTo("start"), { keys: "[" }),
      end: does("recut.end", () => this.trimTo("end"), { keys: "]" }),
      earlier: does("recut.earlier", () => this.shift(-1), { keys: "Alt+←" }),
      later: does("recut.later", () => this.shift(1), { keys: "Alt+→" }),
      over: does("recut.over", () => this.change(this.whole, 0)),
      undo: does("undo", () => this.steps.undo(), { keys: "Control+Z" }),
      redo: does("redo", () => this.steps.redo(), { keys: "Control+Y" }),
    }
    this.make = element("button.generate", { type: "button", onclick: () => this.send() }, t("recut.make"))
    this.note = element("p.note", { role: "status" })
    this.element = element(
      "div.recut",
      {},
      this.viewer.element,
      this.strip.element,
      element("div.acts", { role: "toolbar", "aria-label": t("recut.tools") }, ...Object.values(this.buttons)),
      element("p.note", {}, t("recut.help")),
      this.gaps,
      element(
        "div.acts",
        {},
        this.make,
        does("recut.save", () => this.save()),
      ),
      this.note,
    )
  }

  open(video) {
    if (video && video.id !== this.video?.id) {
      this.video = video
      Object.assign(this, { savedAs: null, fresh: true })
      this.steps.reset(this.whole)
      this.prompt.value = video.prompt ?? ""
      this.restored = this.remember(video)
    }
    this.count = framesOf(this.video)
    this.fps = rateOf(this.video)
    Object.assign(this, { chosen: 0, range: null })
    this.viewer.cursor = 0
    this.viewer.load(this.video)
    this.draw()
  }

  /** The pieces that a video was made of, as the next step of undo. */
  take({ recut, prompt }) {
    this.prompt.value = prompt
    this.change(cut.written(recut, this.fps), 0)
  }

  /** Take up what was made of this video before the page was left; undo brings back the whole of it. */
  async remember(video) {
    const before = await kept(`recut/${video.id}`)
    if (!before || this.video !== video || !this.fresh) return
    this.prompt.value = before.prompt
    this.savedAs = before.savedAs
    this.change(before.pieces, 0)
  }

  /** Put a saved re-cut of this video on the bench. */
  restore({ id, pieces, prompt = "" }) {
    this.savedAs = Boards.opened(id)
    this.prompt.value = prompt
    this.change(pieces, 0)
  }

  async save() {
    const { video, pieces, prompt } = this
    this.savedAs = await this.bench.save(this.savedAs, { kind: "recut", video: video.id, pieces, prompt: prompt.value })
    this.keep()
  }

  keep() {
    const { video, pieces, prompt, savedAs } = this
    this.fresh = false
    if (video) keep(`recut/${video.id}`, { pieces, prompt: prompt.value, savedAs })
  }

  leave() {
    this.keep()
    this.viewer.close()
  }

  /** The video may have been deleted meanwhile. */
  update() {
    const gone = isGone(this.video.id, () => this.update())
    if (gone) say("bench-fault", t("bench.gone"))
    this.make.disabled = gone
  }

  // What is shown

  draw() {
    const { pieces, steps } = this
    this.chosen = Math.max(0, Math.min(this.chosen, pieces.length - 1))
    const whole = cut.total(pieces)
    const hasGaps = pieces.some((piece) => piece.gap)
    this.gaps.hidden = !hasGaps
    const length = t("recut.gap.note", { seconds: this.step / this.fps })
    this.gaps.querySelector(".note").textContent = [length, this.bench.form.model.can("fill").note].join(" ").trim()
    const none = pieces.length === 0
    for (const name of ["remove", "repeat", "start", "end", "split"]) this.buttons[name].disabled = none
    this.buttons.earlier.disabled = this.chosen <= 0
    this.buttons.later.disabled = this.chosen >= pieces.length - 1
    this.buttons.over.disabled = JSON.stringify(pieces) === JSON.stringify(this.whole)
    this.buttons.undo.disabled = !steps.canUndo
    this.buttons.redo.disabled = !steps.canRedo
    this.viewer.lasts(whole)
    this.strip.draw(this.drawn)
    this.note.textContent = t("recut.length", { count: pieces.length, seconds: whole / this.fps })
    this.update()
  }

  get drawn() {
    const { pieces, chosen, range, fps } = this
    const { cursor, frames } = this.viewer
    return { pieces, chosen, cursor, range, fps, frames, whole: cut.total(pieces) }
  }

  /** Frames that the model makes at a time, the unit of gaps. */
  get step() {
    return Math.max(1, this.bench.form.model.frameStep)
  }

  show() {
    this.range = null
    this.draw()
    this.keep()
    this.bench.keepFocus()
    this.bench.say(this.note.textContent)
  }

  // What a person does

  /** Take new pieces, of which one is chosen. The frame on the screen stays if it is of that piece. */
  change(pieces, chosen = this.chosen) {
    if (pieces === this.pieces) return
    this.viewer.pause()
    const focused = this.strip.element.contains(document.activeElement)
    this.steps.add(pieces)
    Object.assign(this, { chosen: Math.max(0, Math.min(chosen, pieces.length - 1)), range: null })
    if (pieces.length && cut.at(pieces, this.viewer.cursor) !== this.chosen)
      this.viewer.cursor = cut.spanOf(pieces, this.chosen)[0]
    this.draw()
    this.keep()
    if (focused) this.strip.focus(this.chosen)
    this.bench.keepFocus()
    this.bench.say(this.note.textContent)
  }

  choose(index) {
    this.chosen = index
    this.viewer.goTo(cut.spanOf(this.pieces, index)[0])
    this.strip.draw(this.drawn)
  }

  /** Another frame is on the screen: choose its piece. */
  moved(frame) {
    const here = Math.max(0, cut.at(this.pieces, frame))
    if (here === this.chosen) return this.strip.point(frame)
    this.chosen = here
    this.draw()
  }

  /** Mark a range of frames [start, end); null for none. */
  mark(range) {
    this.range = range && range[1] > range[0] ? range : null
    this.strip.draw(this.drawn)
  }

  split() {
    const { range } = this
    if (range) return this.change(cut.split(cut.split(this.pieces, range[0]), range[1]))
    const pieces = cut.split(this.pieces, this.viewer.cursor)
    if (pieces === this.pieces) return this.bench.say(t("recut.split.edge"))
    this.change(pieces, cut.at(pieces, this.viewer.cursor))
  }

  remove() {
    if (this.range) return this.change(cut.without(this.pieces, ...this.range))
    if (this.pieces.length) this.change(cut.removed(this.pieces, this.chosen))
  }

  repeat() {
    if (this.pieces.length) this.change(cut.repeated(this.pieces, this.chosen), this.chosen + 1)
  }

  gap() {
    const place = this.viewer.cursor >= cut.total(this.pieces) - 1 ? cut.total(this.pieces) : this.viewer.cursor
    const pieces = cut.gapped(this.pieces, place, this.step)
    this.change(pieces, cut.at(pieces, place))
  }

  trimTo(side) {
    const [start, end] = cut.spanOf(this.pieces, this.chosen)
    const by = side === "start" ? this.viewer.cursor - start : this.viewer.cursor + 1 - end
    this.change(cut.trimmed(this.pieces, this.chosen, side, by, this.count))
  }

  /** Trim by dragging an edge; `done` at the end of the drag, which is one step of undo. */
  trim(index, side, by, done) {
    this.before ??= this.pieces
    const pieces = cut.trimmed(this.before, index, side, by, this.count)
    if (done) {
      this.before = null
      this.change(pieces, index)
    } else this.strip.draw({ ...this.drawn, pieces, chosen: index, whole: cut.total(pieces) })
  }

  shift(by) {
    const place = this.chosen + by
    if (place < 0 || place >= this.pieces.length) return
    this.change(cut.moved(this.pieces, this.chosen, by > 0 ? place + 1 : place), place)
  }

  key(event) {
    if (this.steps.key(event) || this.viewer.key(event)) return
    if (event.target.matches("textarea") || event.ctrlKey || event.metaKey) return
    const { key, altKey } = event
    const run = altKey
      ? { ArrowLeft: () => this.shift(-1), ArrowRight: () => this.shift(1) }[key]
      : {
          s: () => this.split(),
          r: () => this.repeat(),
          g: () => this.gap(),
          "[": () => this.trimTo("start"),
          "]": () => this.trimTo("end"),
          i: () => this.mark([this.viewer.cursor, this.range?.[1] ?? cut.total(this.pieces)]),
          o: () => this.mark([this.range?.[0] ?? 0, this.viewer.cursor + 1]),
          Escape: () => this.mark(null),
          Delete: () => this.remove(),
          Backspace: () => this.remove(),
        }[key.length === 1 ? key.toLowerCase() : key]
    if (!run) return
    event.preventDefault()
    run()
  }

  async send() {
    const { pieces, video } = this
    if (!pieces.some((piece) => !piece.gap)) return this.bench.fault(t("recut.empty"))
    const hasGaps = pieces.some((piece) => piece.gap)
    const prompt = (hasGaps && this.prompt.value.trim()) || video.prompt || t("recut.title")
    const fields = { prompt, video: { id: video.id }, recut: cut.requested(pieces, this.fps) }
    const unasked = hasGaps ? {} : { seed: null, num_inference_steps: null, guidance_scale: null, style: null }
    const nothing = { size: null, fps: null, seconds: null, ...(hasGaps ? {} : { n: null, negative_prompt: null }) }
    await this.bench.send(api.edit, { ...fields, ...unasked, ...nothing }, {}, this.make)
  }
}
