"""Takes the saved graph out of a file: JSON, or a picture or clip that ComfyUI saved its graph in."""

from __future__ import annotations

import json
from typing import Any

from ..media import tags
from .graph import UnreadableGraph, is_prompt

MOST_JSON = 16 << 20
"""Bytes of a graph. A thousand nodes are about half a megabyte."""


def graph_in(content: bytes) -> Any:
    """The graph of a file, in the editor's form if it has that, else in the API's. Raises UnreadableGraph."""
    text = content.lstrip(b"\xef\xbb\xbf \t\r\n")
    if not text:
        raise UnreadableGraph("The file is empty.")
    if text[:1] in (b"{", b"["):
        return _unwrapped(_parsed(text, "The file"))
    found = tags.read(content)
    for name in ("workflow", "prompt"):
        if found.get(name, "").lstrip().startswith("{"):
            return _parsed(found[name].encode("utf-8", "replace"), f"The {name} in this file")
    raise UnreadableGraph(
        "There is no graph of ComfyUI in this file. Graphs are .json files, and PNG, WebP, MP4 and other files that "
        "ComfyUI saved. Websites and chats that make pictures smaller remove the graph."
    )


def _unwrapped(content: Any) -> Any:
    """The graph inside a request to ComfyUI, or of a page that keeps both forms ("workflow", "prompt")."""
    for name in ("workflow", "prompt"):
        inner = content.get(name) if isinstance(content, dict) and "nodes" not in content else None
        if isinstance(inner, dict) and ("nodes" in inner or is_prompt(inner)):
            return inner
    return content


def _parsed(text: bytes, what: str) -> Any:
    if len(text) > MOST_JSON:
        raise UnreadableGraph(f"{what} has {len(text) >> 20} MB of graph; up to {MOST_JSON >> 20} MB are read.")
    try:
        return json.loads(text)
    except RecursionError:
        raise UnreadableGraph(f"{what} is nested too deeply to be a graph.") from None
    except UnicodeDecodeError:
        raise UnreadableGraph(f"{what} is not text in UTF-8. Save the graph again.") from None
    except json.JSONDecodeError as error:
        cut = error.pos >= len(text) - 2
        fault = "ends in the middle: it was cut off" if cut else f"is damaged at line {error.lineno}"
        raise UnreadableGraph(f"{what} {fault}. Download or export it again.") from None
    except ValueError:
        raise UnreadableGraph(f"{what} is not JSON. Save the graph again.") from None
