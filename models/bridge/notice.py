"""Notices under nodes in the browser: text without markup, and a MODEL's notice under another pack's node."""

from __future__ import annotations

import logging
import re
import textwrap
from functools import partial

from comfy_execution.utils import get_executing_context
from server import PromptServer

MOST = 4000
"""Most characters of a notice, more than a node has room for. The log has the whole text."""

LINE = 45
"""Most characters of a line, if its words allow. The browser breaks longer ones, inside words too."""

_MARKUP = re.compile(r"<|&|\[(?=\[)|__(?=LNK)")


def tell_running_node(text: str) -> None:
    """Show `text` under the running node, of whichever pack, and write it to the log.

    Begin it with "Atelier": on another pack's node, the browser keeps only notices that do.
    """
    logging.warning(text.replace("\n", " "))
    running, server = get_executing_context(), getattr(PromptServer, "instance", None)
    if running is not None and server is not None:
        server.send_progress_text(for_node(text), running.node_id)


def for_node(text: str) -> str:
    """The text as nodes show it: in lines of at most LINE characters, at most MOST in all, and without markup."""
    cut = text if len(text) <= MOST else text[:MOST] + " ..."
    # Neither a long word nor one with hyphens is broken: it may be the name of a file.
    fill = partial(textwrap.fill, width=LINE, break_long_words=False, break_on_hyphens=False)
    lines = map(fill, cut.split("\n"))
    return plain("\n".join(lines))


def plain(text: str) -> str:
    """The text with its markup disarmed. It looks the same, and a file name or a model's answer cannot run script.

    Older front ends set the text as HTML, newer ones escape it first, so entities would be right in only one of them.
    An invisible word joiner (U+2060) after "<" and "&" works in both, because a tag or an entity must continue at
    once. It also breaks the front ends' own `[[label|address]]` and its placeholder `__LNK0__`.
    """
    return _MARKUP.sub(lambda match: match[0] + "\u2060", text)
