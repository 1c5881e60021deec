// The stage: one video, large, whether it is waiting, generating, completed or failed, with its buttons.

import * as api from "./api.js"
import { byId, element } from "./element.js"
import { loudness } from "./kept.js"
import { t } from "./language.js"
import { notify } from "./notices.js"
import { Preview } from "./preview.js"
import { isActive, videos } from "./videos.js"
import { brief, elapsed, isUnbroken, kind, number, place, problem, roughly, sentence, size, when } from "./words.js"

const PREVIEW_MS = 500
const STILL = matchMedia("(prefers-reduced-motion: reduce)")

export class Stage {
  /** `acts` are {reuse, turn, bench, remove, select, tries(), write, can(video, task)}: actions of the rest of the page. */
  constructor(acts) {
    Object.assign(this, { acts, id: null, drawn: null, refreshers: [] })
    this.body = byId("stage-body")
    setInterval(() => this.tick(), 250)
    this.watch()
  }

  get video() {
    return this.id === null ? undefined : videos.get(this.id)
  }

  show(id) {
    this.id = id
    this.update()
  }

  /** Draw what has changed. A playing video is not touched; `refreshers` enable what the other videos now allow. */
  update() {
    const { video } = this
    const shown = !video ? "empty" : isActive(video) ? "working" : video.status
    const state = `${shown} ${video?.id}`
    if (state !== this.drawn) {
      this.drawn = state
      const focused = this.body.contains(document.activeElement)
      this.refreshers = []
      this.body.replaceChildren(...this[shown](video))
      if (focused) byId("stage-title").focus({ preventScroll: true })
    }
    for (const refresh of this.refreshers) refresh()
    this.tick()
  }

  empty() {
    const tries = this.acts
      .tries()
      .map((text) => element("button.quiet", { type: "button", onclick: () => this.acts.write(text) }, text))
    const words = [
      element("strong", {}, t("empty.title")),
      element("p", {}, t("empty.how")),
      element("div.tries", {}, ...tries),
      this.acts.lacking() &&
        element(
          "p.hint",
          {},
          t("empty.pocket"),
          " ",
          element("button.quiet", { type: "button", onclick: this.acts.models }, t("empty.real")),
        ),
    ]
    return [film([], element("div.frame", {}, element("div.words", {}, ...words)))]
  }

  working(video) {
    this.preview = new Preview(video)
    this.line = element("strong", {})
    this.hint = element("p", {})
    this.bar = element("div", {})
    this.stroke = element(
      "div.stroke",
      { role: "progressbar", "aria-label": t("progress"), "aria-valuemin": 0, "aria-valuemax": 100 },
      this.bar,
    )
    this.count = element("p", {})
    const cancel = element("button.quiet", { type: "button", onclick: () => this.cancel(video, cancel) }, t("cancel"))
    const words = element("div.words", {}, this.line, this.hint)
    this.words = words
    return [
      film(edge(video), element("div.frame", {}, this.preview.picture, words, this.preview.caption), null, [
        this.stroke,
        element("div.working", {}, this.count, cancel),
      ]),
      this.made(video),
    ]
  }

