"""Notices: what a node decided, shown under it in the browser and written to the log."""

from __future__ import annotations

import logging

from comfy_api.latest import io
from server import PromptServer

from ..models.bridge.notice import for_node


def show(node: type[io.ComfyNode], text: str, above: str = "") -> None:
    """Show `text` under the running node, whose schema must have Hidden.unique_id, and write it to ComfyUI's log.

    It replaces what the node has shown before; `above` is what of that stays, and is not logged again.
    """
    logging.info("Atelier: %s: %s", node.SCHEMA.display_name, text.replace("\n", " "))
    show_only(node, "\n\n".join(filter(None, [above, text])))


def show_only(node: type[io.ComfyNode], text: str) -> None:
    """Show `text` like `show`, for what changes many times a minute and would fill the log."""
    server = getattr(PromptServer, "instance", None)
    if server is not None and node.hidden.unique_id is not None:
        server.send_progress_text(for_node(text), node.hidden.unique_id)
