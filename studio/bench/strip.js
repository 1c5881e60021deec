// The pieces of a re-cut in a row: a ruler to point and mark with, and below it the pieces to drag, with ends to trim.

import { element } from "../element.js"
import { t } from "../language.js"
import { number } from "../words.js"
import { lengthOf } from "./pieces.js"

const DRAG_FROM = 4 // pixels: less is a click
const EDGE = 12 // pixels of a piece's end that trim it
const LABEL_ROOM = 56 // pixels
const [PIECE_ROOM, MOST_ROOM] = [28, 6000] // pixels of a piece on average, and of all pieces; more than fits is scrolled
const LABEL_STEPS = [0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 120, 300]

export class Strip {
  #drag = null
  #state = { pieces: [], whole: 0 }

  /** `acts`: choose(index), goTo(frame), range([start, end] or null), move(index, place), trim(index, side, by, done). */
  constructor(acts) {
    this.acts = acts
    this.ruler = element("div.ruler", {
      "aria-hidden": "true",
      onpointerdown: (event) => this.#point(event),
      onpointermove: (event) => this.#sweep(event),
      onpointerup: () => (this.#drag = null),
      onpointercancel: () => (this.#drag = null),
    })
    this.list = element("ol.pieces", { "aria-label": t("recut.pieces") })
    this.needle = element("i.needle", { "aria-hidden": "true" })
    this.marked = element("i.marked", { "aria-hidden": "true", hidden: true })
    this.lane = element("div.lane", {}, this.ruler, this.list, this.marked, this.needle)
    this.element = element("div.cutting", {}, this.lane)
    new ResizeObserver(() => this.#rule()).observe(this.ruler)
  }

  /** Draw {pieces, chosen, cursor, range, fps, frames, whole}. */
  draw(state) {
    this.#state = state
    const { pieces, whole, range } = state
    this.lane.style.minWidth = `${Math.min(pieces.length * PIECE_ROOM, MOST_ROOM)}px`
    while (this.list.children.length > pieces.length) this.list.lastChild.remove()
    while (this.list.children.length < pieces.length) this.list.append(this.#made(this.list.children.length))
    pieces.forEach((piece, index) => this.#piece(piece, index))
    this.marked.hidden = !range
    if (range) {
      this.marked.style.left = `${(range[0] / whole) * 100}%`
      this.marked.style.width = `${((range[1] - range[0]) / whole) * 100}%`
    }
    this.point(state.cursor)
    this.#rule()
  }

  point(cursor) {
    const share = cursor / Math.max(1, this.#state.whole)
    this.needle.style.left = `${share * 100}%`
    const { clientWidth, scrollLeft } = this.element
    const [at, room] = [share * this.lane.offsetWidth, this.lane.offsetWidth - clientWidth]
    if (room > 0 && !this.#drag && (at < scrollLeft || at > scrollLeft + clientWidth))
      this.element.scrollLeft = at - clientWidth / 2
  }

  focus(index) {
    this.list.children[index]?.firstChild.focus({ preventScroll: true })
  }

  /** A frame of the clip can be drawn: draw it on the pieces that begin with it. */
  come(frame, frames) {
    this.#state.pieces.forEach((piece, index) => {
      if (piece.from === frame) frames.draw(this.list.children[index].querySelector("canvas"), frame)
    })
  }

  #made(index) {
    const button = element(
      "button.piece",
      {
        type: "button",
        onpointerdown: (event) => this.#grab(event, index),
        onpointermove: (event) => this.#pull(event),
        onpointerup: (event) => this.#drop(event),
        onpointercancel: () => this.#cancel(),
        onclick: (event) => event.detail === 0 && this.acts.choose(index),
        onkeydown: (event) => this.#key(event, index),
      },
      element("canvas", { "aria-hidden": "true", width: 1, height: 1 }),
      element("span.label", {}),
    )
    return element("li", {}, button)
  }

  #piece(piece, index) {
    const { fps, chosen, frames, pieces } = this.#state
    const place = this.list.children[index]
    const button = place.firstChild
    const [canvas, label] = button.children
    place.style.flexGrow = lengthOf(piece)
    button.classList.toggle("gap", Boolean(piece.gap))
    const seconds = number(lengthOf(piece) / fps)
    label.textContent = piece.gap
      ? t("recut.gap.label", { seconds })
      : `${number(piece.from / fps)}–${number(piece.to / fps)}`
    canvas.hidden = Boolean(piece.gap)
    if (!piece.gap) frames?.draw(canvas, piece.from)
    const name = piece.gap
      ? t("recut.gap.label", { seconds })
      : t("recut.piece", { from: number(piece.from / fps), to: number(piece.to / fps) })
    button.setAttribute("aria-label", t("recut.piece.of", { number: index + 1, of: pieces.length, name }))
    if (index === chosen) button.setAttribute("aria-current", "true")
    else button.removeAttribute("aria-current")
    button.tabIndex = index === chosen ? 0 : -1
  }

  #key(event, index) {
    const last = this.#state.pieces.length - 1
    const to = { ArrowLeft: index - 1, ArrowRight: index + 1, Home: 0, End: last }[event.key]
    if (to === undefined || event.altKey || to < 0 || to > last) return
    event.preventDefault()
    this.acts.choose(to)
    this.focus(to)
  }

  // Dragging a piece, or one of its ends

  #grab(event, index) {
    if (event.button) return
    const { left, right } = event.currentTarget.getBoundingClientRect()
    const side = event.clientX - left < EDGE ? "start" : right - event.clientX < EDGE ? "end" : null
    event.currentTarget.setPointerCapture(event.pointerId)
    this.#drag = { index, side, from: event.clientX, moved: false, place: index, button: event.currentTarget }
  }

  #pull(event) {
    const drag = this.#drag
    if (!drag?.button) return
    const away = event.clientX - drag.from
    if (!drag.moved && Math.abs(away) < DRAG_FROM) return
    drag.moved = true
    if (drag.side) return this.acts.trim(drag.index, drag.side, this.#by(away), false)
    drag.button.classList.add("dragged")
    drag.button.style.transform = `translateX(${away}px)`
    drag.place = this.#placeAt(event.clientX)
    for (const [index, each] of [...this.list.children].entries()) each.classList.toggle("before", index === drag.place)
  }

  #drop(event) {
    const drag = this.#drag
    this.#cancel()
    if (!drag?.button) return
    if (!drag.moved) this.acts.choose(drag.index)
    else if (drag.side) this.acts.trim(drag.index, drag.side, this.#by(event.clientX - drag.from), true)
    else if (drag.place !== drag.index && drag.place !== drag.index + 1) this.acts.move(drag.index, drag.place)
  }

  #cancel() {
    const button = this.#drag?.button
    if (button) {
      button.classList.remove("dragged")
      button.style.transform = ""
    }
    for (const each of this.list.children) each.classList.remove("before")
    this.#drag = null
  }

