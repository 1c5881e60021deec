// The form: the request, and which of its settings the chosen model and task allow.

import * as api from "./api.js"
import { Choices } from "./choices.js"
import { byId, element, say } from "./element.js"
import { Expansion } from "./expansion.js"
import { draft } from "./kept.js"
import { t, worded } from "./language.js"
import { ASPECTS, Model, RESOLUTIONS, nearest } from "./models.js"
import { notify } from "./notices.js"
import { faults, send } from "./request.js"
import { Upload } from "./upload.js"
import { videos } from "./videos.js"
import { brief, isUnbroken, number, problem, sentence } from "./words.js"

/** The keys of a task's words. */
const TASKS = {
  generate: { button: "generate", length: "duration" },
  edit: { button: "edit.button", title: "edit.title" },
  extend: { button: "extend.button", title: "extend.title", length: "extend.length" },
  loop: { button: "loop.button", title: "loop.title" },
}
const STRENGTHS = [
  [0.5, "strength.subtle"],
  [0.75, "strength.mild"],
  [0.95, "strength.strong"],
  [1, "strength.all"],
]
const TEXTS = ["prompt", "expanded", "seed", "negative_prompt", "num_inference_steps", "guidance_scale", "fps"]
/** The style of a request without one: the words that the model's authors add, if any. */
const OWN_STYLE = "the model's own"
const STRIPS = ["resolution", "quality", "aspect", "n", "direction", "seam"]
const DEFAULTS = { resolution: "own", quality: "standard", n: "1", direction: "forward", seam: "normal" }
/** The field that shows an API error for a field without a place of its own. */
const PLACES = { input_reference: "picture", last_frame: "picture" }

export class Form {
  /** `started(video, show)` is called with each video that the server accepts; `shown()` is the one on the stage. */
  constructor({ started, shown }) {
    Object.assign(this, { started, shown, models: [], task: "generate", source: null, sending: false })
    const strip = (id, labels) => {
      const options = labels.map(([value, key, picture = null]) => ({ value, label: value, key, picture }))
      this[id] = new Choices(id, options, () => this.changed(id))
    }
    strip(
      "resolution",
      RESOLUTIONS.map((value) => [value, value === "own" && "resolution.own"]),
    )
    strip("quality", [
      ["standard", "quality.standard"],
      ["high", "quality.high"],
    ])
    strip(
      "aspect",
      ASPECTS.map((value) => [value, null, shape(value)]),
    )
    strip("n", [["1"], ["2"], ["3"], ["4"]])
    strip("direction", [
      ["forward", "direction.forward"],
      ["backward", "direction.backward"],
    ])
    strip("seam", [
      ["short", "seam.short"],
      ["normal", "seam.normal"],
      ["long", "seam.long"],
    ])
    const pictured = (fault) => this.fault("picture", fault)
    const heard = (fault) => this.fault("audio_reference", fault)
    this.first = new Upload(byId("first-frame"), "picture.first", "picture", "picture", pictured)
    this.last = new Upload(byId("last-frame"), "picture.last", "picture", "picture", pictured)
    this.given = new Upload(byId("given-sound"), "sound.given", "sound", "audio_reference", heard)
    this.expansion = new Expansion(
      () => this.model,
      () => this.refresh(),
    )
    this.listen()
    this.restore(draft.get())
  }

  listen() {
    const form = byId("compose")
    form.addEventListener("submit", (event) => {
      event.preventDefault()
      this.send()
    })
    for (const control of form.elements) control.addEventListener("input", () => this.changed(control.id))
    byId("source-leave").addEventListener("click", () => this.turn("generate"))
    byId("random-seed").addEventListener("click", () => this.seed(""))
    byId("reuse-seed").addEventListener("click", () => this.seed(this.shown()?.seed ?? ""))
    for (const area of document.querySelectorAll("textarea"))
      area.addEventListener("beforeinput", ({ data }) =>
        area.classList.toggle("unbroken", isUnbroken(data ?? area.value)),
      )
    for (const area of document.querySelectorAll("textarea"))
      area.addEventListener("keydown", (event) => {
        if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit()
      })
    document.addEventListener("paste", (event) => {
      const file = [...(event.clipboardData?.files ?? [])].find((one) => one.type.startsWith("image/"))
      if (file && this.task === "generate") this.first.take(file)
    })
    for (const kind of ["dragover", "drop"])
      // a picture dropped beside its place must not replace the page
      window.addEventListener(kind, (event) => event.preventDefault())
  }

  changed(id) {
    if (id === "aspect") this.aspectChosen = true
    if (byId(`${id}-fault`)) this.fault(id, "")
    this.refresh()
  }

  // The model

  get model() {
    return this.models.find((model) => model.id === byId("model").value) ?? new Model({ id: "sora-2" })
  }

