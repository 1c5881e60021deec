// Storyboard: the Storyboard node's time line in the page, with the same text, and pictures and clips for its cards.

import * as api from "../api.js"
import { Boards } from "../boards.js"
import { element } from "../element.js"
import { t } from "../language.js"
import { added, changed, check, read } from "../storyboard/board.js"
import { hundredths, momentsOf, nearest } from "../storyboard/moments.js"
import { makeTimeLine } from "../storyboard/time_line.js"
import { videos } from "../videos.js"
import { does } from "./button.js"
import { isGone } from "./gone.js"
import { keep, kept, tab, tidy } from "./kept.js"
import { ACCEPTED, MOST, MOST_BYTES, address, ofBoard, ofFile, ofVideo, renumbered, requested } from "./pictures.js"
import { Shelf, carried } from "./shelf.js"
import { Steps } from "./steps.js"
import { Viewer, framesOf } from "./viewer.js"

const [KEPT, OWN] = ["storyboard", `storyboard/${tab}`] // of the last tab, which a new one takes over, and of this one
const SECONDS = 2 // of a card, if the length of the shot is not known

export class Storyboard {
  /** `bench` sends the request and says what is wrong. */
  constructor(bench) {
    this.bench = bench
    this.steps = new Steps({ text: "", pictures: [] }, (state) => this.show(state))
    this.text = ""
    this.pictures = []
    this.savedAs = null // {id, content} of the board that was opened or saved
    this.begun = "" // the text that the page has written from the prompt, as long as nobody has changed it
    this.build()
    this.restored = this.remember()
  }

  get state() {
    return { text: this.text, pictures: this.pictures, savedAs: this.savedAs, begun: this.begun }
  }

  set state({ text, pictures, savedAs = null, begun = "" }) {
    this.restored = null
    Object.assign(this, { text, pictures, savedAs, begun })
    this.steps.reset({ text, pictures })
  }

  build() {
    this.line = makeTimeLine({
      write: (text) => (this.text = text),
      done: () => this.done(),
      point: () => this.area.focus(),
      drop: (transfer, time, card) => this.drop(transfer, time, card),
    })
    this.input = element("input", {
      type: "file",
      accept: ACCEPTED,
      multiple: true,
      "aria-label": t("board.add"),
      onchange: () => this.takeFiles([...this.input.files]),
    })
    this.own = element("ul.shelf.own", { "aria-label": t("board.pictures") })
    this.adding = element("label.adding", {}, element("span", {}, t("board.add")), this.input)
    this.shelf = new Shelf(t("board.gallery"), (video) => this.add([ofVideo(video)]))
    this.area = element("textarea", {
      rows: 5,
      dir: "auto",
      spellcheck: "false",
      "aria-label": t("board.text"),
      oninput: () => this.written(this.area.value),
      onchange: () => this.done(),
    })
    this.able = element("p.note", {})
    this.viewer = new Viewer({ moved: (frame) => this.atFrame(frame) })
    this.seen = element("p.note", { dir: "auto" })
    this.result = element(
      "div.result",
      { hidden: true },
      element("h3", {}, t("board.result")),
      this.viewer.element,
      this.seen,
    )
    this.undo = does("undo", () => this.steps.undo(), { keys: "Control+Z" })
    this.redo = does("redo", () => this.steps.redo(), { keys: "Control+Y" })
    this.make = element("button.generate", { type: "button", onclick: () => this.send() }, t("board.make"))
    const tray = element(
      "div.tray",
      { ondragover: (event) => event.preventDefault(), ondrop: (event) => this.dropOnTray(event) },
      element("h3", {}, t("board.pictures")),
      element("p.note", {}, t("board.pictures.note")),
      this.able,
      this.own,
    )
    this.element = element(
      "div.boarding",
      {},
      this.result,
      this.line.element,
      element("p.note", {}, t("board.help")),
      tray,
      element("details", {}, element("summary", {}, t("board.gallery")), this.shelf.place),
      element("details", {}, element("summary", {}, t("board.text")), this.area),
      element(
        "div.acts",
        {},
        this.make,
        this.undo,
        this.redo,
        does("board.save", () => this.save()),
      ),
    )
  }

  /** Read what was kept over a reload. */
  async remember() {
    const before = (await kept(OWN)) ?? (await kept(KEPT))
    tidy(`${KEPT}/`)
    if (before?.text !== undefined && !this.text) this.state = before
    if (this.element.isConnected) this.show(this.state)
  }

  async open() {
    await this.restored
    if (!this.text || this.text === this.begun) this.begin()
    this.show(this.state)
  }

