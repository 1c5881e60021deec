/** Fields for the chosen card's time, cut, image and words. All changes go through `actions`. */

import { short } from "./board.js"
import { make, set } from "./elements.js"
import { t } from "./words.js"

/**
 * `actions`: change(card, parts), add(), remove(card), toggle(card), leave() to put the focus back on the card in the
 * line, and done() at the end of a change.
 */
export function makeFields(actions) {
  let card = null
  const number = (title, given, on) =>
    make("input", {
      type: "number",
      title,
      "aria-label": title,
      ...given,
      on: { change: () => actions.done(), keydown: leaveOnEscape, ...on },
    })
  const button = (text, title, does) =>
    make("button", { type: "button", textContent: text, title, "aria-label": title, on: { click: does } })

  const time = number(
    t("Seconds from the start of the shot"),
    { min: 0, step: "any", className: "time" },
    {
      change: () => {
        if (time.value >= 0 && time.value !== "") give({ time: Number(time.value) })
        actions.done()
      },
    },
  )
  const image = number(
    t("Number of the image to show here, or a clip's first and last, such as 2-17; empty for none"),
    {
      type: "text",
      inputMode: "numeric",
      placeholder: "–",
    },
    {
      input: () => {
        const [match, first, last] = image.value.trim().match(/^(?:(\d+)(?:\s*-\s*(\d+))?)?$/) ?? []
        if (match !== undefined) give({ image: first ? Number(first) : null, last: last ? Number(last) : null })
      },
    },
  )
  const strength = number(
    t("How strictly to keep the image, 0 to 1"),
    { min: 0, max: 1, step: 0.05 },
    {
      input: () => give({ strength: strength.value === "" ? 1 : Math.min(1, Math.max(0, strength.value)) }),
    },
  )
  const cut = button("", "", () => {
    if (card) {
      actions.toggle(card)
      actions.done()
    }
  })
  cut.className = "cut"
  const more = button("+", t("Add a card after this one"), () => actions.add())
  const less = button("×", t("Remove this card"), () => {
    if (card) actions.remove(card)
  })
  const words = make("textarea", {
    rows: 2,
    dir: "auto",
    spellcheck: false,
    "aria-label": t("Prompt from this card on"),
    on: {
      input: () => give({ words: words.value }),
      change: () => actions.done(),
      keydown: (event) => {
        if (event.key === "Enter" && !event.isComposing) {
          event.preventDefault()
          actions.leave()
        }
        leaveOnEscape(event)
      },
    },
  })
  const row = make(
    "div",
    { className: "row" },
    make("label", {}, time, "s"),
    cut,
    make("label", {}, t("image"), image),
    make("label", {}, t("strength"), strength),
    make("span", { className: "space" }),
    more,
    less,
  )
  const element = make("div", { className: "fields", role: "group" }, row, words)

  function draw(state) {
    const place = state.cards.findIndex((each) => each.line === state.selected)
    card = state.cards[place] ?? null
    set(element, { "aria-label": card ? t("Card {number} of {count}", { number: place + 1, count: state.cards.length }) : t("No card") })
    for (const field of [time, image, strength, words, cut, less]) field.disabled = !card || state.locked
    more.disabled = state.locked
    if (!card) {
      for (const field of [time, image, strength, words]) field.value = ""
      set(cut, { textContent: t("flow"), title: "", "aria-pressed": "false" })
      return
    }
    show(time, short(card.time))
    show(image, card.last ? `${card.image}-${card.last}` : (card.image ?? ""))
    show(strength, card.image === null ? "" : card.strength)
    strength.disabled ||= card.image === null
    if (words.value.replace(/\s+/g, " ").trim() !== card.written.words) words.value = card.written.words
    set(words, { placeholder: card.words ? t("continues: {words}", { words: card.words }) : t("what the video shows") })
    const first = place === 0
    cut.disabled ||= first || (card.close && !card.written.cut)
    set(cut, {
      textContent: card.cut && !first ? t("cut") : t("flow"),
      "aria-pressed": String(Boolean(card.cut && !first)),
      title: first
        ? t("The first card begins the shot")
        : card.close && !card.written.cut
          ? t("A cut, because the card before is less than a second earlier")
          : card.cut
            ? t("A cut: this card begins a new scene. Click to let it flow")
            : t("Flows: this card continues the one before. Click to cut"),
    })
    cut.setAttribute("aria-label", cut.title)
  }

  function give(parts) {
    if (card) actions.change(card, parts)
  }

  function leaveOnEscape(event) {
    if (event.key === "Escape") {
      event.stopPropagation()
      actions.leave()
    }
  }

  /** Update a field unless the person is writing in it. */
  function show(field, value) {
    if (document.activeElement !== field && field.value !== String(value)) field.value = value
  }

  function edit(all) {
    words.focus({ preventScroll: true })
    if (all) words.select()
    else words.setSelectionRange(words.value.length, words.value.length)
  }

  return { element, draw, edit, focusAdd: () => more.focus({ preventScroll: true }) }
}
