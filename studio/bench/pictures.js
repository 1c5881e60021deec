// The pictures and clips of a board: [{key, name, kind, id?, file?}], of which the first is [image 1].

import * as api from "../api.js"
import { t } from "../language.js"
import { changed, read } from "../storyboard/board.js"
import { videos } from "../videos.js"

const KINDS = { "image/png": "image", "image/jpeg": "image", "image/webp": "image" }
const CLIPS = { "video/mp4": "video", "video/webm": "video", "video/quicktime": "video", "video/x-matroska": "video" }
export const ACCEPTED = [...Object.keys(KINDS), ...Object.keys(CLIPS)].join()
/** Bytes: the server's max_upload_mb, if its owner has not changed it. */
export const MOST_BYTES = 512 * 2 ** 20
/** Pictures and clips of a request. */
export const MOST = 100

/** A file as a picture, or the key of the text that says why it cannot be one. */
export async function ofFile(file) {
  const kind = KINDS[file.type] ?? CLIPS[file.type]
  if (!kind) return "board.file.kind"
  if (file.size > MOST_BYTES) return "board.file.large"
  if (kind === "image" && !(await opens(file))) return "board.file.broken"
  return { key: crypto.randomUUID?.() ?? String(Math.random()), name: file.name, kind, file }
}

export const ofVideo = (video) => ({ key: video.id, name: video.prompt, kind: "video", id: video.id })

/** The pictures and clips that a video's board was sent with, in the order of their numbers; null for those that are gone. */
export function ofBoard({ id, storyboard_images = [] }) {
  const picture = async ({ id: video, kind }, index) => {
    const name = videos.get(video)?.prompt ?? t("board.image", { number: index + 1 })
    if (video) return ofVideo({ id: video, prompt: name })
    const content = await api.boardImage(id, index + 1).catch(() => null)
    return content && { key: `${id}/${index}`, name, kind, file: new File([content], name, content) }
  }
  return Promise.all(storyboard_images.map(picture))
}

async function opens(file) {
  try {
    const bitmap = await createImageBitmap(file)
    bitmap.close()
    return true
  } catch {
    return false
  }
}

const urls = new Map() // key -> a Promise of the address of its small picture

/** The address of a picture for <img>; of a clip from the disk, its first frame. */
export function address(picture) {
  if (!urls.has(picture.key)) urls.set(picture.key, picture.id ? api.address(picture.id, "thumbnail") : ofDisk(picture))
  return urls.get(picture.key)
}

async function ofDisk({ kind, file }) {
  const url = URL.createObjectURL(file)
  if (kind === "image") return url
  const player = Object.assign(document.createElement("video"), { muted: true, preload: "auto", src: url })
  await new Promise((done, fail) => {
    player.addEventListener("loadeddata", done, { once: true })
    player.addEventListener("error", fail, { once: true })
  })
  const canvas = Object.assign(document.createElement("canvas"), { width: 160, height: 120 })
  const scale = Math.max(160 / player.videoWidth, 120 / player.videoHeight)
  const [width, height] = [player.videoWidth * scale, player.videoHeight * scale]
  canvas.getContext("2d").drawImage(player, (160 - width) / 2, (120 - height) / 2, width, height)
  URL.revokeObjectURL(url)
  return URL.createObjectURL(await new Promise((done) => canvas.toBlob(done)))
}

/** The text with image numbers changed: `number(n)` is the new one, null for none. */
export function renumbered(text, number) {
  for (const card of read(text).cards) {
    if (card.image === null) continue
    const [image, last] = [number(card.image), card.last === null ? null : number(card.last)]
    const words = image === null && !card.written.words ? card.words : card.written.words
    text = changed(text, card, image === null ? { image: null, last: null, strength: 1, words } : { image, last })
  }
  return text
}

/** {fields, files, text} of a request: references come first, then files, and the text has their numbers. */
export function requested(text, pictures) {
  const used = new Set()
  for (const { image, last } of read(text).cards)
    if (image !== null) for (let n = image; n <= (last ?? image); n++) used.add(n)
  const numbered = pictures
    .map((picture, index) => ({ ...picture, number: index + 1 }))
    .filter((p) => used.has(p.number))
  const order = [...numbered.filter((picture) => picture.id), ...numbered.filter((picture) => !picture.id)]
  const places = new Map(order.map((picture, index) => [picture.number, index + 1]))
  return {
    text: renumbered(text, (number) => places.get(number) ?? number),
    references: order.filter((picture) => picture.id).map(({ id }) => ({ id })),
    files: order.filter((picture) => !picture.id).map(({ file }) => file),
  }
}
