// A client of the Videos API: /v1/videos, /v1/models and /v1/prompts, with the API key if the server requires one.

import { authorization, key } from "./key.js"
import { t } from "./language.js"

const ROOT = new URL("v1/", document.baseURI)

/** The server answered with an error. */
export class Refused extends Error {
  constructor(status, { message, code, param } = {}) {
    super(message || t("error.status", { status: String(status) }))
    Object.assign(this, { status, code: code ?? null, param: param ?? null })
  }
}

/** The server does not answer. */
export class Unreachable extends Error {
  code = "unreachable"
}

let clock = 0
/** The time by the server's clock, in seconds. */
export const now = () => Date.now() / 1000 + clock

let ask = async () => null
/** `question(wrong)` asks the person for the key and resolves to it, or to null if the person cancels. */
export const askForKeyWith = (question) => (ask = question)
let asking = null
let declined = false

async function send(path, options = {}) {
  const given = key.get()
  const headers = { ...options.headers, ...authorization(given) }
  let answer
  try {
    answer = await fetch(new URL(path, ROOT), { ...options, headers })
  } catch (error) {
    if (error.name === "AbortError") throw error
    throw new Unreachable(t("error.silent"))
  }
  const stamp = Date.parse(answer.headers.get("Date"))
  if (stamp) clock = (stamp - Date.now()) / 1000
  if (answer.ok) return answer
  if (answer.status === 401) {
    if (key.get() !== given) return send(path, options) // the person has entered it meanwhile
    asking ??= declined ? null : ask(given !== null).finally(() => (asking = null))
    const entered = await asking
    if (entered) {
      key.set(entered)
      return send(path, options)
    }
    declined = true
  }
  const error = (await answer.json().catch(() => null))?.error
  // A proxy answers so for a ComfyUI that is away; the API itself says in `error` what it cannot do now.
  if (!error && [502, 503, 504].includes(answer.status)) throw new Unreachable(t("error.away"))
  throw new Refused(answer.status, error)
}

async function json(path, options) {
  return (await send(path, options)).json()
}

function post(path, fields, files = {}) {
  const sent = Object.entries(fields).filter(([, value]) => value !== undefined && value !== null && value !== "")
  if (!Object.keys(files).length) {
    const headers = { "Content-Type": "application/json" }
    return json(path, { method: "POST", headers, body: JSON.stringify(Object.fromEntries(sent)) })
  }
  const body = new FormData()
  for (const [name, value] of sent) body.append(name, typeof value === "object" ? JSON.stringify(value) : value)
  for (const [name, given] of Object.entries(files))
    for (const file of [given].flat()) body.append(name, file, file.name)
  return json(path, { method: "POST", body })
}

const at = (id) => `videos/${encodeURIComponent(id)}`

export const models = () => json("models")
export const model = (id) => json(`models/${encodeURIComponent(id)}`)
export const download = (id) => json(`models/${encodeURIComponent(id)}/download`, { method: "POST" })
export const cancelDownload = (id) => json(`models/${encodeURIComponent(id)}/download`, { method: "DELETE" })
export const removeModel = (id) => json(`models/${encodeURIComponent(id)}`, { method: "DELETE" })
export const farm = () => json("farm")
/** `act`: drain, resume or remove. */
export function worker(id, act) {
  const path = `farm/workers/${encodeURIComponent(id)}`
  return act === "remove" ? json(path, { method: "DELETE" }) : json(`${path}/${act}`, { method: "POST" })
}
export const list = (after, limit) =>
  json(`videos?${new URLSearchParams({ order: "desc", limit, ...(after && { after }) })}`)
export const retrieve = (id) => json(at(id))
export const create = (fields, files) => post("videos", fields, files)
export const edit = (fields) => post("videos/edits", fields)
export const extend = (fields) => post("videos/extensions", fields)
export const cancel = (id) => json(`${at(id)}/cancel`, { method: "POST" })
export const remove = (id) => json(at(id), { method: "DELETE", keepalive: true })
export const expand = (prompt, model) => post("prompts/expand", { prompt, model })

export const desk = (after) => json(`desk?after=${after}`)
export const changeDesk = (items, base) => {
  const headers = { "Content-Type": "application/json" }
  return json("desk", { method: "PATCH", headers, body: JSON.stringify({ items, base }), keepalive: true })
}
export const bring = (file) => post("videos/imports", { prompt: file.name }, { video: file })

/** A file of a video (variant: video, thumbnail, spritesheet, preview) as a Blob. */
export const blob = async (id, variant) =>
  (await send(`${at(id)}/content?variant=${variant}`, { cache: "default" })).blob()

/** A picture or clip that was sent for a video's storyboard, as a Blob. */
export const boardImage = async (id, number) =>
  (await send(`${at(id)}/content?variant=storyboard_image&number=${number}`)).blob()

/** The part of a running job's clip that is there: {picture, seconds, decoded, version}. */
export async function soFar(id) {
  const answer = await send(`${at(id)}/content?variant=so_far`, { cache: "no-cache" })
  const [seconds, decoded] = ["X-Seconds", "X-Decoded"].map((name) => JSON.parse(answer.headers.get(name)))
  return { picture: await answer.blob(), seconds, decoded, version: answer.headers.get("ETag") }
}

const urls = new Map() // "id variant" -> a Promise of the blob's URL

/** A file's address for <img> and <video>. They cannot send a key, so with a key the file is fetched as a blob. */
export async function address(id, variant) {
  if (!key.get()) return new URL(`${at(id)}/content?variant=${variant}`, ROOT).href
  const name = `${id} ${variant}`
  if (!urls.has(name)) urls.set(name, blob(id, variant).then(URL.createObjectURL))
  return urls.get(name).catch((error) => {
    urls.delete(name)
    throw error
  })
}

/** Free the memory of a deleted video's files. */
export function release(id) {
  for (const [name, url] of urls) {
    if (!name.startsWith(`${id} `)) continue
    urls.delete(name)
    url.then(URL.revokeObjectURL, () => {})
  }
}
