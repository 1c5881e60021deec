"""Notices: what a node decided, shown under it in the browser and written to the log."""

from __future__ import annotations

import logging
import re

from comfy_api.latest import io
from server import PromptServer

MOST = 4000
"""Most characters of a notice, more than a node has room for. The log has the whole text."""

_MARKUP = re.compile(r"<|&|\[(?=\[)|__(?=LNK)")


def show(node: type[io.ComfyNode], text: str) -> None:
    """Show `text` under the running node, whose schema must have Hidden.unique_id, and write it to ComfyUI's log.

    Keep lines to about 45 characters: the browser breaks longer ones, inside words too.
    """
    logging.info("Atelier: %s: %s", node.SCHEMA.display_name, text.replace("\n", " "))
    server = getattr(PromptServer, "instance", None)
    if server is not None and node.hidden.unique_id is not None:
        server.send_progress_text(plain(text), node.hidden.unique_id)


def plain(text: str) -> str:
    """The text with its markup disarmed. It looks the same, and a file name or a model's answer cannot run script.

    Older front ends set the text as HTML, newer ones escape it first, so entities would be right in only one of them.
    An invisible word joiner (U+2060) after "<" and "&" works in both, because a tag or an entity must continue at
    once. It also breaks the front ends' own `[[label|address]]` and its placeholder `__LNK0__`.
    """
    cut = text if len(text) <= MOST else text[:MOST] + " ..."
    return _MARKUP.sub(lambda match: match[0] + "\u2060", cut)
