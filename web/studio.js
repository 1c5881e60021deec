// In ComfyUI's front end: a menu entry that opens the studio, and the graph of a video that the studio links to.

import { authorization } from "../../atelier/key.js"
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

  /** ComfyUI opens a graph of its own first; the video's graph then replaces it. */
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

/** The video from the Videos API; the graph is in its tags. */
async function video(id) {
  const answer = await fetch(`v1/videos/${encodeURIComponent(id)}/content`, { headers: authorization() })
  if (!answer.ok) throw new Error((await answer.json()).error.message)
  return new File([await answer.blob()], `${id}.mp4`, { type: "video/mp4" })
}
