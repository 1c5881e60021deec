"""Attackers get what clients get: a real ComfyUI with this pack, and the owner's files beside it."""

from api_fixtures import client, clip, finished, http, owner  # noqa: F401
