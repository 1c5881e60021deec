// Texts for people: durations, states, and remedies for errors.

import { has, language, t } from "./language.js"

/** 75 -> "1:15" */
export function elapsed(seconds) {
  const whole = Math.max(0, Math.round(seconds))
  const [hours, minutes, rest] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60]
  const two = (number) => String(number).padStart(2, "0")
  return hours ? `${hours}:${two(minutes)}:${two(rest)}` : `${minutes}:${two(rest)}`
}

/** 75 -> "about 1 min", for estimates. */
export function roughly(seconds) {
  if (seconds < 60) return t("about.seconds", { count: Math.max(1, Math.round(seconds)) })
  if (seconds < 5400) return t("about.minutes", { count: Math.round(seconds / 60) })
  return t("about.hours", { count: Math.round(seconds / 360) / 10 })
}

/** A size in bytes: "6.3 GB", "250 MB" */
export const gigabytes = (bytes) =>
  bytes >= 0.95e9
    ? t("bytes.giga", { count: Math.round(bytes / 1e8) / 10 })
    : t("bytes.mega", { count: bytes ? Math.max(1, Math.round(bytes / 1e6)) : 0 })

export const clock = elapsed

export function place(position) {
  if (position === null || position === undefined) return t("place.unknown")
  return position === 1 ? t("place.next") : t("place", { ordinal: position })
}

/** "1280x720" -> "1280 × 720" */
export const size = (text) => text.replace("x", " × ")

/** A number with up to two decimals: 2, 2.5, 3.13 */
export const number = (value) => value.toLocaleString(language(), { maximumFractionDigits: 2, useGrouping: false })

/** A moment as the page's language writes it: the time if it is today, else the date. */
export function when(stamp) {
  const date = new Date(stamp * 1000)
  const today = date.toDateString() === new Date().toDateString()
  return date.toLocaleString(language(), today ? { timeStyle: "short" } : { dateStyle: "medium" })
}

/** The beginning of a text, for places without room for all of it. */
export const brief = (text, most = 120) => (text.length > most ? `${text.slice(0, most).trimEnd()} …` : text)

/** Whether a text has a word of 400 letters or more. In the page's font its layout would block the page for seconds. */
export const isUnbroken = (text) => /\S{400}/.test(text)

/** The name of the kind of video that an operation makes. */
export const kind = (operation) => t(has(`kind.${operation}`) ? `kind.${operation}` : "kind.generate")

/** What to do about an error ({code, message}) of the API or of the page; "" if there is no advice. */
export function remedy({ code, message }) {
  if (/out of memory|allocat/i.test(message)) return t("remedy.memory")
  return has(`remedy.${code}`) ? t(`remedy.${code}`) : ""
}

/** A text with a full stop, if it ends without one. */
export const sentence = (text) => text.trim().replace(/([^.!?。！？])$/, `$1${t("stop")}`)

/** What happened and what to do, in one or two sentences. */
export function problem(error) {
  return [sentence(error.message), remedy(error)].filter(Boolean).join(" ")
}
