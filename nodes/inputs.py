"""Refusing a choice that is not on a node's list when the graph is queued: older ComfyUI does not look."""

from __future__ import annotations

from comfy_api.latest import io


def check(node: type[io.ComfyNode], **chosen: str | None) -> bool | str:
    """True, or a sentence naming the first value that is not among the node's own options. None: it comes by a link."""
    options = {given.id: given.options for given in node.define_schema().inputs if given.id in chosen}
    for name, value in chosen.items():
        if value is not None and value not in options[name]:
            shown = ", ".join(map(str, options[name][:12])) + (", ..." if len(options[name]) > 12 else "")
            return f"there is no '{value}' here. Choose one of: {shown}. (Press R in the browser after adding files.)"
    return True
