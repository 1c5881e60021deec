// The history as a tree: below each video what was made from it.

import { byId, element } from "./element.js"
import { language, t } from "./language.js"
import { titled } from "./projects.js"
import { Reel } from "./reel.js"
import { thumbnail } from "./thumbnail.js"
import { brief, kind, when } from "./words.js"

export class History {
  #known = new Set() // the ids of the videos in the tree

  /** `select(id)` puts a video on the stage. */
  constructor(select) {
    this.rows = new Reel(
      byId("history"),
      (video) => new Row(video, () => select(video.id)),
      (video) => this.#above(video),
    )
  }

  #above({ remixed_from_video_id: source }) {
    return this.#known.has(source) ? source : null
  }

  /** Draw the tree of these videos; `chosen` is the id of the one on the stage. */
  draw(shown, chosen) {
    this.#known = new Set(shown.map((video) => video.id))
    const below = Map.groupBy(shown, (video) => this.#above(video))
    this.rows.draw([...this.#branches(below, null)], chosen)
  }

  /** The videos in the order of the tree, each one before those below it. */
  *#branches(below, above) {
    const order = (below.get(above) ?? []).toSorted((one, other) => other.created_at - one.created_at)
    for (const video of order) {
      yield video
      yield* this.#branches(below, video.id)
    }
  }
}

class Row {
  #list = null

  constructor({ id }, select) {
    this.title = element("strong")
    this.name = element("span", { dir: "auto" })
    this.from = element("span.unseen")
    this.picture = element("img", { alt: "", width: 48, height: 36 })
    const words = element("span", {}, this.title, this.name, this.from)
    const button = { type: "button", "data-video": id, onclick: select }
    this.button = element("button.node", button, this.picture, words)
    this.place = element("li", {}, this.button)
  }

  /** The list of what was made from this video. */
  get list() {
    if (!this.#list) this.place.append((this.#list = element("ul")))
    return this.#list
  }

  draw(video, chosen) {
    if (chosen) this.button.setAttribute("aria-current", "true")
    else this.button.removeAttribute("aria-current")
    const state = JSON.stringify([video.status, titled(video), language()])
    if (state === this.drawn) return
    this.drawn = state
    this.title.textContent = `${kind(video.operation)} · ${when(video.created_at)}`
    this.name.textContent = brief(titled(video), 80)
    const made = video.remixed_from_video_id && video.operation !== "generate"
    this.from.textContent = made ? t("history.from") : ""
    if (video.status === "completed") thumbnail(this.picture, video.id)
  }
}
