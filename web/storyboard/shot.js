/** Reads the shot of a Storyboard node from the graph around it: length, frames, and the number of images. */

import { api } from "../../../scripts/api.js"

const EMPTY_LATENT = "AtelierEmptyVideoLatent",
  LOADER = "AtelierLoadVideoModel"
/** Nodes that do not change a latent's length. */
const AS_LONG = ["AtelierPlaceFrames", "AtelierPlaceKeyframes", "AtelierControlVideo", "AtelierStoryboard"]
const MOST_NODES = 50

const answers = new Map() // address -> the server's answer; null while it is pending or if there is none

/**
 * The shot connected to the node's latent input, or null: seconds, frames, fps, and latent_frame, the frames in one
 * latent frame. Only seconds is always present.
 */
export function shotOf(node) {
  const latent = upstream(node, "latent", EMPTY_LATENT, AS_LONG)
  if (!latent) return null
  const [seconds, frames, fps] = ["seconds", "frames", "fps"].map((name) => valueOf(latent, name))
  if ([seconds, frames, fps].includes(undefined)) return null
  const loader = upstream(latent, "model", LOADER),
    model = loader && valueOf(loader, "model")
  const known = model ? ask({ model, seconds, frames, fps }) : null
  if (known) return known
  if (frames) return fps ? { seconds: frames / fps } : null
  return seconds ? { seconds } : null
}

/** The number of images: 0 if nothing is connected, else null, because it is known only when the graph runs. */
export function imagesOf(node) {
  return inputOf(node, "images")?.link == null ? 0 : null
}

/** Whether the text of a widget comes from another node. */
export function isConnected(node, name) {
  return inputOf(node, name)?.link != null
}

/** The first node of a type, up the inputs of one name, through `through` (any node if not given) and reroutes. */
function upstream(node, name, type, through = null) {
  for (let step = 0; node && step < MOST_NODES; step++) {
    node = originOf(node, inputOf(node, name) ?? (node.type === "Reroute" ? node.inputs?.[0] : null))
    if (node?.type === type) return node
    if (node && through && node.type !== "Reroute" && !through.includes(node.type)) return null
  }
  return null
}

function inputOf(node, name) {
  return node.inputs?.find((input) => input.name === name)
}

function originOf(node, input) {
  const link = input?.link == null ? null : (node.graph?.getLink?.(input.link) ?? node.graph?.links?.[input.link])
  return link ? node.graph.getNodeById(link.origin_id) : null
}

/** A widget's value; undefined if it comes from another node. */
function valueOf(node, name) {
  return isConnected(node, name) ? undefined : node.widgets?.find((widget) => widget.name === name)?.value
}

function ask(query) {
  const address = `/atelier/shot?${new URLSearchParams(query)}`
  if (!answers.has(address)) {
    answers.set(address, null)
    api
      .fetchApi(address)
      .then(async (answer) => {
        if (answer.ok) answers.set(address, await answer.json())
      })
      .catch(() => {}) // the server is down; the editor itself says so
  }
  return answers.get(address)
}
