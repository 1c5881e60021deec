"""Telling an artist what a node decided: under the node in the browser, and in the log."""

from __future__ import annotations

import logging
import re

from comfy_api.latest import io
from server import PromptServer

MOST = 4000
"""Characters of a notice. More than a node has room for; what is cut is in the log."""

_MARKUP = re.compile(r"<|&|\[(?=\[)|__(?=LNK)")


def show(node: type[io.ComfyNode], text: str) -> None:
    """Write `text` under the running node (which must ask for Hidden.unique_id) and into ComfyUI's log.

    The browser may break a long line inside a word; lines of about 45 characters stay whole.
    """
    logging.info("Atelier: %s: %s", node.SCHEMA.display_name, text.replace("\n", " "))
    server = getattr(PromptServer, "instance", None)
    if server is not None and node.hidden.unique_id is not None:
        server.send_progress_text(plain(text), node.hidden.unique_id)


def plain(text: str) -> str:
    """The text so that no front end reads markup in it: it looks the same, and no file's or model's words run script.

    Older front ends set it as HTML, newer ones escape it first, so entities would be right in one of them only. A word
    joiner (U+2060, which is not drawn) behind "<" and "&" makes them letters for both: a tag or an entity has to go on
    at once. The same ends the front ends' own `[[label|address]]` and the `__LNK0__` that they put in its place.
    """
    cut = text if len(text) <= MOST else text[:MOST] + " ..."
    return _MARKUP.sub(lambda match: match[0] + "\u2060", cut)
