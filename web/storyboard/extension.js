/** Puts a time line on every Storyboard node. The text of the input `board` is its only state. */

import { app } from "../../../scripts/app.js"
import { imagesOf, isConnected, shotOf } from "./shot.js"
import { HEIGHT, makeTimeLine } from "./time_line.js"

const NODE = "AtelierStoryboard",
  BOARD = "board",
  NAME = "time_line"
const MARGIN = 10 // pixels that ComfyUI leaves on each side of an element in a node
const WIDTH = 420 // of a new node
const LOOK_AGAIN = 150 // milliseconds

document.head.append(
  Object.assign(document.createElement("link"), {
    rel: "stylesheet",
    href: new URL("storyboard.css", import.meta.url).href,
  }),
)

app.registerExtension({
  name: "Atelier.Storyboard",
  nodeCreated(node) {
    if (node.comfyClass === NODE) attach(node)
  },
})

function attach(node) {
  const board = node.widgets?.find((widget) => widget.name === BOARD)
  if (!board) return
  const line = makeTimeLine({
    write(text) {
      board.value = text
      board.callback?.(text)
      app.graph.setDirtyCanvas(true)
    },
    done: stepOfUndo,
    point: (number) => mark(board.value, number),
  })
  const height = HEIGHT + 2 * MARGIN
  const widget = node.addDOMWidget(NAME, "ATELIER_TIME_LINE", line.element, {
    serialize: false,
    hideOnZoom: false,
    getMinHeight: () => height,
    getMaxHeight: () => height,
  })
  widget.serialize = false // it must also be the last widget, or the saved values of others would shift
  node.setSize([Math.max(node.size[0], WIDTH), Math.max(node.size[1], node.computeSize()[1])])
  forward(line.element)
  follow(node, board, line)
}

/**
 * Polls the text and what it depends on, and redraws after a change. A person, undo, another extension or a number in
 * an upstream node may change it, and no event covers all of these on all of ComfyUI's front ends.
 */
function follow(node, board, line) {
  let drawn = ""
  const look = () => {
    const now = {
      text: String(board.value ?? ""),
      shot: shotOf(node),
      images: imagesOf(node),
      locked: isConnected(node, BOARD),
    }
    const key = JSON.stringify(now)
    if (key === drawn) return
    drawn = key
    line.show(now)
  }
  let timer = null
  look()
  chain(node, "onAdded", () => {
    timer ??= setInterval(() => {
      if (line.element.isConnected) look()
    }, LOOK_AGAIN)
  })
  chain(node, "onRemoved", () => {
    timer = clearInterval(timer) ?? null
  })
}

function chain(node, event, also) {
  const before = node[event]
  node[event] = function () {
    also()
    return before?.apply(this, arguments)
  }
}

function stepOfUndo() {
  const tracker = app.extensionManager?.workflow?.activeWorkflow?.changeTracker
  if (tracker?.captureCanvasState) tracker.captureCanvasState()
  else tracker?.checkState?.()
}

/** Select a line of the board's text on the node. */
function mark(text, number) {
  const area = [...document.querySelectorAll("textarea")].find((each) => each.value === text && each.offsetParent)
  if (!area) return
  const before =
    text
      .split("\n")
      .slice(0, number - 1)
      .join("\n").length + (number > 1 ? 1 : 0)
  const end = text.indexOf("\n", before)
  area.focus({ preventScroll: true })
  area.setSelectionRange(before, end < 0 ? text.length : end)
}

/** Lets the wheel and the middle button zoom and drag the canvas, as on ComfyUI's widgets. Nodes 2.0 needs no help. */
function forward(element) {
  const gestures = {
    wheel: (event) => app.canvas.processMouseWheel(event),
    pointerdown: (event) => event.button === 1 && app.canvas.processMouseDown(event),
    pointermove: (event) => event.buttons & 4 && app.canvas.processMouseMove(event),
    pointerup: (event) => event.button === 1 && app.canvas.processMouseUp(event),
  }
  for (const [kind, gesture] of Object.entries(gestures))
    element.addEventListener(kind, (event) => {
      if (!LiteGraph.vueNodesMode) gesture(event)
    })
}
