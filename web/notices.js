/**
 * Keeps a node's notice on it until its next one. Newer front ends clear notices when a job ends, so each is sent again
 * after that, as ComfyUI's own event, and looks the same.
 *
 * Older front ends set the text as HTML. models/bridge/notice.py disarms its markup; what is sent again is disarmed again.
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
      if (!isOurs(node, String(text))) return
      said.set(String(nodeId), { node, text: plain(text) })
      sayOutside(String(nodeId))
    })
    for (const end of ENDS) api.addEventListener(end, () => setTimeout(sayAgain))
  },
})

/** Nodes of this pack, and what it says of other packs' nodes that change nothing in its models. */
function isOurs(node, text) {
  return Boolean(node) && (Boolean(node.type?.startsWith("Atelier")) || text.startsWith("Atelier"))
}

function sayAgain() {
  for (const [nodeId, { node, text }] of said) {
    if (nodeOf(nodeId) !== node)
      said.delete(nodeId) // another graph is open
    else {
      // Front ends draw it in the graph that is open; older ones throw at a node of a subgraph's.
      if (node.graph === (app.canvas.graph ?? app.graph)) api.dispatchCustomEvent("progress_text", { nodeId, text })
      sayOutside(nodeId)
    }
  }
}

/** What the nodes inside a subgraph say, on the subgraph's own node: that is the one a person sees. */
function sayOutside(nodeId) {
  const [outermost, ...inside] = nodeId.split(":")
  if (!inside.length) return
  const within = [...said].filter(([id]) => id.startsWith(`${outermost}:`))
  const lines = within.map(([, { node, text }]) => `${plain(node.title)}:\n${text}`)
  api.dispatchCustomEvent("progress_text", { nodeId: outermost, text: lines.join("\n\n") })
}

/** The node of an id such as "4", or "7:4" inside a subgraph; null where the open graph has none. */
function nodeOf(id) {
  let graph = app.rootGraph ?? app.graph
  let node = null
  for (const part of String(id).split(":")) {
    node = graph?.getNodeById?.(part) ?? null
    graph = node?.subgraph
  }
  return node
}

/** The text with an invisible word joiner (U+2060) after each "<" that has none, so that no tag begins there. */
function plain(text) {
  return String(text).replace(/<(?!\u2060)/g, "<\u2060")
}
