"""Telling an artist what a node decided: under the node in the browser, and in the log."""

from __future__ import annotations

import logging

from comfy_api.latest import io
from server import PromptServer


def show(node: type[io.ComfyNode], text: str) -> None:
    """Write `text` under the running node (which must ask for Hidden.unique_id) and into ComfyUI's log.

    The browser may break a long line inside a word; lines of about 45 characters stay whole.
    """
    logging.info("Atelier: %s: %s", node.SCHEMA.display_name, text.replace("\n", " "))
    server = getattr(PromptServer, "instance", None)
    if server is not None and node.hidden.unique_id is not None:
        server.send_progress_text(text, node.hidden.unique_id)
