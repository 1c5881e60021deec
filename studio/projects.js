// Projects: which videos and boards belong together, their names and stars, and the bar above the gallery.

import * as api from "./api.js"
import { desk, newId } from "./desk.js"
import { byId, element, say } from "./element.js"
import { project as kept } from "./kept.js"
import { t } from "./language.js"
import { notify, speak } from "./notices.js"
import { askName, askWhether } from "./question.js"
import { problem } from "./words.js"
import { videos } from "./videos.js"

const ALL = ""
const NEW = "+"

const about = (video) => desk.get(`video/${video.id}`) ?? {}

/** A video's name, else its prompt. */
export const titled = (video) => about(video).name ?? video.prompt
export const isStarred = (video) => Boolean(about(video).star)

export class Projects {
  /** `changed()` is called when the gallery must be drawn again. */
  constructor(changed) {
    Object.assign(this, { changed, id: kept.get(), starred: false, tree: false })
    byId("project").addEventListener("change", ({ target }) => this.choose(target.value))
    byId("project-name").addEventListener("click", () => this.rename())
    byId("project-delete").addEventListener("click", () => this.remove())
    byId("undo").addEventListener("click", () => desk.undo())
    byId("redo").addEventListener("click", () => desk.redo())
    for (const name of ["starred", "tree"])
      byId(name).addEventListener("click", () => {
        this[name] = !this[name]
        byId(name).setAttribute("aria-pressed", this[name])
        this.changed()
      })
    document.addEventListener("keydown", (event) => this.key(event))
    desk.addEventListener("change", () => this.draw())
    desk.addEventListener("trouble", ({ detail: { key, error } }) =>
      notify(t(key, { problem: error ? (error.code ? problem(error) : error.message) : "" })),
    )
    document.addEventListener("language", () => this.draw())
    this.draw()
  }

  /** Ctrl+Z and Ctrl+Y or Ctrl+Shift+Z, outside of texts and of the bench, which have their own. */
  key(event) {
    const { target, key, ctrlKey, metaKey, shiftKey } = event
    if (
      !(ctrlKey || metaKey) ||
      target.closest("input:not([type=checkbox], [type=radio], [type=range]), textarea, #bench")
    )
      return
    const letter = key.toLowerCase()
    if (letter === "z" && !shiftKey) desk.undo()
    else if (letter === "y" || letter === "z") desk.redo()
    else return
    event.preventDefault()
  }

  get project() {
    return desk.get(`project/${this.id}`)
  }

  /** The videos that the gallery shows, newest first. */
  get shown() {
    const all = this.project ? this.own : videos.all
    return this.starred ? all.filter(isStarred) : all
  }

  get own() {
    const ids = desk.all("video").filter(([, { project }]) => project === this.id)
    return ids
      .map(([id]) => videos.get(id))
      .filter(Boolean)
      .toSorted((one, other) => other.created_at - one.created_at)
  }

  draw() {
    const options = desk.all("project").toSorted((one, other) => one[1].name.localeCompare(other[1].name))
    byId("project").replaceChildren(
      element("option", { value: ALL }, t("project.all")),
      ...options.map(([id, { name }]) => element("option", { value: id }, name)),
      element("option", { value: NEW }, t("project.new")),
    )
    byId("project").value = this.project ? this.id : ALL
    byId("project-name").hidden = byId("project-delete").hidden = !this.project
    byId("undo").disabled = !desk.canUndo
    byId("redo").disabled = !desk.canRedo
    this.fetch()
    this.changed()
  }

  async choose(id) {
    if (id === NEW) {
      const name = await askName(t("project.new"))
      if (!name) return this.draw()
      id = newId()
      desk.change({ [`project/${id}`]: { name } })
      speak(t("project.made", { name }))
    }
    this.id = id
    kept.set(id)
    this.draw()
  }

  async rename() {
    const name = await askName(t("project.name"), this.project.name)
    if (name) desk.set(`project/${this.id}`, { name })
  }

  /** Delete a project. Its videos stay, and belong to none. */
  async remove() {
    const sure = await askWhether(t("project.delete.sure", { name: this.project.name }), t("project.delete"))
    if (!sure) return
    const items = { [`project/${this.id}`]: null }
    for (const kind of ["video", "board"])
      for (const [id, value] of desk.all(kind))
        if (value.project === this.id) items[`${kind}/${id}`] = without(value, "project")
    desk.change(items, true)
    this.choose(ALL)
  }

  /** Fetch the project's videos that are older than the list. */
  fetch() {
    if (!this.project) return
    const missing = desk.all("video").filter(([id, { project }]) => project === this.id && !videos.get(id))
    if (missing.length) videos.include(missing.map(([id]) => id))
  }

  /** A new video belongs to the project that is open. */
  take(video) {
    if (this.project) desk.set(`video/${video.id}`, { project: this.id })
  }

  /** Nothing is kept of a video that is deleted. */
  forget(id) {
    if (desk.get(`video/${id}`)) desk.change({ [`video/${id}`]: null }, true)
  }

  /** The buttons of a video: star, name, project. Returns {parts, refresh()}. */
  controls(video) {
    const key = `video/${video.id}`
    const star = element("button.quiet", {
      type: "button",
      onclick: () => desk.set(key, { star: isStarred(video) ? null : true }),
    })
    const rename = async () => {
      const name = await askName(t("video.name"), about(video).name ?? "")
      if (name !== null) desk.set(key, { name: name || null })
    }
    const named = element("button.quiet", { type: "button", onclick: rename }, t("rename"))
    const place = element("select.in-project", {
      "aria-label": t("project.of"),
      onchange: () => desk.set(key, { project: place.value || null }),
    })
    let drawn = null
    const refresh = () => {
      const projects = desk.all("project")
      const state = JSON.stringify([about(video), projects])
      if (state === drawn) return // an open list of projects stays open
      drawn = state
      star.textContent = isStarred(video) ? `★ ${t("starred")}` : `☆ ${t("star")}`
      star.setAttribute("aria-pressed", isStarred(video))
      const options = projects.map(([id, { name }]) => element("option", { value: id }, name))
      place.replaceChildren(element("option", { value: "" }, t("project.none")), ...options)
      place.value = about(video).project ?? ""
      place.hidden = !options.length
    }
    refresh()
    return { parts: [star, named, place], refresh }
  }
}

function without(value, name) {
  const rest = { ...value }
  delete rest[name]
  return rest
}
