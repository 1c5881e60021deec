"""Atelier: open text-to-video models (LTX Video, CogVideoX, Mochi 1, Pyramid Flow) as ComfyUI nodes.

ComfyUI imports this file when it starts. It imports nothing heavy: diffusers and transformers load with the first
model.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import api

if TYPE_CHECKING:
    from comfy_api.latest import ComfyExtension

WEB_DIRECTORY = "./web"


async def comfy_entrypoint() -> ComfyExtension:
    """Give ComfyUI this pack's nodes (called once, when the server starts)."""
    from .nodes import Atelier

    return Atelier()


api.register()
