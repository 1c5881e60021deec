// The page's words: `t` gives a text by its key in the page's language, from locales/LANGUAGE.json.

import { language as chosen } from "./kept.js"
import { speakIn as timeLineIn } from "./storyboard/words.js"

/** The languages of the page, each by its own name. */
export const LANGUAGES = { en: "English", fr: "Français", zh: "中文", ja: "日本語" }

let texts = {}
let numbers, counts, ordinals

/**
 * The text of `key`, with {name} filled from `values`. Numbers are written as the language writes them; pass text for a
 * number that must stay as it is. A text with several forms takes that of `values.count`, or of `values.ordinal` (1st).
 */
export function t(key, values = {}) {
  const text = texts[key] ?? key
  const form = () => ("ordinal" in values ? ordinals.select(values.ordinal) : counts.select(values.count))
  const said = typeof text === "string" ? text : (text[form()] ?? text.other)
  return said.replace(/\{(\w+)\}/g, (whole, name) => (name in values ? written(values[name]) : whole))
}

/** Whether the page has a text of this key. */
export const has = (key) => key in texts

const written = (value) => (typeof value === "number" ? numbers.format(value) : String(value))

/** The code of the page's language. */
export const language = () => document.documentElement.lang

/** Give an element the text of a key, which changes with the language. Returns the element. */
export function worded(place, key) {
  place.dataset.t = key
  place.textContent = t(key)
  return place
}

const ATTRIBUTES = ["placeholder", "aria-label", "label"]

/** Write the texts of all elements that name a key: `data-t` for their text, `data-t-NAME` for an attribute. */
function translate() {
  for (const place of document.querySelectorAll("[data-t]")) place.textContent = t(place.dataset.t)
  for (const name of ATTRIBUTES)
    for (const place of document.querySelectorAll(`[data-t-${name}]`))
      place.setAttribute(name, t(place.getAttribute(`data-t-${name}`)))
}

async function load(code) {
  const answer = await fetch(new URL(`locales/${code}.json`, import.meta.url))
  if (!answer.ok) throw new Error(`locales/${code}.json: ${answer.status}`)
  texts = await answer.json()
  await timeLineIn(code)
  document.documentElement.lang = code
  numbers = new Intl.NumberFormat(code, { maximumFractionDigits: 2 })
  counts = new Intl.PluralRules(code)
  ordinals = new Intl.PluralRules(code, { type: "ordinal" })
  translate()
}

/** Change the language. Afterwards the document gets a "language" event, to draw again what was drawn with words. */
export async function speakIn(code) {
  await load(code)
  chosen.set(code)
  document.dispatchEvent(new Event("language"))
}

/** The language chosen last time, else the first of the browser's that the page has. */
function preferred() {
  const wanted = [chosen.get(), ...navigator.languages].map((tag) => String(tag).toLowerCase().split("-")[0])
  return wanted.find((code) => code in LANGUAGES) ?? "en"
}

await load(preferred())
