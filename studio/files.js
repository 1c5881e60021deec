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
    const board = value?.atelier === "board" && typeof value.name === "string" && typeof value.text === "string"
    if (!board) return notify(t(value?.nodes || value?.workflow ? "bring.graph" : "bring.unknown", { name: file.name }))
    const id = newId()
    const { name, text, pictures = [] } = value
    desk.change({ [`board/${id}`]: { name, text, pictures } })
    this.opened(id)
  }
}
