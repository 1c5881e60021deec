"""JSON of strangers: counted before it is parsed, because a parser holds the whole process while it works."""

from __future__ import annotations

import json
from typing import Any

from ..errors import ApiError

MAX_MARKS = 100_000
"""Commas, colons and opening brackets in one text, those inside its words among them: more than its values."""
_MARKS = b",:[{"


def parsed(text: str | bytes) -> Any:
    """The value of a JSON text. Raises ValueError where it is not JSON, and ApiError 413 where it has too many values.

    Half of a surrogate pair is not text: it could be written nowhere.
    """
    content = text.encode() if isinstance(text, str) else text
    if len(content) > MAX_MARKS and len(content) - len(content.translate(None, _MARKS)) > MAX_MARKS:
        raise ApiError(413, "too_large", f"A JSON text has too many values: up to about {MAX_MARKS:,} are read.")
    try:
        value = json.loads(content)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    _refuse_half_surrogates(value)
    return value


def in_a_field(value: Any) -> Any:
    """The value of a form field that may be JSON; what is not is left as it is. Raises ApiError 413."""
    if isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
        try:
            return parsed(value)
        except ValueError:
            return value
    return value


def _refuse_half_surrogates(value: Any) -> None:
    waiting = [value]
    while waiting:
        part = waiting.pop()
        if isinstance(part, str) and not part.isascii():
            part.encode()  # UnicodeEncodeError is a ValueError
        elif isinstance(part, dict):
            waiting += [*part.keys(), *part.values()]
        elif isinstance(part, list):
            waiting += part
