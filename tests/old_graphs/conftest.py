"""Old graphs over HTTP: a client of the server, and its owner's files."""

from api_fixtures import http, owner  # noqa: F401
