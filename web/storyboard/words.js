/**
 * The words that this pack adds to a page, by their English text. tools/phrases holds the other languages, from which
 * tools/translations.py writes words.LANGUAGE.json. ComfyUI's front end and the studio say which one it is.
 */

const LANGUAGES = ["fr", "ja", "zh"]
let texts = {}

/** A text in the language of the page, with {name} filled from `values`. */
export function t(english, values = {}) {
  return (texts[english] ?? english).replace(/\{(\w+)\}/g, (whole, name) => (name in values ? values[name] : whole))
}

/** Use the language of a tag such as "fr-FR"; English if there are no words in it. */
export async function speakIn(tag) {
  const code = String(tag).toLowerCase().split("-")[0]
  const answer = LANGUAGES.includes(code) && (await fetch(new URL(`words.${code}.json`, import.meta.url)))
  texts = answer && answer.ok ? await answer.json() : {}
}
