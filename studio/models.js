// A model's abilities from GET /v1/models in the form's terms: sizes, lengths, and why something is not possible.

import { t } from "./language.js"
import { gigabytes, size } from "./words.js"

export const RESOLUTIONS = ["own", "360p", "480p", "720p", "1080p"]
export const ASPECTS = ["16:9", "4:3", "1:1", "3:4", "9:16"]
const OVERHEAD = 0.7e9 // bytes that the driver takes of a GPU; this and the next as in models/library/fit.py
const WORKING_SET = 1e9 // bytes of a model's layers that are on the GPU at once if the rest is offloaded
const LONGEST = 10 // seconds, if the model has no limit

const sides = (text) => text.split("x").map(Number)
const ratio = (aspect) => aspect.split(":").reduce((wide, high) => wide / high)

export class Model {
  constructor(listed) {
    this.id = listed.id
    this.local = listed.local_model ?? listed.id
    this.isAlias = this.id !== this.local
    this.isBuiltIn = /\(built in\)$/.test(this.local) // a small one that ships with Atelier
    this.name = listed.name ?? this.local
    this.problem = listed.problem ?? ""
    this.defaults = listed.defaults ?? {}
    this.limits = listed.limits ?? {}
    this.styles = listed.styles ?? []
    this.sizes = (listed.sizes ?? []).map(sides)
    this.side = listed.multiples?.side ?? 8
    this.frameStep = listed.multiples?.frames ?? 1
    this.features = listed.features ?? {}
    this.memory = listed.memory ?? null
  }

  /** A warning if a clip of this size and length does not fit the server's memory; "" if it does. */
  tight(size, frames) {
    if (!this.memory) return ""
    const { network, step, device } = this.memory
    const own =
      this.ownSize && this.defaults.num_frames ? this.ownSize[0] * this.ownSize[1] * this.defaults.num_frames : 0
    const needed = own && size && frames ? (step * size[0] * size[1] * frames) / own : step
    const room = device.bytes - (device.name === "cpu" ? 0 : OVERHEAD)
    if (network + needed <= room) return ""
    const bytes = { needed: gigabytes(network + needed), there: gigabytes(device.bytes) }
    const told = t(device.name === "cpu" ? "memory.machine" : "memory.card", bytes)
    const smaller = /fp8|gguf|q\d/i.test(this.local) ? t("memory.size") : t("memory.weights")
    const streamed = device.name !== "cpu" && needed + Math.min(network, WORKING_SET) <= room
    if (streamed && network < device.main_bytes) return t("memory.offloaded", { told, smaller })
    return t("memory.large", { told, smaller })
  }

  /** {supported, note, needs}: whether the model has a feature, a remark on it, and the file that it lacks, if any. */
  can(feature) {
    const ability = this.features[feature]
    return { supported: ability?.supported ?? true, note: ability?.note ?? "", needs: ability?.needs ?? "" }
  }

  get ownSize() {
    return this.defaults.size ? sides(this.defaults.size) : (this.sizes[0] ?? null)
  }

  /** The aspect nearest to the model's own size. */
  get ownAspect() {
    const [width, height] = this.ownSize ?? [16, 9]
    return nearest(ASPECTS, (aspect) => Math.abs(Math.log(ratio(aspect) / (width / height))))
  }

  /** [width, height] of a resolution in an aspect, of a video `times` larger than what the model makes first; null if
   *  only the model knows. */
  size(resolution, aspect, times = 1) {
    if (resolution === "own") {
      const shape = ([width, height]) => Math.abs(Math.log(ratio(aspect) / (width / height)))
      const own = this.sizes.length ? nearest(this.sizes, shape) : this.ownSize
      return own && own.map((side) => side * times)
    }
    const short = parseInt(resolution)
    const step = this.side * times
    const long = Math.max(ratio(aspect), 1 / ratio(aspect)) * short
    const [one, other] = [long, short].map((side) => Math.max(1, Math.round(side / step)) * step)
    return ratio(aspect) < 1 ? [other, one] : [one, other]
  }

  /** Why the model cannot make this resolution; "" if it can. */
  against(resolution, aspect, times = 1) {
    const wanted = this.size(resolution, aspect, times)
    const most = this.limits.max_pixels
    if ((resolution === "own" && times === 1) || !wanted || !most || wanted[0] * wanted[1] <= most) return ""
    const own = this.ownSize ? `${t("comma")}${size(this.ownSize.join("x"))}` : ""
    return t("model.pixels", { name: this.name, count: most, own })
  }

  /** A warning if a size is larger than the model was trained for, or its upscaler makes of that; "" if it is not. */
  beyond(chosen, times = 1) {
    const own = this.ownSize?.map((side) => side * times)
    if (!own || !chosen || chosen[0] * chosen[1] <= own[0] * own[1] * 1.1) return ""
    return t("model.beyond", { name: this.name, size: size(own.join("x")) })
  }

  get ownSeconds() {
    const { seconds, num_frames, fps } = this.defaults
    return Number(seconds) || (num_frames && fps ? num_frames / fps : 4)
  }

  /** {min, max, step} of the duration, in seconds. */
  get seconds() {
    const { max_seconds, max_frames } = this.limits
    const limits = [max_seconds, max_frames && this.defaults.fps && max_frames / this.defaults.fps].filter(Boolean)
    const most = limits.length ? Math.min(...limits) : Math.max(LONGEST, Math.ceil(this.ownSeconds * 2))
    const step = most <= 6 ? 0.5 : 1
    return { min: step, max: Math.max(step, Math.floor(most / step) * step), step, limited: limits.length > 0 }
  }

  /** Seconds as a number of frames that the model can make; null if its frame rate is unknown. */
  frames(seconds, fps = this.defaults.fps) {
    if (!fps) return null
    return Math.max(0, Math.round((seconds * fps - 1) / this.frameStep)) * this.frameStep + 1
  }

  /** A remark on a length at the model's limit, or beyond what it was trained for. */
  lasting(seconds) {
    if (this.seconds.limited && seconds >= this.seconds.max)
      return t("model.longest", { name: this.name, count: seconds })
    if (seconds <= this.ownSeconds * 1.25) return ""
    return t("model.longer", { name: this.name, count: this.ownSeconds })
  }
}

export function nearest(things, distance) {
  return things.reduce((best, thing) => (distance(thing) < distance(best) ? thing : best))
}
