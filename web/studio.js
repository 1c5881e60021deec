// In ComfyUI's front end: a way into the studio, and the graph of one of its videos when the studio asks for it.

import { app } from "../../scripts/app.js"

const ASKED = "atelier_video"

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

  /** The first graph is the one that ComfyUI opens by itself; what was asked for comes in its place. */
  afterConfigureGraph() {
    const address = new URL(location.href)
    const id = address.searchParams.get(ASKED)
    if (!id) return
    address.searchParams.delete(ASKED)
    history.replaceState(history.state, "", address)
    open(id)
  },
})

async function open(id) {
  while (app.extensionManager?.spinner) await new Promise((done) => setTimeout(done, 50))
  try {
    await app.handleFile(await video(id))
  } catch (error) {
    const detail = `Its graph could not be opened: ${error.message}`
    app.extensionManager.toast.add({ severity: "error", summary: "Atelier", detail, life: 15000 })
  }
}

/** The video with the graph inside it, from the Videos API. */
async function video(id) {
  const key = JSON.parse(sessionStorage.getItem("atelier.key")) // the studio's, where the owner asks for one
  const headers = key ? { Authorization: `Bearer ${key}` } : {}
  const answer = await fetch(`v1/videos/${encodeURIComponent(id)}/content`, { headers })
  if (!answer.ok) throw new Error((await answer.json()).error.message)
  return new File([await answer.blob()], `${id}.mp4`, { type: "video/mp4" })
}
