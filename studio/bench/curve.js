// A curve over the time of a blend, drawn with points that a person drags or moves with the keyboard.

import { element } from "../element.js"
import { t } from "../language.js"

const SVG = "http://www.w3.org/2000/svg"
const FINE = 0.05
const APART = 0.02 // of the time, between two points

/** Named curves as points, as Blend Shots has them. */
export const CURVES = {
  linear: [
    [0, 0],
    [1, 1],
  ],
  ease: [0, 0.25, 0.5, 0.75, 1].map((at) => [at, Math.round(at ** 2 * (3 - 2 * at) * 1000) / 1000]),
  sharp: [
    [0, 0],
    [0.4, 0],
    [0.6, 1],
    [1, 1],
  ],
}

const within = (value, low, high) => Math.min(high, Math.max(low, value))
const rounded = (value) => Math.round(value * 100) / 100

export class Curve {
  #points = CURVES.linear
  #drag = null

  /** `changed(points)` is called at the end of each change. */
  constructor(changed) {
    this.changed = changed
    this.svg = document.createElementNS(SVG, "svg")
    this.svg.setAttribute("viewBox", "0 0 100 100")
    this.svg.setAttribute("preserveAspectRatio", "none")
    this.svg.setAttribute("aria-hidden", "true")
    this.fill = this.svg.appendChild(document.createElementNS(SVG, "polygon"))
    this.line = this.svg.appendChild(document.createElementNS(SVG, "polyline"))
    this.handles = element("div.handles", {})
    this.plot = element("div.plot", { ondblclick: (event) => this.#add(event) }, this.svg, this.handles)
    const side = (key, kind) => element(`span.${kind}`, { "aria-hidden": "true" }, t(key))
    this.element = element(
      "div.curve",
      { role: "group", "aria-label": t("blend.curve") },
      side("blend.to", "above"),
      this.plot,
      side("blend.from", "below"),
    )
  }

  draw(points) {
    this.#points = points
    const line = points.map(([time, influence]) => `${time * 100},${100 - influence * 100}`).join(" ")
    this.line.setAttribute("points", line)
    this.fill.setAttribute("points", `0,100 ${line} 100,100`)
    while (this.handles.children.length > points.length) this.handles.lastChild.remove()
    while (this.handles.children.length < points.length) this.handles.append(this.#made(this.handles.children.length))
    points.forEach(([time, influence], index) => {
      const handle = this.handles.children[index]
      handle.style.left = `${time * 100}%`
      handle.style.top = `${100 - influence * 100}%`
      handle.setAttribute("aria-valuenow", Math.round(influence * 100))
      const text = t("blend.point.at", { time: Math.round(time * 100), influence: Math.round(influence * 100) })
      handle.setAttribute("aria-valuetext", text)
      handle.setAttribute("aria-label", t("blend.point", { number: index + 1, of: points.length }))
    })
  }

  #made(index) {
    return element("span.handle", {
      role: "slider",
      tabindex: 0,
      "aria-valuemin": 0,
      "aria-valuemax": 100,
      onpointerdown: (event) => {
        if (event.button) return
        event.currentTarget.setPointerCapture(event.pointerId)
        this.#drag = index
      },
      onpointermove: (event) => this.#drag === index && this.#move(index, ...this.#at(event)),
      onpointerup: () => this.#end(),
      onpointercancel: () => this.#end(),
      onkeydown: (event) => this.#key(event, index),
    })
  }

  #at(event) {
    const { left, top, width, height } = this.plot.getBoundingClientRect()
    return [(event.clientX - left) / width, 1 - (event.clientY - top) / height]
  }

  #move(index, time, influence) {
    const points = this.#points
    const last = points.length - 1
    const low = index === 0 ? 0 : index === last ? 1 : points[index - 1][0] + APART
    const high = index === last ? 1 : index === 0 ? 0 : points[index + 1][0] - APART
    this.draw(points.with(index, [rounded(within(time, low, high)), rounded(within(influence, 0, 1))]))
  }

  #end() {
    if (this.#drag === null) return
    this.#drag = null
    this.changed(this.#points)
  }

  #add(event) {
    const [time, influence] = this.#at(event)
    this.insert(time, influence)
  }

  /** Add a point, unless one is there. */
  insert(time, influence) {
    if (this.#points.some(([at]) => Math.abs(at - time) < APART)) return
    const index = this.#points.findIndex(([at]) => at > time)
    if (index < 1) return
    this.draw(this.#points.toSpliced(index, 0, [rounded(time), rounded(within(influence, 0, 1))]))
    this.changed(this.#points)
    this.handles.children[index].focus({ preventScroll: true })
  }

  #key(event, index) {
    const [time, influence] = this.#points[index]
    const last = this.#points.length - 1
    const run = {
      ArrowUp: () => this.#move(index, time, influence + FINE),
      ArrowDown: () => this.#move(index, time, influence - FINE),
      ArrowLeft: () => this.#move(index, time - FINE, influence),
      ArrowRight: () => this.#move(index, time + FINE, influence),
      Delete: () => index > 0 && index < last && this.draw(this.#points.toSpliced(index, 1)),
      Enter: () => {
        const other = this.#points[index === last ? index - 1 : index + 1]
        this.insert((time + other[0]) / 2, (influence + other[1]) / 2)
      },
    }[event.key]
    if (!run || event.ctrlKey || event.metaKey || event.altKey) return
    event.preventDefault()
    run()
    if (event.key !== "Enter") this.changed(this.#points)
  }
}
