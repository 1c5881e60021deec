// Undo and redo: the states that a view was in.

const MOST = 200

export class Steps {
  #states
  #now = 0

  /** `shown(state)` draws a state that undo or redo has brought back. */
  constructor(first, shown) {
    this.#states = [first]
    this.shown = shown
  }

  get now() {
    return this.#states[this.#now]
  }

  get canUndo() {
    return this.#now > 0
  }

  get canRedo() {
    return this.#now < this.#states.length - 1
  }

  /** Begin again with a state, without a way back. */
  reset(state) {
    this.#states = [state]
    this.#now = 0
  }

  /** Add a state, unless it is the present one. */
  add(state) {
    if (JSON.stringify(state) === JSON.stringify(this.now)) return
    this.#states = [...this.#states.slice(0, this.#now + 1), state].slice(-MOST)
    this.#now = this.#states.length - 1
  }

  undo() {
    if (this.canUndo) this.shown(this.#states[--this.#now])
  }

  redo() {
    if (this.canRedo) this.shown(this.#states[++this.#now])
  }

  /** Undo or redo if a key's event asks for it. Returns whether it does. Text fields keep their own undo. */
  key(event) {
    if (!(event.ctrlKey || event.metaKey) || event.altKey || event.target.matches("textarea, input:not([type=range])"))
      return false
    const key = event.key.toLowerCase()
    if (key === "z" && !event.shiftKey) this.undo()
    else if (key === "y" || (key === "z" && event.shiftKey)) this.redo()
    else return false
    event.preventDefault()
    return true
  }
}