  /** Offer the models that the server lists. */
  offer(listed) {
    this.models = listed.map((one) => new Model(one))
    const best = this.models.find((model) => model.id === "sora-2")?.local // the server's choice of what is here
    const chosen = byId("model").value || draft.get().model || best
    const option = (model) =>
      element("option", { value: model.id }, model.isAlias ? `${model.id} = ${model.local}` : model.id)
    const kind = (model) => (model.isAlias ? "models.aliases" : model.isBuiltIn ? "models.small" : "models")
    const group = (key) => {
      const models = this.models.filter((model) => kind(model) === key)
      return models.length ? element("optgroup", { label: t(key), "data-t-label": key }, ...models.map(option)) : ""
    }
    byId("model").replaceChildren(...["models", "models.small", "models.aliases"].map(group))
    if (this.models.some((model) => model.id === chosen)) byId("model").value = chosen
    this.fitted = null
    this.restore({ ...draft.get(), ...this.written }) // keep what was written while the server was asked
  }

  /** Whether the model makes sound. Of one that is not known yet, no sound is said. */
  get hasSound() {
    return this.model.features.generate_sound?.supported ?? false
  }

  /** Whether only the small models that ship with Atelier are here. */
  get hasNoRealModel() {
    return this.models.length > 0 && this.models.every((model) => model.isBuiltIn)
  }

  /** Write the form's texts in the page's language again. What was written stays. */
  reword() {
    this.clearFaults()
    say("expand-note", "")
    this.fitted = null
    this.refresh()
  }

  /** Choose a model by its id. */
  choose(id) {
    if (!this.models.some((model) => model.id === id)) return
    byId("model").value = id
    this.changed("model")
  }

  /** Set the form's ranges, lists and hints for the model. Choices stay if the model allows them. */
  fit(model) {
    const { min, max, step } = model.seconds
    const slider = byId("seconds")
    const kept = Number(draft.get().seconds) || model.ownSeconds
    Object.assign(slider, { min, max, step })
    slider.value = Math.min(max, Math.max(min, Math.floor(kept / step) * step))
    if (!this.aspectChosen) this.aspect.value = model.ownAspect
    const style = byId("style").value || draft.get().style
    const styles = [OWN_STYLE, ...model.styles.filter((name) => name !== OWN_STYLE)]
    byId("style").replaceChildren(
      ...styles.map((name) => element("option", { value: name }, name === OWN_STYLE ? t("style.own") : name)),
    )
    byId("style").value = styles.includes(style) ? style : OWN_STYLE
    for (const id of ["num_inference_steps", "guidance_scale", "fps", "negative_prompt"])
      byId(id).placeholder = model.defaults[id] ? String(model.defaults[id]) : ""
  }

  // What the model and the task allow

  /** Enable what the current choices allow, and remember them. Nothing that was written is lost. */
  refresh() {
    const { model, task } = this
    if (this.models.length && this.fitted !== model) this.fit((this.fitted = model))
    for (const area of document.querySelectorAll("textarea")) area.classList.toggle("unbroken", isUnbroken(area.value))
    for (const field of document.querySelectorAll("[data-for]"))
      field.hidden = !field.dataset.for.split(" ").includes(task)
    worded(byId("generate"), TASKS[task].button)
    if (this.models.length) {
      const frames = model.frames(Number(byId("seconds").value), Number(byId("fps").value) || undefined)
      this.refreshQuality(model)
      say("model-note", model.problem || model.tight(this.size, frames))
      this.refreshSize(model)
      this.refreshLength(model)
      this.refreshAbilities(model)
    }
    const strength = Number(byId("strength").value)
    byId("strength-text").value =
      `${number(strength)} · ${t(STRENGTHS.find(([below]) => strength < below || below === 1)[1])}`
    byId("reuse-seed").disabled = !Number.isInteger(this.shown()?.seed)
    this.remember()
  }

  /** Offer high quality where the model can have it, and say what that takes. */
  refreshQuality(model) {
    const { supported, note, needs } = model.can("high_quality")
    byId("quality").hidden ||= !supported && !needs
    this.quality.set("high", { possible: supported })
    this.quality.settle()
    say("quality-note", supported ? t("quality.note") : note)
  }

  refreshSize(model) {
    const aspect = this.aspect.value ?? model.ownAspect
    const { times } = this
    const reasons = RESOLUTIONS.map((value) => {
      const against = model.against(value, aspect, times)
      this.resolution.set(value, { possible: !against, small: model.size(value, aspect, times)?.join(" × ") ?? "" })
      return against
    })
    this.resolution.settle()
    say("resolution-note", reasons.find(Boolean) || model.beyond(this.size, times))
  }

