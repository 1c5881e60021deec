// The gallery: every video as a frame on a contact sheet. Moving the pointer over a frame scrubs through the video.

import * as api from "./api.js"
import { CARRIED } from "./bench/shelf.js"
import { byId, element } from "./element.js"
import { History } from "./history.js"
import { language, t, worded } from "./language.js"
import { notify } from "./notices.js"
import { isStarred, titled } from "./projects.js"
import { Reel } from "./reel.js"
import { thumbnail } from "./thumbnail.js"
import { isActive, videos } from "./videos.js"
import { brief, place, problem, when } from "./words.js"

const COLUMNS = 4
const MOST = 16 // frames on the API's spritesheet

export class Gallery {
  /** `select(id)` puts a video on the stage. `projects` says which videos are shown, and how they are called. */
  constructor(select, projects) {
    Object.assign(this, { projects, history: new History(select) })
    this.cards = new Reel(byId("sheet"), (video) => new Card(() => select(video.id)))
    byId("gallery-more").addEventListener("click", () => this.more())
  }

  update(chosen) {
    const { shown, tree } = this.projects
    const whole = !this.projects.project && !this.projects.starred
    byId("sheet").hidden = tree
    byId("history").hidden = !tree
    const list = tree ? this.history : this.cards
    list.draw(shown, chosen)
    byId("gallery-count").textContent = shown.length
      ? t(videos.more && whole ? "videos.more" : "videos", { count: shown.length })
      : ""
    byId("gallery-empty").hidden = !videos.loaded || shown.length > 0
    worded(byId("gallery-empty"), whole ? "gallery.empty" : "gallery.none")
    byId("gallery-more").hidden = !videos.more || !whole
  }

  async more() {
    byId("gallery-more").disabled = true
    try {
      await videos.loadMore()
    } catch (error) {
      notify(problem(error))
    }
    byId("gallery-more").disabled = false
  }
}

class Card {
  constructor(select) {
    this.picture = element("img", { alt: "", hidden: true })
    this.words = element("span.words", {})
    this.frame = element("span.frame", {}, this.picture, this.words)
    this.left = element("span.edge", {})
    this.right = element("span.edge", {})
    this.bar = element("div", {})
    this.stroke = element("span.stroke", { hidden: true }, this.bar)
    this.name = element("span.name", { dir: "auto" })
    const film = element(
      "span.film",
      { "aria-hidden": "true" },
      element("span.rebate", {}, this.left, this.right),
      this.frame,
      this.stroke,
    )
    const lift = (event) => event.dataTransfer.setData(CARRIED, this.video.id)
    const button = { type: "button", draggable: "true", onclick: select, ondragstart: lift }
    this.button = element("button.card", button, film, this.name)
    this.place = element("li", {}, this.button)
    this.frame.addEventListener("pointerenter", () => this.begin())
    this.frame.addEventListener("pointermove", (event) => this.scrub(event))
    this.frame.addEventListener("pointerleave", () => this.end())
  }

  draw(video, chosen) {
    const [title, star] = [titled(video), isStarred(video)]
    const state = JSON.stringify([video, chosen, title, star, language()])
    if (state === this.drawn) return
    this.drawn = state
    this.video = video
    const seconds = Number(video.duration ?? video.seconds)
    this.left.textContent = when(video.created_at)
    this.right.textContent = seconds ? t("seconds.short", { count: seconds }) : ""
    this.name.textContent = `${star ? "★ " : ""}${brief(title)}`
    const label = [
      brief(title),
      star && t("starred"),
      t(`state.${video.status}`),
      seconds && t("seconds", { count: seconds }),
    ]
    this.button.setAttribute("aria-label", label.filter(Boolean).join(", "))
    if (chosen) this.button.setAttribute("aria-current", "true")
    else this.button.removeAttribute("aria-current")
    this.words.textContent = this.state(video)
    this.stroke.hidden = !isActive(video)
    this.bar.style.width = `${video.progress}%`
    if (video.status !== "completed") return
    this.picture.hidden = false
    thumbnail(this.picture, video.id)
  }

  state(video) {
    if (video.status === "queued") return place(video.queue_position)
    if (video.status === "in_progress") return t("percent", { count: video.progress })
    if (video.status === "failed") return video.error?.code === "cancelled" ? t("cancelled") : t("failed")
    return ""
  }

  async begin() {
    if (this.video?.status !== "completed" || this.sheet) return
    const url = await api.address(this.video.id, "spritesheet").catch(() => null)
    if (!url) return
    const loaded = new Image()
    loaded.src = url
    await loaded.decode().catch(() => {})
    const count = Math.min(MOST, this.video.num_frames ?? MOST)
    this.sheet = { loaded, count, rows: Math.ceil(count / COLUMNS) }
  }

  /** Show the frame at the pointer's place, cut from the spritesheet. */
  scrub(event) {
    if (!this.sheet?.loaded.naturalWidth) return
    const { loaded, count, rows } = this.sheet
    const { left, width } = this.frame.getBoundingClientRect()
    const index = Math.min(count - 1, Math.max(0, Math.floor(((event.clientX - left) / width) * count)))
    const [wide, high] = [loaded.naturalWidth / COLUMNS, loaded.naturalHeight / rows]
    this.canvas ??= element("canvas", { width: wide, height: high })
    const at = [(index % COLUMNS) * wide, Math.floor(index / COLUMNS) * high]
    this.canvas.getContext("2d").drawImage(loaded, ...at, wide, high, 0, 0, wide, high)
    if (!this.canvas.isConnected) this.picture.replaceWith(this.canvas)
  }

  end() {
    this.canvas?.replaceWith(this.picture)
  }
}
