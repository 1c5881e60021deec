/**
 * The text of a storyboard: parsed as models/timeline/storyboard.py parses it, and edited one line at a time.
 *
 * tests/storyboards.json tests both, so that they do not drift apart. This file uses no page and no graph. Its messages
 * are Python's in the page's language; the words of a card's line are English in all of them.
 */

import { t } from "./words.js"

/** Seconds: a card that begins sooner than this after the one before follows a cut. */
const CLOSE = 1.0
const expected = () =>
  t("Write one card a line: '2.5s: words', '2.5s cut: words' or '2.5s [image 1, 0.8]: words'.")

const LINE_BREAK = /\r\n|[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]/
/** Characters of a board, characters of a line, and cards. */
const MAX_TEXT = 100000,
  MAX_LINE = 33000,
  MAX_CARDS = 1000

// Each optional part takes the blanks after it, so a line can be parsed in one way only, in linear time.
const TIME = /(?<time>[0-9]{1,9}(?:\.[0-9]{0,20})?|\.[0-9]{1,20})\s*(?:s\s*)?(?<cut>cut\s*)?/
const NUMBERS = /(?<image>[0-9]{1,9})\s*(?:-\s*(?<last>[0-9]{1,9})\s*)?(?:,\s*(?<strength>[0-9.]{1,20})\s*)?/
const CARD = new RegExp(`^${TIME.source}(?:\\[\\s*images?\\s+${NUMBERS.source}\\]\\s*)?:(?<words>.*)$`, "is")

/**
 * The cards of a board in the order of their times, and all its errors. The first error is the one that Python raises.
 *
 * A card has line (from 1), time, words (its own, or the card's before it), cut, close (a cut because of its time),
 * image (or null), last (of a clip's images, or null), strength, and `written`: the parts of its line. A card with an
 * error is in the list, so that it can be corrected; a line that is not a card gives only an error.
 */
export function read(text) {
  const cards = [],
    errors = []
  if (characters(text) > MAX_TEXT) return { cards, errors: [long(t("The storyboard"), characters(text), MAX_TEXT)] }
  const lines = text.split(LINE_BREAK).map((line) => line.trim())
  const count = lines.filter(Boolean).length
  if (count > MAX_CARDS) return { cards, errors: [many(count)] }
  lines.forEach((line, place) => {
    if (!line) return
    if (characters(line) > MAX_LINE) {
      errors.push({ ...long(t("Line {line}", { line: place + 1 }), characters(line), MAX_LINE), line: place + 1 })
      return
    }
    const match = line.match(CARD)
    if (match) cards.push(card(place + 1, match.groups, errors))
    else
      errors.push(
        wrong(place + 1, t("Line {line} ('{start}') is not a card.", { line: place + 1, start: start(line) }), expected()),
      )
  })
  if (!cards.length && !errors.length) errors.push(wrong(null, t("The storyboard is empty."), expected()))
  cards.sort((a, b) => a.time - b.time)
  for (const [before, after] of pairs(cards)) if (before.time === after.time) errors.push(together(before, after))
  if (cards.length && !cards[0].words && cards[0].image !== null)
    errors.push(
      wrong(cards[0].line, t("Line {line}, the first card in time, has no words.", { line: cards[0].line }), expected()),
    )
  for (const [before, after] of pairs(cards)) {
    after.words ||= before.words
    after.close = after.time - before.time < CLOSE
    after.cut ||= after.close
  }
  return { cards, errors }
}

/** Errors of the cards for a shot of `length` seconds and a number of images; either may be unknown (null). */
export function check(cards, length, images) {
  const errors = []
  for (const { line, time, image, last } of cards) {
    if (length !== null && time >= length)
      errors.push(
        wrong(
          line,
          t("Line {line}: the card is at {time} s, but the shot ends at {length} s.", {
            line,
            time: general(time),
            length: cents(length),
          }),
          t("Move the card or make the shot longer."),
        ),
      )
    const end = last || image
    if (image !== null && images !== null && !(1 <= image && image <= end && end <= images))
      errors.push(
        wrong(
          line,
          t("Line {line} names {pictures}, but {count} are connected to 'images'.", {
            line,
            pictures: pictured({ image, last }),
            count: images,
          }),
        ),
      )
  }
  return errors
}

