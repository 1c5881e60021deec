"""What went wrong, in the form that OpenAI's clients read: {"error": {"message", "type", "param", "code"}}.

An answer names no path of this machine and repeats nothing of the owner's files: `words` makes a sentence of an
exception, `without_paths` is what every text goes through that other rooms or ComfyUI's nodes have written.
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
    """An answer other than 2xx. 408, 409, 429 and 5xx make the clients try again, so they are not used lightly."""

    def __init__(self, status: int, code: str, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.param = status, code, message, param

    def response(self) -> web.Response:
        kind = "server_error" if self.status >= 500 else "invalid_request_error"
        body = {"message": without_paths(self.message), "type": kind, "param": self.param, "code": self.code}
        return web.json_response({"error": body}, status=self.status)


def bad(message: str, param: str | None = None, code: str = "invalid_value") -> ApiError:
    """400: the request cannot be done as it is written."""
    return ApiError(400, code, message, param)


def missing(what: str, name: str) -> ApiError:
    """404: there is no such thing (any more)."""
    return ApiError(404, "not_found", f"No {what} found with id '{name}'.", "id")


def disk_full(error: OSError) -> ApiError | None:
    """507 where an error says that a disk takes no more, else None."""
    if error.errno not in _FULL:
        return None
    return ApiError(507, "disk_full", "The server's disk is full: delete videos or free some space, then try again.")


def words(error: BaseException) -> str:
    """What an exception says, without the values and paths that Python's and pydantic's own texts have in them."""
    if isinstance(error, ValidationError):
        found = error.errors(include_url=False, include_context=False, include_input=False)
        return "; ".join(f"{'.'.join(map(str, one['loc'])) or 'it'}: {one['msg']}" for one in found[:8])
    reason = getattr(error, "strerror", None)  # of the system's errors and FFmpeg's
    return without_paths(str(reason or error)) or type(error).__name__


def without_paths(text: str) -> str:
    """`text` with each absolute path cut down to the name at its end. The API's own addresses are none."""
    return _paths().sub(lambda match: re.split(r"[/\\]", match[0].rstrip("/\\"))[-1], text)


@cache
def _paths() -> re.Pattern:
    """Paths below the folders that this process works with, whose names may have spaces, and what looks like a path."""
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
    """ComfyUI's record of a node that raised -> (code, message) of a job's error."""
    message = str(error.get("exception_message") or error.get("exception_type") or "").strip()
    number = re.match(r"\[Errno (\d+)\]", message)  # ComfyUI keeps an OSError as text, its path included
    if number and (full := disk_full(OSError(int(number[1]), ""))):
        return full.code, f"{error.get('node_type')}: {full.message}"
    return "generation_failed", f"{error.get('node_type')}: {message}"
