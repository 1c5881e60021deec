/**
 * What a node of this pack has said stays on it until it says something else: newer front ends clear it away when a job
 * ends. ComfyUI's own event is sent once more after that, so that the text looks as it always does.
 *
 * Older front ends set the text as HTML. nodes/notice.py sends it without markup; what is sent again is looked at again.
 */

import { app } from "../../scripts/app.js"
import { api } from "../../scripts/api.js"

const ENDS = ["execution_success", "execution_error", "execution_interrupted"]
const said = new Map() // a node's id in the job -> {node, text}

app.registerExtension({
  name: "Atelier.Notices",
  setup() {
    api.addEventListener("progress_text", ({ detail: { nodeId, text } }) => {
      const node = nodeOf(nodeId)
      if (node?.type?.startsWith("Atelier")) said.set(String(nodeId), { node, text: plain(text) })
    })
    for (const end of ENDS) api.addEventListener(end, () => setTimeout(sayAgain))
  },
})

function sayAgain() {
  for (const [nodeId, { node, text }] of said) {
    if (nodeOf(nodeId) === node) api.dispatchCustomEvent("progress_text", { nodeId, text })
    else said.delete(nodeId) // another graph is open
  }
}

/** The node of an id such as "4", or "7:4" inside a subgraph. */
function nodeOf(id) {
  const graph = app.rootGraph ?? app.graph
  return String(id)
    .split(":")
    .reduce((node, part) => (node.subgraph ?? node.graph ?? node).getNodeById?.(part), { graph })
}

/** The text with a word joiner (U+2060, which is not drawn) behind each "<" that has none: no tag begins there. */
function plain(text) {
  return String(text).replace(/<(?!\u2060)/g, "<\u2060")
}
