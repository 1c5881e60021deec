/**
 * Load Video Model: older graphs name a model file with its kind of folder, "checkpoints/NAME". The list has plain names
 * now, as ComfyUI's dialog about missing models needs them, so the value becomes the plain name when such a graph opens.
 */

import { app } from "../../scripts/app.js"

const KIND = /^(checkpoints|diffusion_models)[/\\]/

app.registerExtension({
  name: "Atelier.ModelNames",
  loadedGraphNode(node) {
    if (node.comfyClass !== "AtelierLoadVideoModel") return
    const widget = node.widgets?.find(({ name }) => name === "model")
    const choices = typeof widget?.options.values === "function" ? widget.options.values() : widget?.options.values
    if (!Array.isArray(choices) || typeof widget.value !== "string" || choices.includes(widget.value)) return
    const plain = widget.value.replace(KIND, "").replaceAll("\\", "/")
    const meant = choices.find((choice) => choice.replaceAll("\\", "/") === plain)
    if (meant) widget.value = meant
  },
})
