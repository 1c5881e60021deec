// The server's videos, newest first. The list is polled: often while a job runs, seldom while none does.

import * as api from "./api.js"

const PAGE = 40
const BUSY_MS = 700
const IDLE_MS = 5000
const AWAY_MS = 2000

export const isActive = (video) => video.status === "queued" || video.status === "in_progress"

/** Events: "change" (the list or a video in it), "reach" (`reachable` has changed), "step" (a video's status has; detail). */
class Videos extends EventTarget {
  #known = new Map()
  #order = []
  #hidden = new Set()
  #unlisted = new Set() // created since the last request for the list
  #asked = new Set() // fetched one by one
  #timer = null
  #looking = null
  more = false
  reachable = true
  loaded = false

  get all() {
    return this.#order.filter((id) => !this.#hidden.has(id)).map((id) => this.#known.get(id))
  }

  get(id) {
    return this.#hidden.has(id) ? undefined : this.#known.get(id)
  }

  /** Poll for as long as the page is open. `linked`: the id of a video to fetch, however old it is, if it exists. */
  async start(linked) {
    document.addEventListener("visibilitychange", () => document.hidden || this.look())
    if (linked)
      await api.retrieve(linked).then(
        (video) => this.#keep(video),
        () => {},
      )
    this.look()
  }

  /** Ask the server now. */
  look() {
    clearTimeout(this.#timer)
    this.#looking ??= this.#ask().finally(() => {
      this.#looking = null
      const wait = !this.reachable ? AWAY_MS : this.all.some(isActive) && !document.hidden ? BUSY_MS : IDLE_MS
      this.#timer = setTimeout(() => this.look(), wait)
    })
    return this.#looking
  }

  async #ask() {
    try {
      this.#unlisted.clear()
      const page = await api.list(null, PAGE)
      const older = this.#merge(page)
      const running = older.map((id) => this.#known.get(id)).filter(isActive)
      for (const video of running.slice(0, PAGE)) this.#keep(await this.#one(video))
      this.#reach(true)
    } catch (error) {
      if (error instanceof api.Unreachable) this.#reach(false)
      else this.dispatchEvent(new CustomEvent("problem", { detail: error }))
      return
    }
    this.loaded = true
    this.dispatchEvent(new Event("change"))
  }

  async #one(video) {
    try {
      return await api.retrieve(video.id)
    } catch (error) {
      if (!(error instanceof api.Refused)) throw error
      return { ...video, status: "failed", error: { code: error.code, message: error.message } }
    }
  }

  /** Put the newest page before the older videos that are known; returns the older ones' ids. */
  #merge({ data, has_more }) {
    const listed = data.map((video) => video.id)
    const fresh = [...this.#order.filter((id) => this.#unlisted.has(id) && !listed.includes(id)), ...listed]
    const end = this.#order.indexOf(fresh.at(-1))
    const older = end < 0 || !has_more ? [] : this.#order.slice(end + 1)
    if (!older.length) this.more = has_more
    const stays = new Set([...fresh, ...older])
    for (const id of this.#order) if (!stays.has(id)) this.#known.delete(id)
    data.forEach((video) => this.#keep(video))
    this.#order = [...fresh, ...older]
    return older
  }

  #keep(video) {
    const before = this.#known.get(video.id)
    this.#known.set(video.id, video)
    if (before && before.status !== video.status) this.dispatchEvent(new CustomEvent("step", { detail: video }))
  }

  #reach(reachable) {
    if (this.reachable === reachable) return
    this.reachable = reachable
    this.dispatchEvent(new Event("reach"))
  }

  /** Add a video that was just created. */
  add(video) {
    if (!this.#order.includes(video.id)) this.#order.unshift(video.id)
    this.#unlisted.add(video.id)
    this.#keep(video)
    this.dispatchEvent(new Event("change"))
    this.look()
  }

  /** Fetch videos that the list has not come to, if they exist. */
  async include(ids) {
    const missing = ids.filter((id) => !this.#known.has(id) && !this.#asked.has(id))
    for (const id of missing) this.#asked.add(id)
    const found = await Promise.all(missing.map((id) => api.retrieve(id).catch(() => null)))
    for (const video of found.filter(Boolean)) this.#keep(video)
    if (found.some(Boolean)) this.dispatchEvent(new Event("change"))
  }

  /** Load the next page of older videos. */
  async loadMore() {
    const page = await api.list(this.#order.at(-1), PAGE)
    for (const video of page.data) if (!this.#order.includes(video.id)) this.#order.push(video.id)
    page.data.forEach((video) => this.#keep(video))
    this.more = page.has_more
    this.dispatchEvent(new Event("change"))
  }

  /** Hide a video until it is really deleted, or show it again. */
  hide(id, hidden = true) {
    if (hidden) this.#hidden.add(id)
    else this.#hidden.delete(id)
    this.dispatchEvent(new Event("change"))
  }

  async remove(id) {
    await api.remove(id)
    api.release(id)
    this.#order = this.#order.filter((known) => known !== id)
    this.#known.delete(id)
    this.#hidden.delete(id)
    this.dispatchEvent(new Event("change"))
  }
}

export const videos = new Videos()
