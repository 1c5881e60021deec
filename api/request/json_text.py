"""Parses untrusted JSON. Values are counted first, because the parser holds the GIL, and so the whole server."""

from __future__ import annotations

import json
from typing import Any

from ..errors import ApiError

MAX_MARKS = 100_000
"""Commas, colons and opening brackets in one text, including those in its strings. A text has fewer values."""
_MARKS = b",:[{"


def parsed(text: str | bytes) -> Any:
    """The value of a JSON text. Raises ValueError if it is not JSON, and ApiError 413 if it has too many values.

    A lone surrogate (half a pair) is refused, because it cannot be encoded in the store or in a file.
    """
    content = text.encode() if isinstance(text, str) else text
    if len(content) > MAX_MARKS and len(content) - len(content.translate(None, _MARKS)) > MAX_MARKS:
        raise ApiError(413, "too_large", f"A JSON text has too many values; the limit is about {MAX_MARKS:,}.")
    try:
        value = json.loads(content)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    _refuse_lone_surrogates(value)
    return value


def in_a_field(value: Any) -> Any:
    """The value of a field that may be JSON text; any other value is returned unchanged. Raises ApiError 413."""
    if isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
        try:
            return parsed(value)
        except ValueError:
            return value
    return value


def _refuse_lone_surrogates(value: Any) -> None:
    waiting = [value]
    while waiting:
        part = waiting.pop()
        if isinstance(part, str) and not part.isascii():
            part.encode()  # UnicodeEncodeError is a ValueError
        elif isinstance(part, dict):
            waiting += [*part.keys(), *part.values()]
        elif isinstance(part, list):
            waiting += part
