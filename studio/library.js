// The Models page: what is here, what can be fetched and whether it fits this machine; get, cancel and remove.

import * as api from "./api.js"
import { byId, element } from "./element.js"
import { t } from "./language.js"
import { notify, speak } from "./notices.js"
import { clock, gigabytes, problem } from "./words.js"

const POLL_MS = 700
const VERDICTS = { fits: "verdict.fits", offloaded: "verdict.offloaded", "too large": "verdict.large" }

export class Library {
  /** `changed(listed)` is called with the server's models when some came or went; `use(id)` chooses one. */
  constructor({ changed, use }) {
    Object.assign(this, { changed, use, rows: new Map(), timer: null, filter: "" })
    byId("library-open").addEventListener("click", () => this.open())
    byId("library").addEventListener("close", () => this.left())
    byId("library-filter").addEventListener("input", (event) => this.sift(event.target.value))
  }

  get isOpen() {
    return byId("library").open
  }

  open() {
    if (this.isOpen) return
    byId("library").showModal()
    this.load()
  }

  left() {
    clearTimeout(this.timer)
    this.timer = null
  }

  async load() {
    let listed
    try {
      listed = (await api.models()).data
    } catch (error) {
      byId("library-state").textContent = problem(error)
      return
    }
    this.draw(listed)
    this.changed(listed)
    this.follow()
  }

  draw(listed) {
    this.rows.clear()
    const models = listed.filter((model) => !model.installed || model.local_model === model.id)
    for (const model of models) this.rows.set(keyOf(model), new Row(model, this))
    const rows = (installed) =>
      models.filter((model) => model.installed === installed).map((m) => this.rows.get(keyOf(m)))
    byId("library-here").replaceChildren(...rows(true).map((row) => row.place))
    byId("library-offers").replaceChildren(...rows(false).map((row) => row.place))
    byId("library-state").textContent = ""
    byId("library-none").hidden = rows(false).length > 0
    this.sift(this.filter)
  }

  sift(text) {
    this.filter = text
    const words = text.toLowerCase().split(/\s+/)
    for (const row of this.rows.values())
      row.place.hidden = !words.every((word) => row.place.textContent.toLowerCase().includes(word))
    for (const section of byId("library").querySelectorAll("section"))
      section.hidden = text !== "" && !section.querySelector(".entry:not([hidden])")
  }

  /** Ask how far the running downloads are, until none runs or the page is left. */
  follow() {
    clearTimeout(this.timer)
    const running = [...this.rows.values()].filter((row) => row.isRunning)
    if (!this.isOpen || !running.length) return
    this.timer = setTimeout(async () => {
      let over = false
      for (const row of running) {
        try {
          const model = await api.model(row.id)
          // What is done is drawn once, by load(): a row that is drawn twice loses what was pressed between.
          if (model.download?.state !== "done") row.update(model)
          else {
            over = true
            speak(t("models.arrived", { name: row.title }))
          }
        } catch (error) {
          if (!(error instanceof api.Unreachable)) row.fail(error)
        }
      }
      if (over) await this.load()
      else this.follow()
    }, POLL_MS)
  }
}

const keyOf = (model) => model.published?.id ?? model.id

class Row {
  constructor(model, library) {
    Object.assign(this, { library, place: element("li.entry", {}) })
    this.update(model)
  }

  get id() {
    return this.model.published.id
  }

  get title() {
    return this.model.published?.name ?? this.model.name ?? this.model.id
  }

  get isRunning() {
    return this.model.download?.state === "running"
  }

  update(model) {
    this.model = model
    const focused = this.place.contains(document.activeElement) ? document.activeElement.className : null
    this.place.replaceChildren(...this.head(), ...this.foot())
    if (focused !== null) this.place.querySelector("button")?.focus()
  }

  fail(error) {
    this.model.download = { state: "failed", error: { message: error.message, code: error.code } }
    this.update(this.model)
  }