  /** The place among the pieces that a pointer is nearest to: before the piece of that index, or after the last. */
  #placeAt(x) {
    const middles = [...this.list.children].map((each) => {
      const { left, width } = each.getBoundingClientRect()
      return left + width / 2
    })
    const place = middles.findIndex((middle) => x < middle)
    return place < 0 ? middles.length : place
  }

  #by(pixels) {
    return Math.round((pixels / this.list.getBoundingClientRect().width) * this.#state.whole)
  }

  // The ruler

  #frameAt(event) {
    const { left, width } = this.ruler.getBoundingClientRect()
    return Math.max(0, Math.min(this.#state.whole, Math.round(((event.clientX - left) / width) * this.#state.whole)))
  }

  #point(event) {
    if (event.button) return
    event.currentTarget.setPointerCapture(event.pointerId)
    const frame = this.#frameAt(event)
    this.#drag = { ruler: frame }
    this.acts.range(null)
    this.acts.goTo(frame)
  }

  #sweep(event) {
    if (this.#drag?.ruler === undefined) return
    const frame = this.#frameAt(event)
    this.acts.goTo(Math.min(frame, this.#state.whole - 1))
    this.acts.range([Math.min(this.#drag.ruler, frame), Math.max(this.#drag.ruler, frame)])
  }

  #rule() {
    const { whole, fps } = this.#state
    const width = this.ruler.clientWidth
    if (!width || !whole) return this.ruler.replaceChildren()
    const seconds = whole / fps
    const step = LABEL_STEPS.find((each) => (each / seconds) * width >= LABEL_ROOM) ?? seconds
    const labels = []
    for (let time = 0; time < seconds - (LABEL_ROOM / 2 / width) * seconds; time += step) {
      const label = element("span", {}, t("seconds.short", { count: Math.round(time * 100) / 100 }))
      label.style.left = `${(time / seconds) * 100}%`
      labels.push(label)
    }
    this.ruler.replaceChildren(...labels)
  }
}
