// The frames of a clip by number, to draw any of them at once: taken from a hidden player, and kept as small pictures.

const SIDE = 480 // pixels of a kept picture's longer side
const MOST_BYTES = 160e6 // of all kept pictures; those nearest to what is looked at stay
const PATIENCE = 8000 // milliseconds for one frame
const PER_SECOND = 60 // frames that the clip plays, as a screen does; of sought ones, 14 come in a second
const FASTEST = 16 // times the clip's own speed, the most that browsers play
const AHEAD = 12 // frames that are reached sooner by playing on than by seeking
const STALLED = 500 // milliseconds without a frame, after which playing has come to its end

export class Frames {
  #player = document.createElement("video")
  #kept = new Map() // number -> ImageBitmap
  #wanted = null
  #busy = false
  #closed = false
  #follows = "VideoFrame" in window && "requestVideoFrameCallback" in HTMLVideoElement.prototype // not without HTTPS

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
    for (let away = 1; away < this.count; away++)
      for (const near of [number - away, number + away]) if (this.#kept.has(near)) return this.#kept.get(near)
    return null
  }

  /** Fetch the wanted frame, else the first that is not here, and those that pass as the clip plays on from it. */
  async #work() {
    if (this.#busy || this.#closed || !this.#player.videoWidth) return
    this.#busy = true
    try {
      for (let next; (next = this.#next()) !== null && !this.#closed;) {
        await this.#fetch(next)
        if (this.#follows && this.#leads(next)) await this.#follow()
      }
    } catch (error) {
      if (!this.#closed) this.failed(error)
    }
    this.#busy = false
  }

  #next() {
    const wanted = this.#wanted
    this.#wanted = null
    if (wanted !== null && !this.#kept.has(wanted)) return wanted
    return this.#isFull ? null : this.#missing(0, this.count)
  }

  get #isFull() {
    const [width, height] = this.#scaled()
    return this.#kept.size >= this.count || this.#kept.size * width * height * 4 > MOST_BYTES
  }

  /** The first frame of [from, until) that is not here, or null. */
  #missing(from, until) {
    for (let number = from; number < Math.min(until, this.count); number++) if (!this.#kept.has(number)) return number
    return null
  }

  /** Whether playing on from a frame reaches soon what is wanted or missing. */
  #leads(number) {
    const wanted = this.#wanted === null || this.#kept.has(this.#wanted) ? null : this.#wanted
    if (wanted !== null) return wanted > number && wanted <= number + AHEAD
    return !this.#isFull && this.#missing(number + 1, number + 1 + AHEAD) !== null
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
    await this.#keep(number, player)
  }

  /** Play on, and keep the frames that pass for as long as that leads somewhere. */
  async #follow() {
    const player = this.#player
    const coming = []
    let last = performance.now()
    player.playbackRate = Math.min(FASTEST, Math.max(1, PER_SECOND / this.fps))
    await new Promise((done) => {
      const watch = setInterval(() => (player.ended || performance.now() - last > STALLED) && end(), 50)
      const end = () => (clearInterval(watch), player.cancelVideoFrameCallback(next), player.pause(), done())
      const pass = () => {
        last = performance.now()
        const [number, kept] = this.#take()
        coming.push(kept)
        if (!this.#closed && this.#leads(number)) next = player.requestVideoFrameCallback(pass)
        else end()
      }
      let next = player.requestVideoFrameCallback(pass)
      player.play().catch(end)
    })
    if (!coming.length && !document.hidden) this.#follows = false
    await Promise.all(coming)
  }

  /** Keep the frame that the player shows: [its number, which is the frame's own, a Promise of when it is kept]. */
  #take() {
    const frame = new VideoFrame(this.#player)
    const number = Math.floor((frame.timestamp / 1e6) * this.fps + 0.01)
    const isNew = number < this.count && !this.#kept.has(number)
    const kept = isNew ? this.#keep(number, frame).catch(() => {}) : Promise.resolve() // what fails is sought later
    return [number, kept.finally(() => frame.close())]
  }

  async #keep(number, source) {
    const [resizeWidth, resizeHeight] = this.#scaled()
    const picture = await createImageBitmap(source, { resizeWidth, resizeHeight, resizeQuality: "medium" })
    if (this.#closed || this.#kept.has(number)) return picture.close()
    if (this.#isFull) this.#drop(number)
    this.#kept.set(number, picture)
    this.come(number)
  }

  /** Make room for a frame: the kept one that is the farthest from it goes. */
  #drop(number) {
    const away = (other) => Math.abs(other - number)
    const farthest = [...this.#kept.keys()].reduce((far, other) => (away(other) > away(far) ? other : far))
    this.#kept.get(farthest).close()
    this.#kept.delete(farthest)
  }

  close() {
    this.#closed = true
    this.#player.removeAttribute("src")
    this.#player.load()
    for (const picture of this.#kept.values()) picture.close()
    this.#kept.clear()
  }
}
