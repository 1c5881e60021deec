/** The chosen card's time, kind, image and words, to be written by hand. It changes nothing by itself. */

import { short } from "./board.js"
import { make, set } from "./elements.js"

/**
 * `actions` are what a person asks for: change(card, parts), add(), remove(card), toggle(card), leave() back to the
 * card on the line, and done() at the end of a change.
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
    "Seconds from the start of the shot",
    { min: 0, step: "any", className: "time" },
    {
      change: () => {
        if (time.value >= 0 && time.value !== "") give({ time: Number(time.value) })
        actions.done()
      },
    },
  )
  const image = number(
    "Number of the image that is seen here, or a clip's first and last, as 2-17; empty for none",
    {
      type: "text",
      inputMode: "numeric",
      placeholder: "–",
    },
    {
      input: () => {
        const [found, first, last] = image.value.trim().match(/^(?:(\d+)(?:\s*-\s*(\d+))?)?$/) ?? []
        if (found !== undefined) give({ image: first ? Number(first) : null, last: last ? Number(last) : null })
      },
    },
  )
  const strength = number(
    "How strictly the image is kept, 0 to 1",
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
  const more = button("+", "Add a card behind this one", () => actions.add())
  const less = button("×", "Remove this card", () => {
    if (card) actions.remove(card)
  })
  const words = make("textarea", {
    rows: 2,
    spellcheck: false,
    "aria-label": "Words: what is seen from this card on",
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
    make("label", {}, "image", image),
    make("label", {}, "strength", strength),
    make("span", { className: "space" }),
    more,
    less,
  )
  const element = make("div", { className: "fields", role: "group" }, row, words)

  function draw(state) {
    const place = state.cards.findIndex((each) => each.line === state.selected)
    card = state.cards[place] ?? null
    set(element, { "aria-label": card ? `Card ${place + 1} of ${state.cards.length}` : "No card" })
    for (const field of [time, image, strength, words, cut, less]) field.disabled = !card || state.locked
    more.disabled = state.locked
    if (!card) {
      for (const field of [time, image, strength, words]) field.value = ""
      set(cut, { textContent: "flow", title: "", "aria-pressed": "false" })
      return
    }
    show(time, short(card.time))
    show(image, card.last ? `${card.image}-${card.last}` : (card.image ?? ""))
    show(strength, card.image === null ? "" : card.strength)
    strength.disabled ||= card.image === null
    if (words.value.replace(/\s+/g, " ").trim() !== card.written.words) words.value = card.written.words
    set(words, { placeholder: card.words ? `goes on: ${card.words}` : "what is seen" })
    const first = place === 0
    cut.disabled ||= first || (card.close && !card.written.cut)
    set(cut, {
      textContent: card.cut && !first ? "cut" : "flow",
      "aria-pressed": String(Boolean(card.cut && !first)),
      title: first
        ? "The first card begins the shot"
        : card.close && !card.written.cut
          ? "Less than a second after the card before: it is cut to"
          : card.cut
            ? "Cuts: nothing flows over from the card before. Click to let it flow"
            : "Flows: the card before fades into this one. Click to cut",
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

  /** Bring a field up to date, but not under the hands of who is writing in it. */
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