  /** Write a board from the prompt: a card for each of its lines, spread over the shot; or the prompt, if it is a board. */
  begin() {
    const { form } = this.bench
    const written = form.written.prompt.trim()
    const lines = written.split(/\s*\n\s*/)
    const text =
      written && !read(written).errors.length
        ? written
        : this.spread(lines.length > 1 ? lines : [form.prompt || t("board.first")])
    if (text === this.begun) return
    const isFirst = !this.text
    this.text = this.begun = text
    if (isFirst) this.steps.reset({ text, pictures: this.pictures })
    else this.done()
  }

  spread(lines) {
    const { shot } = this.bench.form
    const seconds = shot?.seconds ?? lines.length * SECONDS
    const moments = momentsOf(shot)
    const times = lines.map((_, index) => (seconds * index) / lines.length)
    const snapped = times.map((time) => nearest(moments, time))
    const distinct = new Set(snapped).size === lines.length ? snapped : times
    return lines.map((words, n) => `${hundredths(distinct[n])}s: ${words.replace(/\s+/g, " ").trim()}`).join("\n")
  }

  keep() {
    keep(KEPT, this.state)
    keep(OWN, this.state)
  }

  leave() {
    this.keep()
    this.viewer.close()
    this.result.hidden = true
  }

  // What is shown

  update() {
    const { seconds, frames, fps, latent_frame } = this.bench.form.shot ?? {}
    const shot = seconds ? { seconds, frames, fps, latent_frame } : null
    this.line.show({ text: this.text, shot, images: this.pictures.length, locked: false })
    this.undo.disabled = !this.steps.canUndo
    this.redo.disabled = !this.steps.canRedo
    this.able.textContent = this.bench.form.model.can("storyboard_images").note
    if (this.area.value !== this.text) this.area.value = this.text
    this.shelf.draw()
    this.drawPictures()
    this.drawResult()
  }

  /** The video that was made from the board, to go through frame by frame. */
  drawResult() {
    const video = videos.get(this.made)
    if (video?.status !== "completed" || this.viewer.video?.id === video.id) return
    this.result.hidden = false
    this.viewer.load(video)
    this.viewer.lasts(framesOf(video))
  }

  /** A frame of the result is on the screen: say the words of its card. */
  atFrame(frame) {
    const time = frame / this.viewer.fps + 0.0001
    const card = read(videos.get(this.made)?.storyboard ?? "").cards.findLast((each) => each.time <= time)
    this.seen.textContent = card?.words ?? ""
  }

  show({ text, pictures }) {
    Object.assign(this, { text, pictures })
    this.update()
    this.bench.keepFocus()
  }

  drawPictures() {
    const state = JSON.stringify(this.pictures.map(({ key, id }) => [key, this.isGone(id)]))
    if (state === this.drawn) return
    this.drawn = state
    const focused = this.own.contains(document.activeElement)
    this.own.replaceChildren(...this.pictures.map((picture, index) => this.card(picture, index + 1)))
    this.own.append(element("li", {}, this.adding))
    if (focused) this.input.focus({ preventScroll: true })
  }

  isGone(id) {
    return Boolean(id) && isGone(id, () => this.update())
  }

  card(picture, number) {
    const shown = element("img", { alt: "" })
    address(picture).then(
      (url) => (shown.src = url),
      () => {},
    )
    const put = element(
      "button",
      { type: "button", title: picture.name, onclick: () => this.put(number) },
      shown,
      element("span.number", { "aria-hidden": "true" }, `${number}`),
      element("span.unseen", {}, t("board.put", { number, name: picture.name })),
    )
    const label = t("board.picture.remove", { number })
    const remove = element("button.remove", { type: "button", "aria-label": label, title: label }, "×")
    remove.addEventListener("click", () => this.removePicture(number))
    const gone = this.isGone(picture.id) && element("p.fault", {}, t("bench.gone"))
    return element("li", {}, put, remove, gone)
  }

  // What a person does

  /** The text was written. It is drawn once a frame: one insertion of many lines is an event for each of them. */
  written(text) {
    this.text = text
    this.drawing ??= requestAnimationFrame(() => {
      this.drawing = null
      this.update()
    })
  }

  /** The end of a change: a step of undo. */
  done() {
    this.steps.add({ text: this.text, pictures: this.pictures })
    this.keep()
    this.update()
  }

  key(event) {
    if (!this.steps.key(event) && !this.line.element.contains(event.target)) this.viewer.video && this.viewer.key(event)
  }

