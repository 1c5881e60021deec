// The bench: below the stage, one of the editor's views at a time (storyboard, re-cut, blend).

import * as api from "../api.js"
import { byId, say } from "../element.js"
import { t } from "../language.js"
import { notify, speak } from "../notices.js"
import { common } from "../request.js"
import { videos } from "../videos.js"
import { problem } from "../words.js"
import { Blend } from "./blend.js"
import { Recut } from "./recut.js"
import { Storyboard } from "./storyboard.js"

const VIEWS = { storyboard: Storyboard, recut: Recut, blend: Blend }

export class Bench {
  #views = {}
  #sending = false
  view = null
  boards = null // where boards are saved

  /** `form` is the page's form, whose model, size and settings every request takes. */
  constructor(form) {
    this.form = form
    this.place = byId("bench")
    byId("bench-close").addEventListener("click", () => this.close())
    this.place.addEventListener("keydown", (event) => this.view?.key?.(event))
    videos.addEventListener("change", () => this.view?.update())
    document.addEventListener("input", ({ target }) => target.form === byId("compose") && this.view?.update())
    document.addEventListener("language", () => this.#reword())
    addEventListener("beforeunload", () => this.view?.leave?.())
  }

  /** Open a view, of a finished video if it needs one. */
  open(key, video = null) {
    if (this.view && this.view !== this.#views[key]) this.view.leave?.()
    if (video) this.form.choose(video.model)
    this.name = key
    this.view = this.#views[key] ??= new VIEWS[key](this)
    this.place.hidden = false
    byId("bench-title").textContent = t(`${key}.title`)
    byId("bench-body").replaceChildren(this.view.element)
    say("bench-fault", "")
    this.view.open(video)
    byId("bench-title").focus({ preventScroll: true })
    this.place.scrollIntoView({ block: "start" })
  }

  /** Open the board, the pieces or the blend that a video was made of; undo brings back what was there. */
  async reuse(video) {
    const key = ["recut", "blend", "storyboard"].find((each) => video[each])
    if (!key) return
    const source = videos.get(video.remixed_from_video_id) ?? null
    if (!source && key !== "storyboard") return
    if (key === "blend" && !videos.get(video.blend.video)) notify(t("reuse.second"))
    this.open(key, source)
    await this.view.restored
    await this.view.take(video)
  }

  /** Put a saved storyboard, re-cut or blend on the bench. Undo brings back what was there. */
  async restore({ id, name, kind = "storyboard", ...saved }) {
    const video = await found(saved.video)
    if (saved.video && !video) return notify(t("bench.saved.gone", { name }))
    const second = await found(saved.second)
    if (saved.second && !second) notify(t("bench.saved.second", { name }))
    this.open(kind, video)
    await this.view.restored
    this.view.restore({ ...saved, id, second })
  }

  /** Save what a view holds, as `saved` (or as a new board); resolves to what was saved, for the next time. */
  async save(saved, content) {
    return (await this.boards.save(saved, content)) ?? saved
  }

  close() {
    this.view?.leave?.()
    this.view = null
    this.place.hidden = true
    byId("stage-title").focus({ preventScroll: true })
  }

  /** Views are drawn again with the words of the new language, from what they keep. */
  #reword() {
    const { name, view } = this
    for (const kept of Object.values(this.#views)) kept.leave?.()
    const states = Object.entries(this.#views).map(([each, kept]) => [each, kept.state])
    this.#views = {}
    for (const [each, state] of states) (this.#views[each] = new VIEWS[each](this)).state = state
    if (view) this.open(name, view.video)
  }

  /** Send a request; says what is wrong, and loses nothing. Resolves to the new video, or to null. */
  async send(call, fields, files, button) {
    if (this.#sending) return null
    say("bench-fault", "")
    const values = this.form.checked("generate", fields.prompt)
    if (!values) return null
    this.#sending = true
    button.setAttribute("aria-busy", "true")
    const before = button.textContent
    button.textContent = t("bench.sending")
    let video = null
    try {
      const { size, seconds } = values
      video = await call({ ...common(values), size, seconds, ...fields }, files)
      await this.form.begin(video, true)
    } catch (error) {
      this.fault(problem(error))
    }
    this.#sending = false
    button.removeAttribute("aria-busy")
    button.textContent = before
    return video
  }

  /** Take the focus of an element that is gone or disabled now, so that the view's keys still work. */
  keepFocus() {
    const { activeElement } = document
    if (activeElement === document.body || activeElement.disabled) this.place.focus({ preventScroll: true })
  }

  /** Say what is wrong, in the view and to screen readers. */
  fault(text) {
    say("bench-fault", text)
    if (text) notify(text)
  }

  say(text) {
    speak(text)
  }
}

/** A video by its id, also one that is older than the list; null if it has been deleted or none is asked for. */
async function found(id) {
  if (!id) return null
  return videos.get(id) ?? (await api.retrieve(id).catch(() => null))
}
