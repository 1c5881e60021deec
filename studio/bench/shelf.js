// The finished videos as a row of pictures to choose from, for touch and keyboard; the gallery's cards can be dragged.

import { element } from "../element.js"
import { t } from "../language.js"
import { thumbnail } from "../thumbnail.js"
import { videos } from "../videos.js"
import { brief } from "../words.js"

/** The type under which the gallery's cards carry their video's id. */
export const CARRIED = "application/x-atelier-video"
const MOST = 60

/** The id of the video that a drag carries, or "". */
export const carried = (transfer) => transfer.getData(CARRIED)

export class Shelf {
  /** `choose(video)` is called for the video that a person picks. */
  constructor(label, choose) {
    this.choose = choose
    this.list = element("ul.shelf", { "aria-label": label })
    this.none = element("p.note", {}, t("shelf.empty"))
    this.place = element("div", {}, this.list, this.none)
  }

  /** Draw the finished videos; `chosen`: the id of the one to mark. */
  draw(chosen = null) {
    const finished = videos.all.filter((video) => video.status === "completed").slice(0, MOST)
    const state = JSON.stringify([finished.map((video) => video.id), chosen])
    if (state === this.drawn) return
    this.drawn = state
    const focused = this.list.contains(document.activeElement) ? document.activeElement.dataset.id : null
    this.list.replaceChildren(...finished.map((video) => this.#card(video, video.id === chosen)))
    this.none.hidden = finished.length > 0
    if (focused) this.list.querySelector(`[data-id="${focused}"]`)?.focus({ preventScroll: true })
  }

  #card(video, chosen) {
    const button = element(
      "button",
      { type: "button", "data-id": video.id, "aria-pressed": String(chosen), onclick: () => this.choose(video) },
      thumbnail(element("img", { alt: "" }), video.id),
      element("span.unseen", { dir: "auto" }, brief(video.prompt)),
    )
    button.title = brief(video.prompt)
    return element("li", {}, button)
  }
}