  /** Add pictures. The first goes on the card at `time`, a new one if there is none; else the chosen card. */
  add(pictures, { time = null, card = null } = {}) {
    const free = MOST - this.pictures.length
    if (pictures.length > free) this.bench.fault(t("board.many", { count: MOST }))
    const taken = pictures.slice(0, free)
    if (!taken.length) return
    const number = this.pictures.length + 1
    this.pictures = [...this.pictures, ...taken]
    const at = card ?? (time === null ? this.line.selected() : null)
    taken.forEach((_, index) => {
      if (index === 0 && at) this.text = changed(this.text, this.again(at), { image: number, last: null })
      else if (time !== null) this.text = this.withCard(time + index, number + index)
    })
    this.done()
    this.bench.say(t("board.added", { count: taken.length }))
  }

  /** The card of the same line in the text as it is now. */
  again(card) {
    return read(this.text).cards.find((each) => each.line === card.line)
  }

  /** Save the board with the pictures that are in the gallery. Those of the disk stay on the bench. */
  async save() {
    const pictures = this.pictures.filter(({ id }) => id).map(({ key, name, kind, id }) => ({ key, name, kind, id }))
    const place = (number) => pictures.findIndex(({ key }) => key === this.pictures[number - 1]?.key) + 1
    const text = renumbered(this.text, (number) => place(number) || null)
    this.savedAs = await this.bench.save(this.savedAs, { text, pictures })
    this.keep()
    if (pictures.length < this.pictures.length) this.bench.fault(t("board.unsaved"))
  }

  /** Put a saved board on the time line; undo brings back the one before. */
  restore({ id, text, pictures = [] }) {
    Object.assign(this, { text, pictures, savedAs: Boards.opened(id) })
    this.done()
  }

  /** The board that a video was made of, and that video as the result, as the next step of undo. */
  async take(video) {
    const found = await ofBoard(video)
    const pictures = found.filter(Boolean)
    const text = renumbered(video.storyboard, (number) => pictures.indexOf(found[number - 1]) + 1 || null)
    Object.assign(this, { text, pictures, savedAs: null, made: video.id })
    this.done()
    const isLost = ({ image, last }) => image && !found[(last ?? image) - 1]
    if (read(video.storyboard).cards.some(isLost)) this.bench.fault(t("board.lost"))
  }

  /** The text with a card at the first free time from `time` on, that shows image `number`. */
  withCard(time, number) {
    const { cards } = read(this.text)
    let at = Math.round(time * 100) / 100
    while (cards.some((card) => Math.abs(card.time - at) < 0.005)) at = Math.round(at * 100 + 1) / 100
    const before = cards.filter((card) => card.time < at).at(-1)
    const made = added(this.text, cards, at, before?.words || t("board.first"))
    const card = read(made.text).cards.find((each) => each.line === made.line)
    return changed(made.text, card, { image: number, last: null })
  }

  put(number) {
    const card = this.line.selected()
    if (!card) return
    this.text = changed(this.text, card, { image: number, last: null })
    this.done()
    this.bench.say(t("board.placed", { number }))
  }

  removePicture(number) {
    this.text = renumbered(this.text, (n) => (n === number ? null : n > number ? n - 1 : n))
    this.pictures = this.pictures.toSpliced(number - 1, 1)
    this.done()
  }

  async takeFiles(files, where) {
    const found = []
    for (const file of files) {
      const picture = await ofFile(file)
      if (typeof picture === "string")
        this.bench.fault(t(picture, { name: file.name, most: `${MOST_BYTES / 2 ** 20} MB` }))
      else found.push(picture)
    }
    this.input.value = ""
    if (found.length) this.add(found, where)
  }

  drop(transfer, time = null, card = null) {
    const id = carried(transfer)
    const video = videos.get(id)
    if (video?.status === "completed") this.add([ofVideo(video)], { time, card })
    else if (id) this.bench.fault(t("bench.unfinished"))
    else if (transfer.files.length) this.takeFiles([...transfer.files], { time, card })
  }

  dropOnTray(event) {
    event.preventDefault()
    event.stopPropagation()
    this.drop(event.dataTransfer)
  }

  async send() {
    const { shot } = this.bench.form
    const { cards, errors } = read(this.text)
    const wrong = [...errors, ...check(cards, shot?.seconds ?? null, this.pictures.length)]
    if (wrong.length) return this.bench.fault(wrong[0].message)
    const gone = this.pictures.findIndex((picture) => this.isGone(picture.id))
    if (gone >= 0 && cards.some((card) => card.image === gone + 1))
      return this.bench.fault(t("board.gone", { number: gone + 1 }))
    const { text, references, files } = requested(this.text, this.pictures)
    const fields = { prompt: cards[0].words, storyboard: text }
    if (references.length) fields.storyboard_images = references
    const video = await this.bench.send(api.create, fields, files.length ? { storyboard_images: files } : {}, this.make)
    if (video) this.made = video.id
  }
}