  head() {
    const { name, id, family, published, problem: fault } = this.model
    const lines = [element("strong", {}, this.title)]
    if (published) lines.push(element("p", {}, published.about))
    else if (family && name !== id) lines.push(element("p", {}, id))
    if (fault) lines.push(element("p.fault", {}, fault))
    const facts = published ? this.facts(published) : []
    return [element("div.words", {}, ...lines, facts.length ? element("p.edge", {}, ...facts) : null)]
  }

  facts({ missing, licence, bytes, memory, gated }) {
    const size = this.model.installed ? gigabytes(bytes) : this.size(missing)
    const verdict = memory && t(VERDICTS[(this.model.memory ?? memory).verdict])
    const link = element("a", { href: licence.url, target: "_blank", rel: "noopener noreferrer" }, licence.name)
    const facts = [size, verdict, gated && t("models.gated"), link].filter(Boolean)
    return facts.flatMap((fact, index) => (index ? [" · ", fact] : [fact]))
  }

  /** What a download fetches: "6.3 GB + 5.2 GB for T5-XXL fp8". */
  size(missing) {
    const [own, ...parts] = missing
    const more = parts.map(({ bytes, name }) => t("models.part", { bytes: gigabytes(bytes), name }))
    return [gigabytes(own.bytes), ...more].join(" ")
  }

  foot() {
    const { installed, published, download, local_model: local } = this.model
    if (this.isRunning) return this.progress(download)
    const buttons = []
    if (installed && !this.model.problem && !published?.missing.length)
      buttons.push(this.button(t("models.use"), () => this.library.use(local ?? this.model.id), "generate"))
    if (published?.missing.length)
      buttons.push(this.button(t(installed ? "models.complete" : "models.get"), () => this.get(), "generate"))
    if (installed && published) buttons.push(this.button(t("remove"), () => this.confirm(), "quiet"))
    const fault =
      download?.state === "failed"
        ? element("p.fault", { role: "alert" }, problem(download.error))
        : download?.state === "cancelled"
          ? element("p.note", {}, t("models.cancelled"))
          : null
    return [element("div.acts", {}, ...buttons), fault].filter(Boolean)
  }

  progress({ bytes, total, bytes_per_second: pace, seconds_left: left }) {
    const share = total ? Math.min(100, (100 * bytes) / total) : 0
    const bar = element("div", {})
    bar.style.width = `${share}%`
    const stroke = element(
      "div.stroke",
      {
        role: "progressbar",
        "aria-label": t("models.downloading", { name: this.title }),
        "aria-valuenow": Math.round(share),
      },
      bar,
    )
    const words = [t("models.progress", { bytes: gigabytes(bytes), total: gigabytes(total) })]
    if (pace) words.push(t("models.pace", { bytes: gigabytes(pace) }))
    if (left !== null && left !== undefined) words.push(t("left", { time: clock(left) }))
    return [
      element(
        "div.acts",
        {},
        this.button(t("cancel"), () => this.cancel(), "quiet"),
      ),
      stroke,
      element("p.note", {}, words.join(" · ")),
    ]
  }

  button(text, run, kind) {
    return element(
      `button.${kind}`,
      { type: "button", onclick: run, "aria-label": t("of", { what: text, name: this.title }) },
      text,
    )
  }

  async act(call, then) {
    for (const button of this.place.querySelectorAll("button")) button.disabled = true
    try {
      await then(await call())
    } catch (error) {
      this.fail(error)
    }
  }

  get() {
    this.act(
      () => api.download(this.id),
      (model) => {
        if (model.download?.state !== "running") return this.library.load()
        this.update(model)
        this.library.follow()
      },
    )
  }

  cancel() {
    this.act(
      () => api.cancelDownload(this.id),
      (model) => this.update(model),
    )
  }

  confirm() {
    const sure = this.button(
      t("models.delete", { bytes: gigabytes(this.model.published.bytes) }),
      () => this.remove(),
      "generate",
    )
    const keep = this.button(t("keep"), () => this.update(this.model), "quiet")
    this.place.querySelector(".acts").replaceChildren(sure, keep)
    keep.focus()
  }

  remove() {
    this.act(
      () => api.removeModel(this.id),
      () => {
        notify(t("models.removed", { name: this.title }))
        this.library.load()
      },
    )
  }
}
