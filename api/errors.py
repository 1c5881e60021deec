"""Errors in the form that OpenAI's clients read: {"error": {"message", "type", "param", "code"}}.

An answer contains no path of this machine and no value of the owner's files. `summary` turns an exception into a
message; `without_paths` cleans every text that other rooms or ComfyUI's nodes wrote.
"""

from __future__ import annotations

import errno
import re
from functools import cache
from pathlib import Path
from typing import Any

import folder_paths
from aiohttp import web
from pydantic import ValidationError

_FULL = {errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}


class ApiError(Exception):
    """An error answer. OpenAI's clients retry on 408, 409, 429 and 5xx, so use those only where a retry can help."""

    def __init__(self, status: int, code: str, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.param = status, code, message, param

    def response(self) -> web.Response:
        kind = "server_error" if self.status >= 500 else "invalid_request_error"
        body = {"message": without_paths(self.message), "type": kind, "param": self.param, "code": self.code}
        return web.json_response({"error": body}, status=self.status)


def bad(message: str, param: str | None = None, code: str = "invalid_value") -> ApiError:
    """400: the request is invalid."""
    return ApiError(400, code, message, param)


def missing(what: str, name: str) -> ApiError:
    """404: the id does not exist, or no longer."""
    return ApiError(404, "not_found", f"No {what} found with id '{name}'.", "id")


def disk_full(error: BaseException) -> ApiError | None:
    """507 if the error means that a disk is full or a quota is used up, else None."""
    if getattr(error, "errno", None) not in _FULL:
        return None
    return ApiError(507, "disk_full", "The server's disk is full: delete videos or free some space, then try again.")


def invalid_fields(error: ValidationError) -> list[tuple[str, str, bool]]:
    """(dotted path of the field or "", message, whether the field is missing), without the value that was sent."""
    details = error.errors(include_url=False, include_context=False, include_input=False)
    return [(".".join(map(str, each["loc"])), each["msg"], each["type"] == "missing") for each in details]


def summary(error: BaseException) -> str:
    """The message of an exception, without the values and paths that Python's and pydantic's own messages contain."""
    if isinstance(error, ValidationError):
        return "; ".join(f"{field or 'it'}: {message}" for field, message, _ in invalid_fields(error)[:8])
    reason = getattr(error, "strerror", None)  # of OSError and of FFmpeg's errors: without the file name
    return without_paths(str(reason or error)) or type(error).__name__


def without_paths(text: str) -> str:
    """`text` with each absolute path shortened to its last name. The API's own addresses (/v1/...) stay."""
    return _paths().sub(lambda match: re.split(r"[/\\]", match[0].rstrip("/\\"))[-1], text)


@cache
def _paths() -> re.Pattern:
    """Matches paths below this process's folders (names with spaces included), and whatever looks like a path."""
    kinds = (folder for folders, *_ in folder_paths.folder_names_and_paths.values() for folder in folders)
    own = (folder_paths.base_path, folder_paths.models_dir, folder_paths.get_user_directory())
    media = (folder_paths.get_output_directory(), folder_paths.get_input_directory(), folder_paths.get_temp_directory())
    roots = {str(form) for root in (*own, *media, *kinds, Path.home()) for form in (Path(root), Path(root).resolve())}
    known = "|".join(re.escape(root) for root in sorted(roots, key=len, reverse=True) if len(Path(root).parts) > 1)
    name = r"[^\s'\"/\\:;,()<>\[\]]+"
    return re.compile(
        rf"(?<![\w/.:-])(?:(?:{known})(?![\w.-])(?:[/\\]{name})*|(?!/v1/|/atelier/)(?:/{name}){{2,}}|[A-Za-z]:(?:[/\\]{name})+)[/\\]?"
    )


def node_failed(error: dict[str, Any]) -> tuple[str, str]:
    """(code, message) of a job's error, from ComfyUI's record of a node that raised."""
    message = str(error.get("exception_message") or error.get("exception_type") or "").strip()
    number = re.match(r"\[Errno (\d+)\]", message)  # ComfyUI stores an OSError as text, with its path
    if number and (full := disk_full(OSError(int(number[1]), ""))):
        return full.code, f"{error.get('node_type')}: {full.message}"
    return "generation_failed", f"{error.get('node_type')}: {message}"
