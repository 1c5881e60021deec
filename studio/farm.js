// The Farm page: its workers and what they do; give one no more work, give it work again, remove it. Loaded if there is
// a farm.

import * as api from "./api.js"
import { byId, element, say } from "./element.js"
import { t, worded } from "./language.js"
import { notify } from "./notices.js"
import { askWhether } from "./question.js"
import { videos } from "./videos.js"
import { brief, gigabytes, problem } from "./words.js"

const POLL_MS = 1000

class Farm {
  #rows = new Map() // id of a worker -> its Row
  #timer = null
  #asked = 0 // the number of the newest question: an older answer is stale

  constructor({ select }) {
    this.select = select
    const button = (run, more) => element("button.quiet", { type: "button", onclick: run, ...more })
    const title = element("h2", { id: "farm-title", tabindex: -1, autofocus: true })
    const close = button(() => this.place.close())
    const open = button(() => this.open(), { id: "farm-open" })
    for (const place of [title, open]) worded(place, "farm")
    worded(close, "close")
    this.entries = element("ul.entries", {})
    this.place = element(
      "dialog.library",
      { id: "farm", "aria-labelledby": "farm-title", onclose: () => clearTimeout(this.#timer) },
      element("div.row", {}, title, close),
      element("p.note", { id: "farm-state" }),
      element("p.fault", { id: "farm-fault", role: "alert", hidden: true }),
      this.entries,
      element("p.note", { id: "farm-add" }),
    )
    byId("library").after(this.place)
    byId("library-open").after(open)
    document.addEventListener("language", () => {
      for (const row of this.#rows.values()) row.drawn = ""
    })
  }

  open() {
    this.place.showModal()
    this.look()
  }

  /** Ask the server now, and go on asking while the page is open. */
  async look(asked = api.farm) {
    clearTimeout(this.#timer)
    const number = ++this.#asked
    let fault = ""
    try {
      const answer = await asked()
      await videos.include(answer.workers.map((worker) => worker.job).filter(Boolean))
      if (number === this.#asked) this.draw(answer)
    } catch (error) {
      fault = problem(error)
      if (asked !== api.farm) notify(fault) // the next question writes over the line of the page
    }
    if (number === this.#asked) {
      say("farm-fault", fault)
      if (this.place.open) this.#timer = setTimeout(() => this.look(), POLL_MS)
    }
    return !fault
  }

  draw({ address, waiting, workers }) {
    say("farm-state", [workers.length ? "" : t("farm.none"), t("farm.waiting", { count: waiting })].join(" ").trim())
    say("farm-add", t("farm.add", { command: `python run.py worker --head ${address} --token FILE` }))
    for (const worker of workers) {
      if (!this.#rows.has(worker.id)) this.#rows.set(worker.id, new Row(this))
      this.#rows.get(worker.id).update(worker)
    }
    for (const id of this.#rows.keys()) if (!workers.some((worker) => worker.id === id)) this.#rows.delete(id)
    const places = [...this.#rows.values()].map((row) => row.place)
    if (places.some((place, index) => this.entries.children[index] !== place) || this.entries.children[places.length])
      this.entries.replaceChildren(...places)
  }

  show(event, id) {
    event.preventDefault()
    this.place.close()
    this.select(id)
  }
}

class Row {
  place = element("li.entry", {})
  drawn = ""

  constructor(farm) {
    this.farm = farm
  }

  /** Draw the worker if something of it has changed. The focus stays on its button, or goes to the one in its place. */
  update(worker) {
    const prompt = worker.job && videos.get(worker.job)?.prompt
    const state = JSON.stringify([worker, prompt])
    if (state === this.drawn) return
    this.drawn = state
    const focused = [...this.place.querySelectorAll("button, a")].indexOf(document.activeElement)
    this.place.replaceChildren(this.words(worker, prompt), this.buttons(worker))
    if (focused >= 0) [...this.place.querySelectorAll("button, a")].at(focused)?.focus()
  }

  words({ id, host, gpu, state, model, memory, free, made, job, progress, error }, prompt) {
    const room = memory && (job ? gigabytes(memory) : t("farm.free", { free: gigabytes(free), total: gigabytes(memory) }))
    const facts = [model, room, t("farm.made", { count: made }), host && id].filter(Boolean)
    const percent = progress === null ? "" : ` ${t("percent", { count: progress })}`
    const link = { href: `#${job}`, onclick: (event) => this.farm.show(event, job) }
    return element(
      "div.words",
      {},
      element("strong", {}, host ?? id),
      element("p", {}, [gpu, t(`farm.state.${state}`)].filter(Boolean).join(" · ") + percent),
      job && element("p", { dir: "auto" }, element("a", link, brief(prompt || job, 80))),
      error && element("p.fault", {}, t("farm.error", { error })),
      element("p.edge", {}, facts.join(" · ")),
    )
  }

  buttons({ id, host, state }) {
    const name = `${host ?? ""} ${id}`.trim()
    const turn = /^drain/.test(state) ? "resume" : "drain"
    const button = (act, run) =>
      element(
        "button.quiet",
        { type: "button", onclick: run, "aria-label": t("of", { what: t(`farm.act.${act}`), name }) },
        t(`farm.act.${act}`),
      )
    const remove = async () => {
      if (!(await askWhether(t("farm.remove", { name }), t("farm.act.remove")))) return
      if (await this.farm.look(() => api.worker(id, "remove"))) notify(t("farm.gone", { name }))
    }
    return element(
      "div.acts",
      {},
      button(turn, () => this.farm.look(() => api.worker(id, turn))),
      button("remove", remove),
    )
  }
}

let farm = null

/** Put the page's button into the head of the studio, once. `select(id)` shows a video. */
export const offer = (parts) => (farm ??= new Farm(parts))
