// The page: connects its parts.

import * as api from "./api.js"
import { Bench } from "./bench/bench.js"
import { Boards } from "./boards.js"
import { byId, element, say } from "./element.js"
import { Compare, candidates } from "./compare.js"
import { Form } from "./form.js"
import { desk } from "./desk.js"
import { Files } from "./files.js"
import { Gallery } from "./gallery.js"
import { theme } from "./kept.js"
import { LANGUAGES, language, speakIn, t } from "./language.js"
import { Library } from "./library.js"
import { notify, speak } from "./notices.js"
import { Projects } from "./projects.js"
import { Stage } from "./stage.js"
import { isActive, videos } from "./videos.js"
import { brief, elapsed, place, problem } from "./words.js"

/** Prompts to try, in the language of the captions that the models were trained on. */
const TRIES = {
  pocket: ["a red circle moving left", "a big blue square rising", "a small green triangle spinning"],
  other: [
    "a paper boat drifting on a rainy street, close to the water",
    "wind moving through tall grass at dusk",
    "an old tram climbing a steep hill in the fog",
  ],
}
const UNDO_MS = 6000
/** Operations whose videos are made from no other one. */
const ALONE = ["generate", "storyboard", "import"]

let gallery = null
const stage = new Stage({
  controls: (video) => projects.controls(video),
  reuse,
  turn: (task, video) => form.turn(task, video),
  bench: (view, video) => bench.open(view, video),
  remove,
  select,
  tries,
  write: (text) => form.write(text),
  can,
  lacking: () => form.hasNoRealModel,
  models: () => library.open(),
  beside: (video) => compare.variations(video),
  compare: (video) => compare.versions(video),
  hasOther: (video) => candidates(video).length > 0,
})
const form = new Form({ started, shown: () => stage.video })
const bench = new Bench(form)
const projects = new Projects(() => {
  gallery?.update(stage.id)
  stage.update()
})
gallery = new Gallery(select, projects)
const boards = new Boards({ open: (board) => bench.restore(board), projects })
bench.boards = boards
const compare = new Compare(select)
const library = new Library({ changed: (listed) => take(listed), use })

function tries() {
  return /pocket/i.test(form.model.local) ? TRIES.pocket : TRIES.other
}

/** Whether the model that made a video can remix, extend or loop one. */
function can(video, task) {
  const model = form.models.find((one) => one.id === video.model)
  return model ? model.can(task) : { supported: true }
}

/** Fill the form, and the bench if it was made there, with what a video was made of; sources may be older than the list. */
async function reuse(video) {
  const source = video.remixed_from_video_id
  await videos.include([source, video.blend?.video].filter(Boolean))
  form.reuse(video)
  if (!ALONE.includes(video.operation) && !videos.get(source)) notify(t("reuse.gone"))
  bench.reuse(video)
}

/** Put a video on the stage, and its id into the page's address, so that a reload shows it again. */
function select(id, look = true) {
  history.replaceState(null, "", id ? `#${id}` : location.pathname + location.search)
  stage.show(id)
  gallery.update(id)
  form.refresh()
  if (!look) return
  byId("stage-title").focus({ preventScroll: true })
  byId("stage").scrollIntoView({ block: "nearest" })
}

function started(video, show) {
  videos.add(video)
  projects.take(video)
  if (!show) return
  select(video.id, false)
  speak(video.status === "queued" ? place(video.queue_position) : t("started"))
  byId("stage").scrollIntoView({ block: "nearest" })
}

addEventListener("hashchange", () => videos.get(location.hash.slice(1)) && select(location.hash.slice(1)))

// Deleting can be undone for a while; leaving the page deletes at once.

const going = new Map()

function remove(video) {
  const { all } = videos
  const next = all[all.findIndex((one) => one.id === video.id) + 1] ?? all[all.length - 2]
  videos.hide(video.id)
  select(next?.id ?? null)
  const undo = () => {
    going.delete(video.id)
    videos.hide(video.id, false)
    select(video.id)
  }
  const finish = async () => {
    going.delete(video.id)
    try {
      await videos.remove(video.id)
      projects.forget(video.id)
    } catch (error) {
      if (error.status === 404) return
      videos.hide(video.id, false)
      notify(t("delete.failed", { problem: problem(error) }))
    }
  }
  going.set(video.id, notify(t("deleted"), { action: { label: t("undo"), run: undo }, then: finish, stays: UNDO_MS }))
}

