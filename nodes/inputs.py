"""Refusing a choice that is not on a node's list when the graph is queued: older ComfyUI does not look."""

from __future__ import annotations

from comfy_api.latest import io

from ..models.library.folders import as_listed


def check(node: type[io.ComfyNode], **chosen: str | None) -> bool | str:
    """True, or a sentence naming the first value that is not among the node's own options. None: it comes by a link.

    Names of files may have the slashes of another system.
    """
    options = {given.id: given.options for given in node.define_schema().inputs if given.id in chosen}
    for name, value in chosen.items():
        if value is not None and as_listed(value, options[name]) is None:
            shown = ", ".join(map(str, options[name][:12])) + (", ..." if len(options[name]) > 12 else "")
            return f"there is no '{value}' here. Choose one of: {shown}. (Press R in the browser after adding files.)"
    return True
