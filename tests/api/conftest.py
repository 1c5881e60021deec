"""Fixtures: the official client on a real ComfyUI with this pack, and the owner's files."""

from api_fixtures import client, clip, finished, http, owner  # noqa: F401
