// A sheet over the desk with several videos in step: the variations side by side, or two versions under a wipe.

import * as api from "./api.js"
import { byId, element } from "./element.js"
import { InStep } from "./in_step.js"
import { t, worded } from "./language.js"
import { notify } from "./notices.js"
import { brief, kind, problem } from "./words.js"
import { videos } from "./videos.js"

export class Compare {
  /** `pick(id)` puts a video on the stage. */
  constructor(pick) {
    Object.assign(this, { pick, inStep: null })
    byId("compare").addEventListener("close", () => this.inStep?.close())
  }

  #show(key, players, parts) {
    worded(byId("compare-title"), key)
    this.inStep?.close()
    this.inStep = new InStep(players)
    byId("compare-body").replaceChildren(...parts, this.inStep.bar)
    if (!byId("compare").open) byId("compare").showModal()
  }

  /** The finished variations of a request, each with a button that picks it. */
  variations(video) {
    const ids = video.variations.filter((id) => videos.get(id)?.status === "completed")
    const players = ids.map(player)
    const figures = ids.map((id, index) => {
      const label = t("variation", { number: video.variations.indexOf(id) + 1 })
      const choose = () => {
        byId("compare").close()
        this.pick(id)
      }
      const button = element("button.quiet", { type: "button", onclick: choose }, t("pick", { what: label }))
      return element("figure", { "aria-label": label }, players[index], element("figcaption", {}, button))
    })
    this.#show("variations", players, [element("div.beside", {}, ...figures)])
  }

  /** A video and another version of it: the one it was made from, if there is one, until another is chosen. */
  async versions(video) {
    if (video.remixed_from_video_id) await videos.include([video.remixed_from_video_id]) // it may be older than the list
    const others = candidates(video)
    const chosen = element("select", { id: "compare-with", onchange: () => this.#wipe(video, chosen) })
    chosen.append(...others.map((other) => element("option", { value: other.id }, named(other))))
    this.#wipe(video, chosen)
    byId("compare-wipe").focus()
  }

  #wipe(video, chosen) {
    const below = player(video.id)
    const above = player(chosen.value)
    const stack = element("div.wipe", {}, below, above, element("span.edge-line", { "aria-hidden": "true" }))
    const slider = element("input", {
      type: "range",
      id: "compare-wipe",
      min: 0,
      max: 100,
      value: this.share ?? 50,
      "aria-label": t("wipe"),
    })
    const put = (share) => {
      this.share = Math.round(Math.min(100, Math.max(0, share)))
      slider.value = this.share
      slider.setAttribute("aria-valuetext", t("wipe.share", { count: this.share }))
      stack.style.setProperty("--share", `${this.share}%`)
    }
    slider.addEventListener("input", () => put(Number(slider.value)))
    const drag = (event) => {
      const { left, width } = stack.getBoundingClientRect()
      if (event.buttons) put(((event.clientX - left) / width) * 100)
    }
    stack.addEventListener("pointerdown", (event) => {
      stack.setPointerCapture(event.pointerId)
      drag(event)
    })
    stack.addEventListener("pointermove", drag)
    put(Number(slider.value))
    const line = element("div.row", {}, element("label", { for: "compare-with" }, t("compare.with")), chosen)
    const sides = [videos.get(chosen.value), video].map((each) => element("span.edge", { dir: "auto" }, named(each)))
    this.#show(
      "compare",
      [below, above],
      [line, stack, slider, element("div.row", { "aria-hidden": "true" }, ...sides)],
    )
  }
}

/** The finished videos that another can be compared with: its source first, then its kin, then the rest. */
export function candidates(video) {
  const near = (other) =>
    other.id === video.remixed_from_video_id
      ? 0
      : other.remixed_from_video_id === video.id || video.variations?.includes(other.id)
        ? 1
        : 2
  const source = videos.get(video.remixed_from_video_id)
  const known = source && !videos.all.includes(source) ? [source, ...videos.all] : videos.all
  const finished = known.filter((other) => other.status === "completed" && other.id !== video.id)
  return finished.toSorted((one, other) => near(one) - near(other))
}

const named = (video) => `${kind(video.operation)} · ${brief(video.prompt, 60)}`

function player(id) {
  const video = videos.get(id)
  const created = element("video", {
    "aria-label": t("of", { what: kind(video.operation), name: brief(video.prompt) }),
  })
  api.address(id, "video").then(
    (url) => (created.src = url),
    (error) => notify(problem(error)),
  )
  return created
}
