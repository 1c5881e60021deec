// The history as a tree: below each video what was made from it.

import * as api from "./api.js"
import { byId, element } from "./element.js"
import { language, t } from "./language.js"
import { titled } from "./projects.js"
import { brief, kind, when } from "./words.js"

export class History {
  /** `select(id)` puts a video on the stage. */
  constructor(select) {
    Object.assign(this, { select, drawn: null })
  }

  /** Draw the tree of these videos; `chosen` is the id of the one on the stage. */
  draw(shown, chosen) {
    const state = JSON.stringify([shown.map((video) => [video.id, video.status, titled(video)]), chosen, language()])
    if (state === this.drawn) return
    this.drawn = state
    const ids = new Set(shown.map((video) => video.id))
    const children = Map.groupBy(shown, (video) =>
      ids.has(video.remixed_from_video_id) ? video.remixed_from_video_id : null,
    )
    const focused = document.activeElement?.dataset?.video
    byId("history").replaceChildren(...this.branches(children, null, chosen))
    if (focused) byId("history").querySelector(`[data-video="${focused}"]`)?.focus({ preventScroll: true })
  }

  branches(children, parent, chosen) {
    const order = (children.get(parent) ?? []).toSorted((one, other) => other.created_at - one.created_at)
    return order.map((video) => {
      const below = this.branches(children, video.id, chosen)
      return element("li", {}, this.node(video, chosen), below.length ? element("ul", {}, ...below) : null)
    })
  }

  node(video, chosen) {
    const picture = element("img", { alt: "", loading: "lazy", width: 48, height: 36 })
    if (video.status === "completed")
      api.address(video.id, "thumbnail").then(
        (url) => (picture.src = url),
        () => {},
      )
    const from = video.remixed_from_video_id && video.operation !== "generate" ? t("history.from") : ""
    return element(
      "button.node",
      {
        type: "button",
        "data-video": video.id,
        "aria-current": video.id === chosen ? "true" : null,
        onclick: () => this.select(video.id),
      },
      picture,
      element(
        "span",
        {},
        element("strong", {}, `${kind(video.operation)} · ${when(video.created_at)}`),
        element("span", { dir: "auto" }, brief(titled(video), 80)),
        element("span.unseen", {}, from),
      ),
    )
  }
}
