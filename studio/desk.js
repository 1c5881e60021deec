// The desk: what is kept beside the videos, on the server: their names and stars, the projects, the boards.
// Every change can be undone. A change that the server has not got yet is kept in this browser, and sent again.

import * as api from "./api.js"
import { unsent } from "./kept.js"

const LOOK_MS = 4000
const STEPS = 200 // that can be undone

const same = (one, other) => JSON.stringify(one ?? null) === JSON.stringify(other ?? null)

/** An id for a new item. */
export const newId = () => `${Date.now().toString(36)}${Math.random().toString(36).slice(2, 8)}`

/** Events: "change" (items), "trouble" ({detail: key of the text, error?}), "copied" (another page had changed a board). */
class Desk extends EventTarget {
  #items = new Map()
  #waiting = unsent.get() // changes that the server has not got yet: [{items, base}]
  #delivered = new Map() // key -> the value that this page has sent last
  #sending = null
  #done = []
  #undone = []
  revision = 0

  /** Read the desk, and look for the changes of other pages for as long as this one is open. */
  async start() {
    for (const { items } of this.#waiting) this.#apply(items)
    await this.look()
    setInterval(() => document.hidden || this.look(), LOOK_MS)
    document.addEventListener("visibilitychange", () => document.hidden || this.look())
  }

  async look() {
    await this.#send()
    await this.#read().catch(() => {}) // the list of videos says that the server is away
  }

  /** Take over what has changed on the server, but for what waits to be sent. */
  async #read() {
    const { revision, items } = await api.desk(this.revision)
    this.revision = Math.max(this.revision, revision)
    const waiting = new Set(this.#waiting.flatMap((change) => Object.keys(change.items)))
    this.#apply(Object.fromEntries(Object.entries(items).filter(([key]) => !waiting.has(key))))
  }

  get(key) {
    return this.#items.get(key) ?? null
  }

  /** [id, value] of all items of a kind: "video", "project", "board". */
  all(kind) {
    return [...this.#items]
      .filter(([key]) => key.startsWith(`${kind}/`))
      .map(([key, value]) => [key.split("/")[1], value])
  }

  /** Write items by their keys; null removes one. `lasting` changes (deletions) cannot be undone. */
  change(items, lasting = false) {
    const before = Object.fromEntries(Object.keys(items).map((key) => [key, this.get(key)]))
    if (same(before, items)) return
    if (!lasting) this.#done = [...this.#done.slice(1 - STEPS), { before, after: items }]
    this.#undone = []
    this.#write(items)
  }

  /** Change some values of one item. Values of null are removed. */
  set(key, values) {
    const whole = Object.entries({ ...this.get(key), ...values }).filter(([, value]) => value !== null)
    this.change({ [key]: whole.length ? Object.fromEntries(whole) : null })
  }

  get canUndo() {
    return this.#done.length > 0
  }

  get canRedo() {
    return this.#undone.length > 0
  }

  undo() {
    this.#step(this.#done, this.#undone, "after", "before")
  }

  redo() {
    this.#step(this.#undone, this.#done, "before", "after")
  }

  /** Take a step back or forth, unless another page has changed what it touches. */
  #step(from, to, now, wanted) {
    const step = from.pop()
    if (!step) return
    if (Object.entries(step[now]).some(([key, value]) => !same(this.get(key), value))) {
      this.#tell("desk.changed")
      return this.dispatchEvent(new Event("change"))
    }
    to.push(step)
    this.#write(step[wanted])
  }

  #write(items) {
    this.#waiting.push({ items, base: this.revision })
    if (!unsent.set(this.#waiting)) this.#tell("storage.full")
    this.#apply(items)
    this.#send()
  }

  #apply(items) {
    for (const [key, value] of Object.entries(items)) {
      if (value === null) this.#items.delete(key)
      else this.#items.set(key, value)
    }
    if (Object.keys(items).length) this.dispatchEvent(new Event("change"))
  }

  /** Send what waits, one change after the other. */
  #send() {
    this.#sending ??= this.#sendAll().finally(() => (this.#sending = null))
    return this.#sending
  }

  /** What the server refuses for good is told and dropped; the rest waits until it answers again. */
  async #sendAll() {
    while (this.#waiting.length) {
      try {
        await this.#deliver(this.#waiting[0])
      } catch (error) {
        if (error instanceof api.Unreachable || error.status >= 500) return
        this.#tell("desk.refused", error)
      }
      this.#waiting.shift()
      unsent.set(this.#waiting)
    }
  }

  async #deliver({ items, base }) {
    try {
      await api.changeDesk(items, base)
    } catch (error) {
      if (error.code !== "changed_meanwhile") throw error
      const { revision, items: theirs } = await api.desk(base)
      items = this.#both(items, theirs)
      await api.changeDesk(items, revision)
    }
    for (const [key, value] of Object.entries(items)) this.#delivered.set(key, value)
    await this.#read()
  }

  /** My change where another page was faster: my board becomes one of its own; of names and stars the last one counts. */
  #both(items, theirs) {
    const entries = Object.entries(items).map(([key, value]) => {
      const foreign = key in theirs && !same(theirs[key], this.#delivered.get(key))
      if (!value || !foreign || !key.startsWith("board/")) return [key, value]
      const copy = { ...value, name: `${value.name} (2)` }
      this.#apply({ [key]: theirs[key] })
      this.#tell("desk.copied", { message: value.name })
      return [`board/${newId()}`, copy]
    })
    return Object.fromEntries(entries)
  }

  #tell(key, error = null) {
    this.dispatchEvent(new CustomEvent("trouble", { detail: { key, error } }))
  }
}

export const desk = new Desk()
