/**
 * The time line of a storyboard: a strip of cards, error messages, and the chosen card's fields. It reads and writes
 * the board's text, which is its only state, beside the line number of the chosen card.
 */

import { added, cents, changed, check, read, removed } from "./board.js"
import { make, set } from "./elements.js"
import { makeFields } from "./fields.js"
import { FINE, hundredths, momentsOf, nearest } from "./moments.js"
import { makeStrip } from "./strip.js"
import { t } from "./words.js"

/** Height of the whole time line in pixels. */
export const HEIGHT = 212

/**
 * `write(text)` sets the board's text, `done()` marks the end of a change (a step of undo), `point(line)` selects a
 * line of the text. `drop(transfer, time, card)`, if given, takes what is dropped at a time, on a card or on none. Call
 * `show({text, shot, images, locked})` to draw.
 */
export function makeTimeLine({ write, done, point, drop = null }) {
  let given = { text: "", shot: null, images: null, locked: false }
  let state = { cards: [], errors: [] }
  let selected = null

  const strip = makeStrip({
    select: (line) => {
      selected = line
      draw()
    },
    edit: () => fields.edit(false),
    done,
    move: (card, time) => change(card, { time: hundredths(time) }),
    add: add,
    remove,
    toggle,
    drop: drop && ((transfer, time, line) => drop(transfer, time, state.cards.find((card) => card.line === line) ?? null)),
  })
  const fields = makeFields({ change, add: addAfter, remove, toggle, done, leave: () => strip.focus(selected) })
  const message = make("div", { className: "message", role: "status" })
  const element = make(
    "div",
    { className: "atelier-storyboard", on: { keydown: keep } },
    strip.element,
    message,
    fields.element,
  )

  function show(now) {
    given = now
    const { cards, errors } = read(given.text)
    state = { cards, errors: [...errors, ...check(cards, given.shot?.seconds ?? null, given.images)] }
    if (!cards.some((card) => card.line === selected)) selected = cards[0]?.line ?? null
    draw()
  }

  function draw() {
    const drawn = { ...state, ...given, selected, moments: momentsOf(given.shot) }
    element.classList.toggle("locked", given.locked)
    strip.draw(drawn)
    fields.draw(drawn)
    set(message, { className: state.errors.length && !given.locked ? "message wrong" : "message" })
    message.replaceChildren(...summary())
  }

  function summary() {
    if (given.locked) return [t("The board's text comes from another node.")]
    if (state.errors.length) return state.errors.map(problem)
    const count = state.cards.length
    const cuts = state.cards.filter((card, place) => place && card.cut).length
    const parts = [
      count === 1 ? t("1 card") : t("{count} cards", { count }),
      cuts === 1 ? t("1 cut") : t("{count} cuts", { count: cuts }),
      given.shot ? `${cents(given.shot.seconds)} s` : t("length known when the graph runs"),
    ]
    return [parts.join(" · ")]
  }

  function problem({ line, message: text }) {
    if (line === null) return make("p", { textContent: text })
    const show = () => {
      if (state.cards.some((card) => card.line === line)) {
        selected = line
        draw()
      }
      point(line)
    }
    return make("button", { type: "button", textContent: text, title: t("Show line {line}", { line }), on: { click: show } })
  }

  /** Keep Delete and Backspace from ComfyUI, which would remove the node: here they remove cards and letters. */
  function keep(event) {
    if (event.key === "Delete" || event.key === "Backspace") event.stopPropagation()
  }

  function put(text) {
    write(text)
    show({ ...given, text })
  }

  function change(card, parts) {
    if (!given.locked) put(changed(given.text, card, parts))
  }

  function toggle(card) {
    if (state.cards.indexOf(card) > 0) change(card, { cut: !card.written.cut })
  }

  function remove(card) {
    if (given.locked) return
    const place = state.cards.findIndex((each) => each.line === card.line)
    const neighbour = state.cards[place + 1] ?? state.cards[place - 1]
    selected = neighbour ? neighbour.line - (neighbour.line > card.line ? 1 : 0) : null
    put(removed(given.text, card))
    if (neighbour) strip.focus(selected)
    else fields.focusAdd()
    done()
  }

  /** Add a card at a time, or at the next free one, with the words of the card before it, selected for overwriting. */
  function add(time) {
    if (given.locked) return
    let at = hundredths(time)
    while (state.cards.some((card) => Math.abs(card.time - at) < FINE / 2)) at = hundredths(at + FINE)
    const before = state.cards.filter((card) => card.time < at).at(-1)
    const board = added(given.text, state.cards, at, before?.words || t("what the video shows"))
    selected = board.line
    put(board.text)
    fields.edit(true)
    done()
  }

  /** Add a card half way between the chosen one and the next, or the end. */
  function addAfter() {
    const place = state.cards.findIndex((card) => card.line === selected),
      moments = momentsOf(given.shot)
    if (place < 0) return add(0)
    const { time } = state.cards[place]
    const until = state.cards[place + 1]?.time ?? Math.max(given.shot?.seconds ?? 0, time + 2)
    const middle = nearest(moments, (time + until) / 2)
    add(time < middle && middle < until ? middle : (time + until) / 2)
  }

  return { element, show, selected: () => state.cards.find((card) => card.line === selected) ?? null }
}