  completed(video) {
    const player = element("video", {
      controls: true,
      loop: true,
      playsinline: true,
      "aria-label": t("of", { what: t("kind.generate"), name: brief(video.prompt) }),
    })
    Object.assign(player, loudness.get())
    player.addEventListener("volumechange", () => loudness.set({ muted: player.muted, volume: player.volume }))
    api.address(video.id, "video").then(
      (url) => {
        player.src = url
        if (!STILL.matches) play(player)
      },
      (error) => notify(problem(error)),
    )
    const notes = []
    const act = (label, run, kind = "button.quiet", more = {}) =>
      element(kind, { type: "button", onclick: run, ...more }, label)
    const make = (label, task, run = () => this.acts.turn(task, video)) => {
      const { supported, note } = this.acts.can(video, task)
      if (note)
        notes.push(element("p.note", { id: `${task}-possible` }, sentence(t("of", { what: label, name: note }))))
      const more = { disabled: !supported, "aria-describedby": note ? `${task}-possible` : null }
      return act(label, run, undefined, more)
    }
    const download = element("a.quiet", { href: "#", download: `${named(video.prompt)}.mp4` }, t("download"))
    api.address(video.id, "video").then(
      (url) => (download.href = url),
      () => {},
    )
    const graph = element(
      "a.quiet",
      { href: `./?atelier_video=${video.id}`, target: "_blank", rel: "opener" },
      t("open.graph"),
    )
    const comparing = act(t("compare"), () => this.acts.compare(video))
    this.refreshers.push(() => (comparing.disabled = !this.acts.hasOther(video)))
    const acts = [
      act(t("reuse"), () => this.acts.reuse(video)),
      ...[make(t("edit.act"), "edit"), make(t("extend.act"), "extend"), make(t("loop.act"), "loop")],
      act(t("recut.act"), () => this.acts.bench("recut", video)),
      make(t("blend.act"), "blend", () => this.acts.bench("blend", video)),
      ...[comparing, graph, download],
      act(t("delete"), () => this.acts.remove(video), "button.quiet.last"),
    ]
    const made = this.made(video, acts, notes)
    const { parts, refresh } = this.acts.controls(video)
    this.refreshers.push(refresh)
    const own = element("div.acts", { role: "group", "aria-label": t("project.group") }, ...parts)
    return [film(edge(video), element("div.frame", {}, player), facts(video)), ...this.siblings(video), own, made]
  }

  failed(video) {
    const cancelled = video.error?.code === "cancelled"
    const words = [
      element("strong", {}, t(cancelled ? "cancelled" : "failed.title")),
      element("p", {}, problem(video.error ?? { message: t("failed.unknown") })),
    ]
    const acts = [
      element("button.quiet", { type: "button", onclick: () => this.acts.reuse(video) }, t("reuse")),
      element("button.quiet.last", { type: "button", onclick: () => this.acts.remove(video) }, t("delete")),
    ]
    return [
      film(edge(video), element("div.frame", {}, element("div.words", {}, ...words)), facts(video)),
      this.made(video, acts),
    ]
  }

  /** The prompt, the buttons, the settings, and the server's warnings. */
  made(video, acts = [], notes = []) {
    const known = Object.entries(settings(video)).filter(
      ([, value]) => value !== null && value !== undefined && value !== "",
    )
    const list = known.map(([name, value]) =>
      element("div", {}, element("dt", {}, t(name)), element("dd", { dir: "auto" }, String(value))),
    )
    const remarks = (video.warnings ?? []).map((text) => element("p.note", {}, sentence(text)))
    const does = acts.length ? element("div.acts", {}, ...acts) : null
    return element(
      "div.made",
      {},
      element(isUnbroken(video.prompt) ? "p.unbroken" : "p", { dir: "auto" }, video.prompt),
      does,
      ...notes,
      element("dl", {}, ...list),
      ...remarks,
    )
  }

  siblings(video) {
    const ids = video.variations ?? []
    if (ids.length < 2) return []
    const buttons = ids.map((id, index) =>
      element(
        "button.quiet",
        {
          type: "button",
          "aria-current": id === video.id ? "true" : null,
          onclick: () => this.acts.select(id),
        },
        t("variation", { number: index + 1 }),
      ),
    )
    const beside = element("button.quiet", { type: "button", onclick: () => this.acts.beside(video) }, t("beside"))
    this.refreshers.push(() => {
      ids.forEach((id, index) => (buttons[index].disabled = !videos.get(id)))
      beside.disabled = ids.filter((id) => videos.get(id)?.status === "completed").length < 2
    })
    return [element("div.acts", { role: "group", "aria-label": t("variations") }, ...buttons, beside)]
  }

