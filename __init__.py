"""Atelier: open text-to-video models (LTX Video, CogVideoX, Mochi 1, Pyramid Flow) as ComfyUI nodes.

This is the door ComfyUI knocks at. It imports nothing heavy: diffusers and transformers load with the first model.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from comfy_api.latest import ComfyExtension

WEB_DIRECTORY = "./web"


async def comfy_entrypoint() -> ComfyExtension:
    """Give ComfyUI this pack's nodes (called once, when the server starts)."""
    from .api.calls import shot_length
    from .nodes import Atelier

    shot_length.register()
    return Atelier()


def _about(choice: str) -> dict[str, Any]:
    """What the Videos API tells of a model: it asks here, because it looks into none itself."""
    from .nodes.load import about_choice

    return about_choice(choice)


def _by_rules(prompt: str, seed: int, choice: str) -> dict[str, Any]:
    """A prompt made longer for a model without asking a text model, as the Videos API answers it."""
    from dataclasses import asdict

    from .models.library.folders import vocabulary
    from .prompts.rules import by_rules

    words = vocabulary(choice)
    return {**asdict(by_rules(prompt, seed, words)), "alone": words is not None}


def _serve() -> None:
    from .api import register

    register(_about, _by_rules)


_serve()
