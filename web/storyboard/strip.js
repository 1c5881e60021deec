/** The cards as blocks on a time line, to drag and to move with the keyboard. All changes go through `actions`. */

import { pictured, short } from "./board.js"
import { make, set } from "./elements.js"
import { FINE, hundredths, nearest, next } from "./moments.js"
import { t } from "./words.js"

const LABEL_ROOM = 46,
  TICK_ROOM = 4 // pixels
const LABEL_STEPS = [0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600]
const DRAG_FROM = 3 // pixels: less is a click
const FADE = 0.5 // seconds over which the colour of the card before fades into that of a card that flows
const HUES = [212, 276, 168, 42, 316, 190, 248, 96]
/** If the shot's end is unknown, the line extends past the last card by this share of its time, at least a second. */
const ROOM = 0.25

/**
 * `actions`: select(line), edit(), move(card, time), add(time), remove(card), toggle(card), done() at the end of a drag,
 * and drop(transfer, time, line), or null if nothing can be dropped here.
 */
export function makeStrip(actions) {
  const ruler = make("div", { className: "ruler", "aria-hidden": "true" })
  const lane = make("div", { className: "lane", role: "group" })
  const element = make("div", { className: "strip" }, ruler, lane)
  const blocks = new Map() // line -> its element
  let shown = { cards: [], errors: [], shot: null, moments: null, selected: null, whole: 1 }
  let drag = null

  new ResizeObserver(() => rule()).observe(ruler)
  element.addEventListener("dblclick", (event) => actions.add(nearest(shown.moments, timeAt(event))))

  if (actions.drop) {
    element.addEventListener("dragover", (event) => event.preventDefault())
    element.addEventListener("drop", (event) => {
      event.preventDefault()
      event.stopPropagation()
      const [line = null] = [...blocks].find(([, block]) => block.contains(event.target)) ?? []
      actions.drop(event.dataTransfer, nearest(shown.moments, timeAt(event)), line)
    })
  }

  function draw(state) {
    const whole = drag ? shown.whole : wholeOf(state)
    shown = { ...state, whole }
    set(lane, {
      "aria-label": [
        t("Time line: {count} cards in {seconds} seconds.", {
          count: state.cards.length,
          seconds: short(state.shot?.seconds ?? whole),
        }),
        t("Arrow keys move a card and go from card to card, Enter edits, Delete removes."),
      ].join(" "),
    })
    const lines = new Set(state.cards.map((card) => card.line))
    for (const [line, block] of blocks)
      if (!lines.has(line)) {
        block.remove()
        blocks.delete(line)
      }
    state.cards.forEach((card, place) => drawCard(card, place))
    if (!drag) order()
    lane.style.setProperty("--end", percent(Math.min(state.shot?.seconds ?? whole, whole)))
    rule()
  }

  /** Put the cards into the page in the order of their times. A moved element loses the focus, so restore it. */
  function order() {
    const focused = document.activeElement
    shown.cards.forEach(({ line }, place) => {
      const block = blocks.get(line),
        there = lane.children[place]
      if (there !== block) lane.insertBefore(block, there)
    })
    if (lane.contains(focused) && document.activeElement !== focused) focused.focus({ preventScroll: true })
  }

  function drawCard(card, place) {
    if (!blocks.has(card.line)) blocks.set(card.line, lane.appendChild(makeBlock(card.line)))
    const block = blocks.get(card.line),
      { cards, errors, selected, whole } = shown
    const until = cards[place + 1]?.time ?? Math.max(whole, card.time)
    const held = place ? card.time : 0,
      length = Math.max(until - held, 1e-6)
    const wrong = errors.some((error) => error.line === card.line)
    const how = place ? (card.cut ? t("after a cut") : t("flows")) : t("the start")
    const [seconds, words] = [short(card.time), card.words || t("no words")]
    block.className = ["card", wrong && "wrong", card.cut && place && "cut", selected === card.line && "selected"]
      .filter(Boolean)
      .join(" ")
    const fade = place && !card.cut ? Math.min(FADE, length) / length : 0
    set(block, {
      "--from": percent(held),
      "--length": percent(length),
      "--hue": hue(place),
      "--hue-before": hue(place - 1),
      "--fade": `${fade * 100}%`,
      "--head": `${((card.time - held) / length) * 100}%`,
      tabindex: selected === card.line ? 0 : -1,
      "aria-label": t("Card {number} of {count}: {words}", { number: place + 1, count: cards.length, words }),
      "aria-valuemin": "0",
      "aria-valuemax": short(whole),
      "aria-valuenow": short(card.time),
      "aria-valuetext": [t("{seconds} seconds", { seconds }), how, card.image !== null && pictured(card)]
        .filter(Boolean)
        .join(", "),
      "aria-invalid": wrong ? "true" : null,
      title: `${seconds} s, ${how}: ${card.words}`,
    })
    const [time, image, text] = block.children
    set(time, { textContent: `${seconds} s` })
    set(image, {
      textContent: card.image === null ? "" : pictured(card),
      hidden: card.image === null,
      "--strength": card.strength,
    })
    set(text, { textContent: card.words })
  }

  function makeBlock(line) {
    const parts = ["time", "image", "words"].map((className) => make("span", { className }))
    parts[2].dir = "auto"
    return make(
      "div",
      {
        role: "slider",
        on: {
          pointerdown: (event) => grab(event, line),
          pointermove: pull,
          pointerup: letGo,
          pointercancel: letGo,
          keydown: (event) => key(event, line),
          focus: () => actions.select(line),
        },
      },
      ...parts,
    )
  }

  function grab(event, line) {
    if (event.button) return
    event.preventDefault() // selects no text, but sets no focus either
    event.currentTarget.focus({ preventScroll: true })
    event.currentTarget.setPointerCapture(event.pointerId)
    drag = { line, from: event.clientX, time: cardOf(line).time, moved: false }
  }

  function pull(event) {
    if (!drag) return
    if (!drag.moved && Math.abs(event.clientX - drag.from) < DRAG_FROM) return
    drag.moved = true
    const time = drag.time + ((event.clientX - drag.from) / lane.getBoundingClientRect().width) * shown.whole
    moveTo(drag.line, event.shiftKey ? hundredths(time) : nearest(shown.moments, time))
  }

  function letGo(event) {
    if (!drag) return
    const { moved, line } = drag
    drag = null
    if (moved) {
      actions.select(line)
      actions.done()
    } else if (event.type === "pointerup") actions.edit()
  }

  function key(event, line) {
    const card = cardOf(line),
      place = shown.cards.indexOf(card),
      last = shown.cards.length - 1
    const does = {
      ArrowLeft: () => nudge(card, -1, event.shiftKey),
      ArrowRight: () => nudge(card, 1, event.shiftKey),
      ArrowUp: () => focus(shown.cards[Math.max(0, place - 1)].line),
      ArrowDown: () => focus(shown.cards[Math.min(last, place + 1)].line),
      Home: () => focus(shown.cards[0].line),
      End: () => focus(shown.cards[last].line),
      Enter: () => actions.edit(),
      Delete: () => actions.remove(card),
      Backspace: () => actions.remove(card),
      c: () => actions.toggle(card),
    }[event.key]
    if (!does || event.ctrlKey || event.metaKey || event.altKey) return
    event.preventDefault()
    event.stopPropagation() // or ComfyUI would remove or move the node
    does()
  }

  /** Move a card to the next moment that no other card has. */
  function nudge(card, direction, fine) {
    let time = card.time
    do {
      const before = time
      time = fine ? hundredths(time + direction * FINE) : next(shown.moments, time, direction)
      if (time === before || time < 0) return
    } while (taken(time, card.line))
    moveTo(card.line, time)
    actions.done()
  }

  function moveTo(line, time) {
    const end = shown.shot ? Math.max(0, shown.shot.seconds - FINE) : Infinity
    const last = shown.shot ? shown.moments.at(shown.moments.index(end)) : Infinity
    const within = Math.max(0, time > end ? last : time)
    if (within !== cardOf(line).time && !taken(within, line)) actions.move(cardOf(line), within)
  }

  function taken(time, line) {
    return shown.cards.some((card) => card.line !== line && Math.abs(card.time - time) < FINE / 2)
  }

  function rule() {
    const width = ruler.clientWidth
    if (!width) return
    const { whole, moments, shot } = shown,
      room = whole / width
    const step = LABEL_STEPS.find((each) => each >= LABEL_ROOM * room) ?? Math.ceil((LABEL_ROOM * room) / 600) * 600
    const marks = []
    for (let time = 0; time < whole - (LABEL_ROOM / 2) * room; time += step)
      marks.push(make("span", { className: "label", textContent: `${short(time)} s`, "--at": percent(time) }))
    const every = moments?.at(2) - moments?.at(1)
    if (shot?.latent_frame && every >= TICK_ROOM * room)
      for (let index = 0; moments.at(index) < shot.seconds; index++)
        marks.push(make("i", { className: "tick", "--at": percent(moments.at(index)) }))
    ruler.replaceChildren(...marks)
  }

  function focus(line) {
    blocks.get(line)?.focus({ preventScroll: true })
  }

  function cardOf(line) {
    return shown.cards.find((card) => card.line === line)
  }

  function timeAt(event) {
    const { left, width } = lane.getBoundingClientRect()
    return Math.max(0, ((event.clientX - left) / width) * shown.whole)
  }

  function percent(seconds) {
    return `${(seconds / shown.whole) * 100}%`
  }

  return { element, draw, focus }
}

/** Seconds from one end of the line to the other. */
function wholeOf({ cards, shot }) {
  const last = cards.at(-1)?.time ?? 0,
    behind = last + Math.max(1, last * ROOM)
  return !shot ? behind : last < shot.seconds ? shot.seconds : behind
}

/** A hue that differs from the neighbours'. None is red, which marks errors. */
function hue(place) {
  return HUES[(place + HUES.length) % HUES.length]
}
