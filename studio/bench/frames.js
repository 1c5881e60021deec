// The frames of a clip by number, to draw any of them at once: sought in a hidden player, and kept as small pictures.

const SIDE = 480 // pixels of a kept picture's longer side
const MOST_BYTES = 160e6 // of all kept pictures
const PATIENCE = 8000 // milliseconds for one frame

export class Frames {
  #player = document.createElement("video")
  #kept = new Map() // number -> ImageBitmap
  #wanted = null
  #busy = false
  #closed = false

  /** `count` frames at `fps`. `come(number)` is called when a frame can be drawn; `failed(error)` if the clip cannot. */
  constructor(url, count, fps, { come = () => {}, failed = () => {} } = {}) {
    Object.assign(this, { count, fps, come, failed })
    Object.assign(this.#player, { muted: true, preload: "auto", playsInline: true, src: url })
    this.ready = new Promise((done, fail) => {
      this.#player.addEventListener("loadeddata", done, { once: true })
      this.#player.addEventListener("error", () => fail(new Error(this.#player.error?.message || "error")), {
        once: true,
      })
    })
    this.ready.then(() => this.#work()).catch((error) => this.#closed || failed(error))
  }

  get size() {
    return [this.#player.videoWidth || 16, this.#player.videoHeight || 9]
  }

  has(number) {
    return this.#kept.has(number)
  }

  /** Draw a frame onto a canvas; the nearest one that is here until it comes. */
  draw(canvas, number) {
    const picture = this.#kept.get(number) ?? this.#nearest(number)
    if (!this.#kept.has(number)) {
      this.#wanted = number
      this.#work()
    }
    if (!picture) return
    if (canvas.width !== picture.width) canvas.width = picture.width
    if (canvas.height !== picture.height) canvas.height = picture.height
    canvas.getContext("2d").drawImage(picture, 0, 0)
  }

  #nearest(number) {
    for (let away = 1; away < 6; away++)
      for (const near of [number - away, number + away]) if (this.#kept.has(near)) return this.#kept.get(near)
    return null
  }

  /** Fetch the wanted frame, else the next one that is not here, one at a time. */
  async #work() {
    if (this.#busy || this.#closed || !this.#player.videoWidth) return
    this.#busy = true
    try {
      for (let next; (next = this.#next()) !== null && !this.#closed;) await this.#fetch(next)
    } catch (error) {
      if (!this.#closed) this.failed(error)
    }
    this.#busy = false
  }

  #next() {
    const wanted = this.#wanted
    this.#wanted = null
    if (wanted !== null && !this.#kept.has(wanted)) return wanted
    const [width, height] = this.#scaled()
    if (this.#kept.size >= this.count || this.#kept.size * width * height * 4 > MOST_BYTES) return null
    for (let number = 0; number < this.count; number++) if (!this.#kept.has(number)) return number
    return null
  }

  #scaled() {
    const [width, height] = this.size
    const scale = Math.min(1, SIDE / Math.max(width, height))
    return [Math.max(1, Math.round(width * scale)), Math.max(1, Math.round(height * scale))]
  }

  async #fetch(number) {
    const player = this.#player
    const time = Math.min((number + 0.5) / this.fps, Math.max(0, player.duration - 0.001))
    await new Promise((done, fail) => {
      const timer = setTimeout(() => fail(new Error(`frame ${number}`)), PATIENCE)
      player.addEventListener("seeked", () => (clearTimeout(timer), done()), { once: true })
      player.currentTime = time
    })
    const [resizeWidth, resizeHeight] = this.#scaled()
    const picture = await createImageBitmap(player, { resizeWidth, resizeHeight, resizeQuality: "medium" })
    if (this.#closed) return picture.close()
    this.#kept.set(number, picture)
    this.come(number)
  }

  close() {
    this.#closed = true
    this.#player.removeAttribute("src")
    this.#player.load()
    for (const picture of this.#kept.values()) picture.close()
    this.#kept.clear()
  }
}