/** The text with some parts of a card's line replaced: time, cut, image, strength, words. */
export function changed(text, card, parts) {
  return replaced(text, card.line, [write({ ...card.written, ...parts })])
}

export function removed(text, card) {
  return replaced(text, card.line, [])
}

/** The text with a new card, and its line number: after the lines of all cards that are earlier in time. */
export function added(text, cards, time, words) {
  const line = Math.max(0, ...cards.filter((card) => card.time < time).map((card) => card.line)) + 1
  const lines = text.trim() ? text.split(LINE_BREAK) : []
  lines.splice(line - 1, 0, write({ time, words }))
  return { text: lines.join("\n"), line }
}

/** Seconds as text: to a hundredth, without zeros at the end. */
export function short(seconds) {
  return String(Number(seconds.toFixed(2)))
}

/** "image 2", or for a clip "images 2-17", in the page's language. */
export function pictured({ image, last }) {
  return last ? t("images {image}-{last}", { image, last }) : t("image {image}", { image })
}

function wrong(line, ...sentences) {
  return { line, message: sentences.join(" ") }
}

function card(line, { time, cut, image, last, strength, words }, errors) {
  const number = Number(strength ?? 1)
  const written = {
    time: Number(time),
    cut: Boolean(cut),
    image: image ? Number(image) : null,
    last: last ? Number(last) : null,
    strength: Number.isNaN(number) ? strength : number,
    words: words.trim(),
  }
  if (!written.words && written.image === null)
    errors.push(wrong(line, t("Line {line} has neither words nor an image.", { line }), expected()))
  else if (!(written.strength >= 0 && written.strength <= 1))
    errors.push(wrong(line, t("Line {line}: the strength '{strength}' is not a number from 0 to 1.", { line, strength })))
  return { line, ...written, written }
}

function long(what, count, most) {
  const numbers = { what, count: grouped(count), most: grouped(most) }
  return wrong(null, t("{what} has {count} characters; up to {most} are read. Shorten it.", numbers))
}

function many(count) {
  const numbers = { count: grouped(count), most: grouped(MAX_CARDS) }
  return wrong(null, t("The storyboard has {count} cards; up to {most} are read. Make two shots.", numbers))
}

function together(before, after) {
  const [first, second] = [before.line, after.line].sort((a, b) => a - b)
  const time = general(after.time)
  return wrong(second, t("Lines {first} and {second} are both at {time} s. Move one of them.", { first, second, time }))
}

function write({ time, cut = false, image = null, last = null, strength = 1, words }) {
  const share = strength === 1 ? "" : `, ${strength}`
  const numbers = last ? `images ${image}-${last}` : `image ${image}`
  const picture = image === null ? "" : ` [${numbers}${share}]`
  return `${time}s${cut ? " cut" : ""}${picture}: ${words.replace(/\s+/g, " ").trim()}`.trimEnd()
}

function replaced(text, line, by) {
  const lines = text.split(LINE_BREAK)
  lines.splice(line - 1, 1, ...by)
  return lines.join("\n")
}

function pairs(list) {
  return list.slice(1).map((each, place) => [list[place], each])
}

/** The first 60 characters, as Python counts them. */
function start(line) {
  return [...line].slice(0, 60).join("")
}

/** The number of characters as Python counts them: a surrogate pair is one. */
function characters(text) {
  return [...text].length
}

/** With commas between thousands, as Python's :, */
function grouped(count) {
  return count.toLocaleString("en-US")
}

/** Six digits at most, as Python's :g. */
function general(seconds) {
  return String(Number(seconds.toPrecision(6)))
}

/** Two decimals, rounded half to even, as Python prints them. */
export function cents(seconds) {
  const hundred = seconds * 100,
    floor = Math.floor(hundred)
  const whole = hundred - floor === 0.5 ? floor + (floor % 2) : Math.round(hundred)
  return (whole / 100).toFixed(2)
}
