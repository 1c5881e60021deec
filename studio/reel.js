// A long list, drawn piece by piece: what fits on the screen at once, the rest while the page has nothing else to do.

const AT_ONCE = 24 // new rows before the next picture of the page: more than a screen shows
const A_PIECE = 8
const SLACK_MS = 2 // that is left of an idle time when another row is begun
const PATIENCE_MS = 50 // after which a page that is never idle goes on nevertheless

// Safari has no idle times.
const later = window.requestIdleCallback ?? ((run) => setTimeout(() => run({ timeRemaining: () => 0 }), 16))
const never = window.cancelIdleCallback ?? clearTimeout

export class Reel {
  #rows = new Map()
  #waiting = null

  /**
   * `make(item)` gives a row: {place, draw(item, chosen)}, and in a tree `list`, the place of the rows below it.
   * `above(item)` is the id of the item that it stands below.
   */
  constructor(place, make, above = () => null) {
    Object.assign(this, { place, make, above })
  }

  /** Draw these items, in order, in a tree each one after the one above it. `chosen` is the id of the one to mark. */
  draw(items, chosen) {
    const ids = new Set(items.map((item) => item.id))
    for (const [id, row] of this.#rows) {
      if (ids.has(id)) continue
      row.place.remove()
      this.#rows.delete(id)
    }
    for (const item of items) this.#rows.get(item.id)?.draw(item, item.id === chosen)
    let count = AT_ONCE
    this.#fill(items, chosen, () => count-- > 0)
  }

  /** Put the rows into their order. New ones are made for as long as `may()`, the others when the page is idle. */
  #fill(items, chosen, may) {
    never(this.#waiting)
    const next = new Map() // a list -> the row that comes next in it
    let left = false
    for (const item of items) {
      const list = this.#list(this.above(item))
      if (!list) continue // the row above it waits itself
      if (!this.#rows.has(item.id) && !may()) {
        left = true
        continue
      }
      const { place } = this.#rows.get(item.id) ?? this.#add(item, chosen)
      const there = next.has(list) ? next.get(list) : list.firstElementChild
      if (there !== place) list.insertBefore(place, there)
      next.set(list, place.nextElementSibling)
    }
    if (left) this.#waiting = later((idle) => this.#goOn(items, chosen, idle), { timeout: PATIENCE_MS })
  }

  #goOn(items, chosen, idle) {
    let count = A_PIECE
    this.#fill(items, chosen, () => count-- > 0 || idle.timeRemaining() > SLACK_MS)
  }

  #list(above) {
    return above === null ? this.place : this.#rows.get(above)?.list
  }

  #add(item, chosen) {
    const row = this.make(item)
    row.draw(item, item.id === chosen)
    this.#rows.set(item.id, row)
    return row
  }
}
