// In ComfyUI's front end: a menu entry that opens the graph a newcomer begins with, in a tab of its own.

import { app } from "../../scripts/app.js"
import { api } from "../../scripts/api.js"
import { t } from "./storyboard/words.js"

const NAME = "text_to_video"

app.registerExtension({
  name: "Atelier.FirstGraph",
  commands: [
    {
      id: "Atelier.OpenTextToVideo",
      label: "Open text to video",
      icon: "pi pi-sparkles",
      function: () => open().catch(failed),
    },
  ],
  menuCommands: [{ path: ["Atelier"], commands: ["Atelier.OpenTextToVideo"] }],
})

/** The template is listed under the name of this pack's folder, which is in this script's address. */
async function open() {
  const pack = new URL(import.meta.url).pathname.split("/extensions/")[1].split("/")[0]
  const answer = await api.fetchApi(`/workflow_templates/${pack}/${NAME}.json`)
  if (!answer.ok) throw new Error(t("the server answered {status}", { status: answer.status }))
  await app.loadGraphData(await answer.json(), true, true, NAME)
}

function failed(error) {
  const detail = t("The graph could not be opened: {problem}", { problem: error.message })
  app.extensionManager.toast.add({ severity: "error", summary: "Atelier", detail, life: 15000 })
}
