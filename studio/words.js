// Texts for people: durations, states, and remedies for errors.

export const plural = (count, one, many = `${one}s`) => `${count} ${count === 1 ? one : many}`

/** 75 -> "1:15" */
export function elapsed(seconds) {
  const whole = Math.max(0, Math.round(seconds))
  const [hours, minutes, rest] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60]
  const two = (number) => String(number).padStart(2, "0")
  return hours ? `${hours}:${two(minutes)}:${two(rest)}` : `${minutes}:${two(rest)}`
}

/** 75 -> "about 1 min", for estimates. */
export function roughly(seconds) {
  if (seconds < 60) return `about ${Math.max(1, Math.round(seconds))} s`
  return seconds < 5400 ? `about ${Math.round(seconds / 60)} min` : `about ${(seconds / 3600).toFixed(1)} h`
}

/** A size in bytes: "6.3 GB", "250 MB" */
export const gigabytes = (bytes) =>
  bytes >= 0.95e9 ? `${(bytes / 1e9).toFixed(1)} GB` : `${bytes ? Math.max(1, Math.round(bytes / 1e6)) : 0} MB`

export const clock = elapsed

export function place(position) {
  if (position === null || position === undefined) return "Waiting"
  const teen = position % 100 > 10 && position % 100 < 14
  const ending = teen ? "th" : ({ 1: "st", 2: "nd", 3: "rd" }[position % 10] ?? "th")
  return position === 1 ? "Next in line" : `${position}${ending} in line`
}

/** "1280x720" -> "1280 × 720" */
export const size = (text) => text.replace("x", " × ")

/** A number with up to two decimals: 2, 2.5, 3.13 */
export const number = (value) => String(Math.round(value * 100) / 100)

/** A moment in the reader's locale: the time if it is today, else the date. */
export function when(stamp) {
  const date = new Date(stamp * 1000)
  const today = date.toDateString() === new Date().toDateString()
  return date.toLocaleString(undefined, today ? { timeStyle: "short" } : { dateStyle: "medium" })
}

/** The beginning of a text, for places without room for all of it. */
export const brief = (text, most = 120) => (text.length > most ? `${text.slice(0, most).trimEnd()} …` : text)

/** Whether a text has a word of 400 letters or more. In the page's font its layout would block the page for seconds. */
export const isUnbroken = (text) => /\S{400}/.test(text)

export const TASKS = { generate: "Video", storyboard: "Storyboard", edit: "Remix", extend: "Extension", loop: "Loop" }

const REMEDIES = {
  quota_exceeded: "Delete videos that you no longer need, or raise quota_gb in user/atelier/api.json.",
  queue_full: "Wait until some videos are done, or cancel some.",
  gated: "",
  offline: "",
  downloads_not_allowed: "",
  wrong_file: "",
  network: "",
  model_not_installed: "Get it on the Models page, or choose another model.",
  model_not_found: "Choose another model. Reload this page to see files that were added while ComfyUI runs.",
  graph_refused: "Change the named setting, or open the graph in ComfyUI to see what it lacks.",
  unusable_graph: "Repair the saved graph in user/atelier/api, or move it away to use the built-in one.",
  too_large: "Send a smaller file.",
  invalid_image: "Open the picture in an image editor and save it again as PNG or JPEG.",
  unsupported_file: "Use PNG, JPEG or WebP.",
  empty_file: "Choose another file.",
  not_found: "It has been deleted.",
  not_ready: "Wait until that video is completed.",
  misconfigured: "The owner of this server can find the reason in ComfyUI's log.",
  disk_full: "Delete videos that you no longer need, or free some space on the server's disk.",
  store_locked: "Try again in a moment: another program on the server is using the list of videos.",
  store_damaged: "The owner of this server can restore user/atelier/videos.db, or move it away.",
  store_unusable: "The owner of this server can find the reason in ComfyUI's log.",
  unusable_output: "ComfyUI's log says which output of the graph cannot be read.",
  server_restarted: "Reuse its settings to make it again.",
  cancelled: "Reuse its settings to make it again.",
  invalid_api_key: "Reload the page to enter another key.",
  internal_error: "If it happens again, ComfyUI's log says what went wrong.",
}

/** What to do about an error ({code, message}) of the API or of the page; "" if there is no advice. */
export function remedy({ code, message }) {
  if (/out of memory|allocat/i.test(message)) return "Choose a lower resolution or a shorter duration."
  if (/cannot be reached|does not answer|is away/i.test(message))
    return "Check whether it is still running. This page continues by itself when it is back."
  return REMEDIES[code] ?? (code === "generation_failed" ? "Open it in the node graph, or change its settings." : "")
}

export const sentence = (text) => text.trim().replace(/([^.!?])$/, "$1.")

/** What happened and what to do, in one or two sentences. */
export function problem(error) {
  return [sentence(error.message), remedy(error)].filter(Boolean).join(" ")
}
