// In ComfyUI's front end: a menu entry that opens the studio, and the graph of a video that the studio links to.

import { authorization } from "../../atelier/key.js"
import { app } from "../../scripts/app.js"
import { t } from "./storyboard/words.js"

/** What the studio's links ask for, by the name in the page's address: the graph of it. */
const ASKED = { atelier_video: ofVideo, atelier_board: ofBoard }

app.registerExtension({
  name: "Atelier.Studio",
  commands: [
    {
      id: "Atelier.OpenStudio",
      label: "Open the studio",
      icon: "pi pi-video",
      function: () => window.open("./atelier", "atelier"),
    },
  ],
  menuCommands: [{ path: ["Atelier"], commands: ["Atelier.OpenStudio"] }],

  /** ComfyUI opens a graph of its own first; the video's graph then replaces it. */
  afterConfigureGraph() {
    const address = new URL(location.href)
    const [name, make] = Object.entries(ASKED).find(([each]) => address.searchParams.has(each)) ?? []
    if (!name) return
    const id = address.searchParams.get(name)
    address.searchParams.delete(name)
    history.replaceState(history.state, "", address)
    open(() => make(id))
  },
})

async function open(make) {
  while (app.extensionManager?.spinner) await new Promise((done) => setTimeout(done, 50))
  try {
    await app.handleFile(await make())
  } catch (error) {
    const detail = t("The graph could not be opened: {problem}", { problem: error.message })
    app.extensionManager.toast.add({ severity: "error", summary: "Atelier", detail, life: 15000 })
  }
}

/** The video from the Videos API; the graph is in its tags. */
async function ofVideo(id) {
  const answer = await asked(`v1/videos/${encodeURIComponent(id)}/content`)
  return new File([await answer.blob()], `${id}.mp4`, { type: "video/mp4" })
}

/** The template *storyboard* with the text of a board that the studio keeps. */
async function ofBoard(id) {
  const board = (await (await asked("v1/desk")).json()).items[`board/${id}`]
  if (!board) throw new Error(t("The board has been deleted."))
  const pack = new URL(import.meta.url).pathname.split("/").at(-2)
  const graph = await (await asked(`api/workflow_templates/${pack}/storyboard.json`)).json()
  graph.nodes.find((node) => node.type === "AtelierStoryboard").widgets_values[0] = board.text
  return new File([JSON.stringify(graph)], `${board.name}.json`, { type: "application/json" })
}

async function asked(address) {
  const answer = await fetch(address, { headers: authorization() })
  if (!answer.ok) throw new Error((await answer.json().catch(() => null))?.error?.message ?? `${answer.status}`)
  return answer
}
