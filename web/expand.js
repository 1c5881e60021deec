/**
 * Expand Prompt: a button that copies the last expansion into the input `expanded`, where it can be edited and is then
 * used unchanged.
 */

import { app } from "../../scripts/app.js"
import { t } from "./storyboard/words.js"

app.registerExtension({
  name: "Atelier.ExpandPrompt",
  nodeCreated(node) {
    if (node.comfyClass !== "AtelierExpandPrompt") return
    const written = node.widgets.find((widget) => widget.name === "expanded")
    const executed = node.onExecuted
    let last = null
    node.onExecuted = function (output, ...others) {
      last = output?.text?.[0] ?? last
      return executed?.call(this, output, ...others)
    }
    const button = node.addWidget("button", "edit the expansion", null, () => {
      if (last === null) return tell(t("Nothing has been expanded yet"), t("Run the graph first."))
      written.value = last
      written.callback?.(last)
      app.graph.setDirtyCanvas(true, true)
    })
    button.label = t("edit the expansion")
    button.serialize = false
  },
})

function tell(summary, detail) {
  app.extensionManager?.toast?.add({ severity: "info", summary, detail, life: 4000 })
}