addEventListener("pagehide", () => going.forEach((end) => end()))

// News from the server

videos.addEventListener("change", () => {
  if (stage.id === null || !stage.video) {
    const first = videos.get(location.hash.slice(1)) ?? videos.all.find(isActive) ?? videos.all[0]
    if (first?.id !== stage.id) return select(first?.id ?? null, false)
  }
  stage.update()
  gallery.update(stage.id)
  const active = videos.all.filter(isActive)
  const running = active.find((video) => video.status === "in_progress")
  document.title = running
    ? `${t("percent", { count: running.progress })} · Atelier`
    : active.length
      ? `${t("waiting", { count: active.length })} · Atelier`
      : "Atelier"
})

videos.addEventListener("step", ({ detail: video }) => {
  if (video.status === "in_progress") speak(t("generating"))
  if (video.status === "completed")
    speak(t("completed", { time: elapsed(video.completed_at - video.created_at), prompt: brief(video.prompt) }))
  if (video.status === "failed" && video.error?.code !== "cancelled")
    notify(problem(video.error ?? { message: t("failed.one") }))
  if (video.id === stage.id) form.refresh()
})

const sayWhetherReachable = () => say("connection", videos.reachable ? "" : t("away"))

videos.addEventListener("reach", () => {
  sayWhetherReachable()
  speak(videos.reachable ? t("back") : t("away.spoken"))
  if (videos.reachable) offer()
})

let complained = ""
videos.addEventListener("problem", ({ detail: error }) => {
  if (error.message !== complained) notify(problem(error))
  complained = error.message
})

/** Offer the models that are here. */
function take(listed) {
  form.offer(listed.filter((model) => model.installed))
  stage.drawn = null
  stage.update()
}

/** Choose a model of the Models page, and go on to the prompt. */
function use(id) {
  byId("library").close()
  form.choose(id)
  byId("prompt").focus()
  speak(t("model.chosen", { name: form.model.name }))
}

async function offer() {
  try {
    const { data, farm } = await api.models()
    take(data)
    if (farm) (await import("./farm.js")).offer({ select })
  } catch (error) {
    if (!(error instanceof api.Unreachable)) notify(problem(error))
  }
}

// The buttons that close a dialog. They do not submit its form, so Enter in a field is not Cancel.

for (const button of document.querySelectorAll("[data-closes]"))
  button.addEventListener("click", () => button.closest("dialog").close())

// The owner's key

api.askForKeyWith(
  (wrong) =>
    new Promise((resolve) => {
      const dialog = byId("key")
      say("key-fault", wrong ? t("key.wrong") : "")
      dialog.returnValue = ""
      byId("key-text").value = ""
      const answer = () => resolve(dialog.returnValue === "ok" ? byId("key-text").value.trim() : null)
      dialog.addEventListener("close", answer, { once: true })
      dialog.showModal()
    }),
)

byId("storyboard-open").addEventListener("click", () => bench.open("storyboard"))

// The colours

for (const input of byId("theme").querySelectorAll("input")) {
  input.checked = input.value === theme.get()
  input.addEventListener("change", () => theme.set(input.value))
}

// The language

for (const [code, name] of Object.entries(LANGUAGES))
  byId("language").append(element("option", { value: code, lang: code }, name))
byId("language").value = language()
byId("language").addEventListener("change", ({ target }) =>
  speakIn(target.value).catch((error) => {
    target.value = language()
    notify(problem(error))
  }),
)
document.addEventListener("language", () => {
  form.reword()
  stage.drawn = null
  sayWhetherReachable()
  videos.dispatchEvent(new Event("change"))
})

// Files that come back, and a browser that cannot keep anything

new Files({
  took(video) {
    started(video, true)
    notify(t("bring.done"))
  },
  opened(id) {
    bench.restore({ id, ...desk.get(`board/${id}`) })
    notify(t("bring.board"))
  },
})
document.addEventListener("forgetful", () => notify(t("storage.full")), { once: true })

offer()
desk.start()
videos.start(location.hash.slice(1))
