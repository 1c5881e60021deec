/**
 * Keeps a node's notice on it until its next one. Newer front ends clear notices when a job ends, so each is sent again
 * after that, as ComfyUI's own event, and looks the same.
 *
 * Older front ends set the text as HTML. nodes/notice.py disarms its markup; what is sent again is disarmed again.
 */

import { app } from "../../scripts/app.js"
import { api } from "../../scripts/api.js"

const ENDS = ["execution_success", "execution_error", "execution_interrupted"]
const notices = new Map() // a node's id in the job -> {node, text}

app.registerExtension({
  name: "Atelier.Notices",
  setup() {
    api.addEventListener("progress_text", ({ detail: { nodeId, text } }) => {
      const node = nodeOf(nodeId)
      if (node?.type?.startsWith("Atelier")) notices.set(String(nodeId), { node, text: plain(text) })
    })
    for (const end of ENDS) api.addEventListener(end, () => setTimeout(showAgain))
  },
})

function showAgain() {
  for (const [nodeId, { node, text }] of notices) {
    if (nodeOf(nodeId) === node) api.dispatchCustomEvent("progress_text", { nodeId, text })
    else notices.delete(nodeId) // another graph is open
  }
}

/** The node with an id such as "4", or "7:4" inside a subgraph. */
function nodeOf(id) {
  const graph = app.rootGraph ?? app.graph
  return String(id)
    .split(":")
    .reduce((node, part) => (node.subgraph ?? node.graph ?? node).getNodeById?.(part), { graph })
}

/** The text with an invisible word joiner (U+2060) after each "<" that has none, so that no tag begins there. */
function plain(text) {
  return String(text).replace(/<(?!\u2060)/g, "<\u2060")
}
