// In ComfyUI's front end: opens graphs that were made for dormant packs, from the menu and when they are dropped.

import { authorization } from "../../atelier/key.js"
import { app } from "../../scripts/app.js"
import { t } from "./storyboard/words.js"

const ADDRESS = "./atelier/convert"
const FILES = ".json,.png,.webp,.jpg,.mp4,.webm,.mov,.mkv,.gif"
/** Bytes of each end of a file that are searched for the packs' node classes. A clip's tags are at one of its ends. */
const SEARCHED = 16 << 20
const SHOWN = 6

app.registerExtension({
  name: "Atelier.OldGraphs",
  commands: [
    {
      id: "Atelier.OpenOldGraph",
      label: "Open an old graph...",
      icon: "pi pi-history",
      function: choose,
    },
  ],
  menuCommands: [{ path: ["Atelier"], commands: ["Atelier.OpenOldGraph"] }],

  /** Files that are dropped or opened come through `handleFile`. Only those of a dormant pack are asked about. */
  async setup() {
    const open = app.handleFile
    app.handleFile = async function (file, ...others) {
      if ((await missing(file)) && (await offer(file))) return
      return open.call(this, file, ...others)
    }
  },
})

function choose() {
  const input = document.createElement("input")
  input.type = "file"
  input.accept = FILES
  input.onchange = () => input.files[0] && openChosen(input.files[0]).catch(failed)
  input.click()
}

/** A graph of core's nodes runs as it is; its loaders are swapped only if that is wanted. */
async function openChosen(file) {
  const answer = await convert(file)
  const swap =
    answer.offer &&
    (await ask(
      t(
        "{name} runs on ComfyUI's own nodes. Load {model} with Load Video Model, and place its pictures with Place Frames?",
        { name: answer.name, model: answer.offer },
      ),
    ))
  await show(swap ? await convert(file, "loaders=1&guides=1") : answer)
}

function ask(message) {
  app.extensionManager.spinner = false // ComfyUI shows one while it opens a file, and it would cover the question
  return app.extensionManager.dialog.confirm({ title: "Atelier", message, type: "default" })
}

let classes = null

/** Whether a file names a node class of a dormant pack that is not installed here. */
async function missing(file) {
  try {
    classes ??= Object.keys((await (await fetch(ADDRESS)).json()).classes)
    const wanted = classes.filter((name) => !(name in LiteGraph.registered_node_types))
    const ends = [file.slice(0, SEARCHED), file.slice(Math.max(SEARCHED, file.size - SEARCHED))]
    const texts = await Promise.all(ends.map(async (end) => new TextDecoder("latin1").decode(await end.arrayBuffer())))
    return texts.some((text) => wanted.some((name) => text.includes(name)))
  } catch (error) {
    console.warn("Atelier: the file was not searched for old graphs:", error)
    return false
  }
}

/** Ask, and open the file if the answer is yes. Returns whether it is dealt with. */
async function offer(file) {
  const name = file.name.length > 60 ? `${file.name.slice(0, 59)}…` : file.name
  let answer
  try {
    answer = await convert(file)
  } catch (error) {
    failed(error)
    return false // ComfyUI opens it as it is, and names the missing nodes
  }
  if (!answer.changed) return false
  const yes = await ask(t("{name} was made for {packs}. Open it with Atelier?", { name, packs: list(answer.made_for) }))
  if (yes) await show(answer)
  return Boolean(yes)
}

/** @param asked what else to convert: "loaders=1&guides=1" swaps core's nodes, too */
async function convert(file, asked = "") {
  const headers = { "Content-Type": "application/octet-stream", ...authorization() }
  const answer = await fetch(`${ADDRESS}?${asked}`, { method: "POST", body: file, headers })
  const told = await answer.json()
  if (!answer.ok) throw new Error(told.error.message)
  return { ...told, name: file.name.replace(/\.\w+$/, "") }
}

async function show({ graph, name, made_for, swapped, lost, remarks }) {
  if ("nodes" in graph) await app.loadGraphData(graph, true, true, name)
  else await app.loadApiJson(graph, name)
  if (swapped) return tell("info", [t("Load Video Model loads the model now."), ...remarks].join("\n"))
  if (!made_for.length) return tell("info", t("The graph has no nodes of a dormant pack. It is open as it was saved."))
  const lines = [...lost, ...remarks]
  const rest = { count: lines.length - SHOWN }
  const more = rest.count > 0 ? [t("... and {count} more, in the note beside the graph", rest)] : []
  const loss = lost.length ? t("{count} settings or nodes are lost:", { count: lost.length }) : t("Nothing is lost.")
  const made = t("Made for {packs}.", { packs: list(made_for) })
  tell("info", [`${made} ${loss}`, ...lines.slice(0, SHOWN), ...more].join("\n"))
}

function failed(error) {
  tell("error", t("The graph could not be opened: {problem}", { problem: error.message }))
}

const list = (names) => names.join(t(" and "))

function tell(severity, detail) {
  app.extensionManager.toast.add({ severity, summary: "Atelier", detail, life: 20000 })
}