  /** Update times and progress. */
  tick() {
    const { video } = this
    if (!video || !isActive(video)) return
    const began = video.started_at ?? video.created_at
    const passed = api.now() - began
    const queued = video.status === "queued"
    set(this.line, queued ? place(video.queue_position) : this.preview.isShown ? "" : t("developing"))
    const unseen = this.preview.without ? t("preview.none") : ""
    set(this.hint, queued ? t("place.hint") : unseen)
    this.words.hidden = !queued && this.preview.isShown
    const left = roughly((passed / video.progress) * (100 - video.progress))
    const parts = [
      video.steps && t("step", { step: video.step, steps: video.steps }),
      t("percent", { count: video.progress }),
      elapsed(passed),
      video.progress > 5 && t("left", { time: left }),
    ]
    set(this.count, queued ? t("waited", { time: elapsed(passed) }) : parts.filter(Boolean).join(" · "))
    this.bar.style.width = `${video.progress}%`
    this.stroke.setAttribute("aria-valuenow", video.progress)
    this.stroke.setAttribute("aria-valuetext", this.count.textContent)
  }

  /** Look for a preview about twice a second, for as long as the page is open. */
  async watch() {
    for (;;) {
      const { video, preview } = this
      const isRunning = video?.status === "in_progress" && video.progress > 0 && !document.hidden
      if (isRunning) await preview.look()
      await new Promise((done) => setTimeout(done, PREVIEW_MS * (isRunning && preview.without ? 10 : 1)))
    }
  }

  /** Cancel a job. The button is only marked as disabled, so that it keeps the focus. */
  async cancel(video, button) {
    if (button.ariaDisabled === "true") return
    button.ariaDisabled = "true"
    button.textContent = t("cancelling")
    try {
      await api.cancel(video.id)
      await videos.look()
    } catch (error) {
      button.ariaDisabled = "false"
      button.textContent = t("cancel")
      notify(problem(error))
    }
  }
}

/** Play a video, without its sound if the browser refuses that before the person has used the page. */
async function play(player) {
  try {
    await player.play()
  } catch (error) {
    if (error.name !== "NotAllowedError" || player.muted) return
    player.muted = true
    player.play().catch(() => {})
  }
}

function set(place, text) {
  if (place.textContent !== text) place.textContent = text
}

function film(above, frame, below, rest = []) {
  const title = element("span.title", { "aria-hidden": "true" }, t("stage"))
  return element(
    "div.film",
    {},
    element("div.rebate", {}, title, ...above),
    frame,
    below && element("div.rebate", {}, ...below),
    ...rest,
  )
}

function edge(video) {
  const measures = [
    video.size.includes("x") && size(video.size),
    Number(video.seconds) && t("seconds.short", { count: Number(video.duration ?? video.seconds) }),
    video.fps && t("rate", { count: video.fps }),
  ]
  return [
    element("span.edge", {}, video.local_model ?? video.model),
    element("span.edge", {}, measures.filter(Boolean).join(" · ")),
  ]
}

function facts(video) {
  return [
    element("span.edge", {}, `${kind(video.operation)} · ${when(video.created_at)}`),
    element("span.edge", {}, video.seed === undefined ? "" : t("seed.of", { seed: String(video.seed) })),
  ]
}

/** The settings that were used, by the keys of their names. */
function settings(video) {
  const isTimed = video.status === "completed" && video.started_at
  const took = isTimed ? elapsed(video.completed_at - video.started_at) : null
  return {
    steps: video.num_inference_steps,
    guidance: video.guidance_scale,
    style: ["none", "the model's own"].includes(video.style) ? null : video.style,
    "made.negative": video.negative_prompt,
    strength: video.strength,
    "made.frames": video.num_frames,
    seed: video.seed,
    "made.time": took && t("made.in", { time: took }),
    "made.expires": video.expires_at && when(video.expires_at),
  }
}

/** A file name from a prompt. */
function named(prompt) {
  const words = (prompt ?? "")
    .normalize("NFKD")
    .replace(/[^\p{L}\p{N}]+/gu, "-")
    .replace(/^-+|-+$/g, "")
  return words.slice(0, 60).toLowerCase() || "video"
}
