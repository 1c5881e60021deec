"""What went wrong, in the form that OpenAI's clients read: {"error": {"message", "type", "param", "code"}}."""

from __future__ import annotations

import errno

from aiohttp import web

_FULL = {errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}


class ApiError(Exception):
    """An answer other than 2xx. 408, 409, 429 and 5xx make the clients try again, so they are not used lightly."""

    def __init__(self, status: int, code: str, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.param = status, code, message, param

    def response(self) -> web.Response:
        kind = "server_error" if self.status >= 500 else "invalid_request_error"
        body = {"message": self.message, "type": kind, "param": self.param, "code": self.code}
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
