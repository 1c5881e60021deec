// Files that come back: a clip dropped on the page, or a board as JSON.

import * as api from "./api.js"
import { desk, newId } from "./desk.js"
import { byId } from "./element.js"
import { t } from "./language.js"
import { notify } from "./notices.js"
import { brief, problem } from "./words.js"

const MOST_JSON = 1 << 20

function parsed(text) {
  try {
    return JSON.parse(text)
  } catch {
    return null
  }
}

const isPiece = (piece) => piece?.gap > 0 || (piece?.from >= 0 && piece.to > piece.from)
const isPoint = (point) => Array.isArray(point) && point.length === 2 && point.every((at) => at >= 0 && at <= 1)
const list = (value, isItem) => Array.isArray(value) && value.every(isItem)

/** Whether a value is what a board of each kind holds. */
const HOLDS = {
  storyboard: ({ text, pictures = [] }) => typeof text === "string" && list(pictures, (picture) => picture?.id),
  recut: ({ video, pieces }) => typeof video === "string" && list(pieces, isPiece),
  blend: ({ video, points }) => typeof video === "string" && list(points, isPoint) && points.length > 1,
}

/** Whether a value is a board as the studio exports them. */
function isBoard(value) {
  if (value?.atelier !== "board" || typeof value.name !== "string") return false
  return Object.hasOwn(HOLDS, value.kind ?? "storyboard") && HOLDS[value.kind ?? "storyboard"](value)
}

export class Files {
  /** `took(video)` is called with a clip that is among the videos now; `opened(id)` with the id of a board. */
  constructor({ took, opened }) {
    Object.assign(this, { took, opened })
    byId("bring").addEventListener("change", async ({ target }) => {
      await this.take([...target.files])
      target.value = ""
    })
    window.addEventListener("drop", (event) => {
      const elsewhere = event.target.closest?.(".picture, #bench")
      if (!elsewhere) this.take([...event.dataTransfer.files].filter((file) => !file.type.startsWith("image/")))
    })
  }

  async take(files) {
    for (const file of files) {
      const name = brief(file.name, 60)
      try {
        if (/\.json$/i.test(file.name)) await this.json(file)
        else if (file.type.startsWith("video/") || /\.(mp4|mov|webm|mkv)$/i.test(file.name)) await this.clip(file, name)
        else notify(t("bring.unknown", { name }))
      } catch (error) {
        notify(t("bring.failed", { name, problem: problem(error) }))
      }
    }
  }

  async clip(file, name) {
    const end = notify(t("bring.working", { name }), { stays: 600_000 })
    try {
      this.took(await api.bring(file))
    } finally {
      end()
    }
  }

  /** A board that the studio has exported. */
  async json(file) {
    const value = file.size <= MOST_JSON ? parsed(await file.text()) : null
    const kind = value?.nodes || value?.workflow ? "bring.graph" : "bring.unknown"
    if (!isBoard(value)) return notify(t(kind, { name: file.name }))
    const id = newId()
    const { atelier: _kind, ...board } = value
    desk.change({ [`board/${id}`]: board })
    this.opened(id)
  }
}