  refreshLength(model) {
    const slider = byId("seconds")
    const seconds = Number(slider.value)
    const frames = this.task === "generate" && model.frames(seconds, Number(byId("fps").value) || undefined)
    const text = [t("seconds.short", { count: seconds }), frames && t("frames", { count: frames })]
      .filter(Boolean)
      .join(" · ")
    worded(byId("seconds-label"), TASKS[this.task].length ?? "duration")
    byId("seconds-text").value = text
    slider.setAttribute("aria-valuetext", text)
    say("seconds-note", model.lasting(seconds))
  }

  refreshAbilities(model) {
    const [first, last, backward] = ["input_reference", "last_frame", "extend_backward"].map((name) => model.can(name))
    this.first.possible = first.supported
    this.last.possible = last.supported
    const notes = [
      [t("picture.first"), first.note],
      [t("picture.last"), last.note],
    ].filter(([, note]) => note)
    say("picture-note", notes.map(([which, note]) => sentence(t("of", { what: which, name: note }))).join(" "))
    this.direction.set("backward", { possible: backward.supported })
    this.direction.settle()
    say("direction-note", backward.note)
    byId("sound").hidden = !this.hasSound
    this.given.possible = this.hasSound && model.can("audio_reference").supported
    for (const id of ["style", "negative_prompt", "loop"]) {
      const { supported, note } = model.can(id)
      byId(id).disabled = !supported
      say(`${id}-note`, note)
    }
  }

  /** How many times larger than what the model makes first the video is. */
  get times() {
    return this.quality.value === "high" ? 2 : 1
  }

  /** [width, height] to request, or null to leave it to the model. */
  get size() {
    return this.model.size(this.resolution.value ?? "own", this.aspect.value ?? this.model.ownAspect, this.times)
  }

  // Filling the form

  /** Switch to a task: "generate", or "edit", "extend", "loop" with a finished video. */
  turn(task, video = null) {
    Object.assign(this, { task, source: video })
    byId("source").hidden = !video
    this.clearFaults()
    if (video) {
      worded(byId("source-task"), TASKS[task].title)
      byId("source-name").textContent = brief(video.prompt)
      const picture = byId("source-picture")
      api.address(video.id, "thumbnail").then(
        (url) => (picture.src = url),
        () => picture.removeAttribute("src"),
      )
      if (this.models.some((model) => model.id === video.model)) byId("model").value = video.model
      this.write(video.prompt)
    }
    this.refresh()
    byId("compose").scrollIntoView({ block: "nearest" })
    byId("prompt").focus({ preventScroll: true })
  }

  /** Set the prompt. */
  write(prompt) {
    byId("prompt").value = prompt
    this.expansion.outdate()
    this.refresh()
    byId("prompt").focus({ preventScroll: true })
  }

  /** Fill the form with a video's settings, and with the video it was made from, if that still exists. */
  reuse(video) {
    const before = this.state
    const source = TASKS[video.operation] && videos.get(video.remixed_from_video_id)
    this.turn(source ? video.operation : "generate", source)
    if (this.models.some((model) => model.id === video.model)) byId("model").value = video.model
    this.quality.value = video.quality ?? DEFAULTS.quality
    this.refresh()
    const { model, times } = this
    const [width, height] = video.size.split("x").map(Number)
    const possible = ASPECTS.flatMap((aspect) => RESOLUTIONS.map((resolution) => ({ aspect, resolution })))
    const distance = ({ aspect, resolution }) => {
      const [wide, high] = model.size(resolution, aspect, times) ?? [0, 0]
      return Math.abs(wide - width) + Math.abs(high - height)
    }
    const size = height ? nearest(possible, distance) : { resolution: "own" }
    const fps = video.fps === model.defaults.fps ? "" : (video.fps ?? "")
    const texts = Object.fromEntries(TEXTS.map((id) => [id, String(video[id] ?? "")]))
    const added = video.operation === "extend" // its seconds count the whole video, not the added part
    const seconds = (!added && Number(video.seconds)) || byId("seconds").value
    const style = video.style ?? OWN_STYLE
    const { strength, direction, loop: seam, generate_sound, quality } = video
    const expanded = byId("expanded").value
    this.restore({
      ...texts,
      ...size,
      fps,
      seconds,
      style,
      strength,
      direction,
      seam,
      loop: !source && seam,
      expanded,
      generate_sound,
      quality,
    })
    byId("advanced").open = true
    notify(t("reused"), { action: { label: t("undo"), run: () => (this.state = before) } })
  }

  /** Everything that the form holds but for the chosen files. */
  get state() {
    const { task, source, values } = this
    return { task, source, values: { ...values, aspect: this.aspectChosen ? values.aspect : null } }
  }

  set state({ task, source, values }) {
    const from = source && videos.get(source.id)
    this.turn(from ? task : "generate", from ?? null)
    this.choose(values.model)
    this.restore(values)
  }

