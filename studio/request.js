// Turns the form's values into an API call, and checks them before anything is sent.

import * as api from "./api.js"
import { t } from "./language.js"

const LONGEST_PROMPT = 32000

/** The number fields: their ranges. The message for a value outside them is the text `fault.FIELD`. */
const NUMBERS = {
  seed: { whole: true, min: 0, max: Number.MAX_SAFE_INTEGER },
  num_inference_steps: { whole: true, min: 1, max: 1000 },
  guidance_scale: { min: 0, max: 100 },
  fps: { min: 1, max: 240 },
}

const plain = (text) => text.trim().replace(",", ".")

/** [[field, message]] of the wrong values, in the order of the form. */
export function faults(values) {
  const wrong = []
  const long = values.prompt.length
  if (!long) wrong.push(["prompt", t("fault.prompt")])
  if (long > LONGEST_PROMPT)
    wrong.push(["prompt", t("fault.prompt.long", { most: String(LONGEST_PROMPT), length: String(long) })])
  for (const [field, { whole, min, max }] of Object.entries(NUMBERS)) {
    const text = plain(values[field] ?? "")
    const fits = Number(text) >= min && Number(text) <= max && (!whole || /^\d+$/.test(text))
    if (text && !fits) wrong.push([field, t(`fault.${field}`)])
  }
  return wrong
}

const CALLS = {
  generate: ({ seconds, size, quality, loop, first, last, sound }) => ({
    call: api.create,
    fields: { seconds, size, quality: quality === "high" ? quality : null, loop: loop || null },
    files: {
      ...(first && { input_reference: first }),
      ...(last && { last_frame: last }),
      ...(sound && { audio_reference: sound }),
    },
  }),
  edit: ({ strength }) => ({ call: api.edit, fields: { strength } }),
  extend: ({ seconds, direction }) => ({
    call: api.extend,
    fields: { seconds, direction: direction === "backward" ? direction : null },
  }),
  loop: ({ seam }) => ({ call: api.edit, fields: { loop: seam } }),
}

/** The fields that every request has, from the form's values. */
export function common(values) {
  const { prompt, model, style, negative_prompt, generate_sound } = values
  const numbers = Object.keys(NUMBERS).map((field) => [field, plain(values[field] ?? "")])
  const given = Object.fromEntries(numbers.filter(([, text]) => text).map(([field, text]) => [field, Number(text)]))
  const n = Number(values.n)
  return { prompt, model, ...given, style, negative_prompt, generate_sound, n: n > 1 ? n : null }
}

/** Send the form's request; `source` is the finished video that it starts from, if any. Resolves to a Video. */
export function send(task, values, source) {
  const { call, fields, files } = CALLS[task](values)
  return call({ ...common(values), ...fields, video: source && { id: source.id } }, files)
}