  seed(seed) {
    byId("seed").value = seed
    this.changed("seed")
    byId("seed").focus()
  }

  get written() {
    const expanded = { useExpanded: byId("use-expanded").checked, expandedOf: this.expansion.of }
    return { ...Object.fromEntries(TEXTS.map((id) => [id, byId(id).value])), ...expanded }
  }

  get values() {
    const controls = ["model", "style", "seconds", "strength"].map((id) => [id, byId(id).value])
    const strips = STRIPS.map((id) => [id, this[id].value])
    const sound = { generate_sound: byId("generate_sound").checked }
    return { ...this.written, ...Object.fromEntries([...controls, ...strips]), loop: byId("loop").checked, ...sound }
  }

  remember() {
    if (!this.models.length) return
    draft.set(this.state.values)
  }

  restore(values) {
    for (const id of [...TEXTS, "seconds", "strength", "style"]) byId(id).value = values[id] ?? byId(id).value
    for (const id of STRIPS) this[id].value = values[id] ?? DEFAULTS[id]
    this.aspectChosen = Boolean(values.aspect)
    byId("loop").checked = Boolean(values.loop)
    byId("generate_sound").checked = values.generate_sound ?? true
    byId("use-expanded").checked = Boolean(values.useExpanded)
    this.expansion.of = values.expandedOf ?? null
    this.refresh()
  }

  // Sending

  /** The prompt that a request would have. */
  get prompt() {
    return this.expansion.prompt
  }

  /** The shot that the form describes, as the storyboard's time line needs it; null if its frame rate is not known. */
  get shot() {
    const { model } = this
    const fps = Number(byId("fps").value.replace(",", ".")) || model.defaults.fps
    const frames = model.frames(Number(byId("seconds").value), fps)
    return frames && { seconds: frames / fps, frames, fps, latent_frame: model.frameStep }
  }

  /** The form's values for a request; null after saying which of them are wrong. */
  checked(task, prompt = this.prompt) {
    this.clearFaults()
    if (!this.models.length) return this.refuse(new Error(t("model.wait")))
    const on = (id) => !byId(id).disabled
    const { style, negative_prompt, loop, generate_sound, ...values } = this.values
    Object.assign(values, { prompt, size: this.size?.join("x") })
    if (on("style") && style !== OWN_STYLE) values.style = style
    if (on("negative_prompt")) values.negative_prompt = negative_prompt.trim()
    if (on("loop")) values.loop = loop
    if (this.hasSound && !generate_sound) values.generate_sound = false
    if (task !== "generate") values.fps = ""
    const wrong = faults(values)
    for (const [id, text] of wrong) this.fault(id, text)
    if (wrong.length) return this.lead(wrong[0])
    return values
  }

  async send() {
    if (this.sending) return
    const { task, source } = this
    const values = this.checked(task)
    if (!values) return
    this.sending = true
    byId("generate").setAttribute("aria-busy", "true")
    try {
      const files = { first: this.first.sent, last: this.last.sent, sound: this.given.sent }
      const video = await send(task, { ...values, ...files }, source)
      await this.begin(video)
    } catch (error) {
      this.refuse(error)
    }
    this.sending = false
    byId("generate").removeAttribute("aria-busy")
  }

  /** Show the new video, and list its variations. `elsewhere`: it was not the form that asked for it. */
  async begin(video, elsewhere = false) {
    const others = (video.variations ?? []).filter((id) => id !== video.id)
    for (const other of (await Promise.all(others.map(api.retrieve))).reverse()) this.started(other, false)
    this.started(video, true)
    if (this.task !== "generate" && !elsewhere) this.turn("generate")
  }

  refuse(error) {
    const text = problem(error)
    const field = PLACES[error.param] ?? error.param
    const id = field && byId(`${field}-fault`) ? field : "generate"
    this.fault(id, text)
    this.lead([id, text])
  }

  // Faults

  fault(id, text) {
    say(`${id}-fault`, text)
    const control = byId(id)
    if (control?.matches("input, textarea")) control.toggleAttribute("aria-invalid", false)
    if (text && control?.matches("input, textarea")) control.setAttribute("aria-invalid", "true")
  }

  /** Focus the field with the fault, and show its message. */
  lead([id, text]) {
    if (byId(id)?.closest("details")) byId(id).closest("details").open = true
    byId(id)?.focus()
    notify(text)
  }

  clearFaults() {
    for (const place of document.querySelectorAll(".fault[id]")) this.fault(place.id.replace("-fault", ""), "")
  }
}

function shape(aspect) {
  const [wide, high] = aspect.split(":").map(Number)
  const unit = 20 / Math.max(wide, high)
  const drawn = element("span.shape", { "aria-hidden": "true" })
  Object.assign(drawn.style, { width: `${wide * unit}px`, height: `${high * unit}px` })
  return drawn
}
