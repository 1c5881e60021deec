"""Key names of published Pyramid Flow checkpoints, and of checkpoints saved in training."""

from __future__ import annotations

import inspect

from diffusers.models.embeddings import get_2d_sincos_pos_embed

from ...contract.grid import State
from .transformer import PATCH, PyramidDiffusionMMDiT


def network_state(state: State) -> State:
    """Published or training checkpoint -> the network's keys. SD3's table of positions is computed if it is missing."""
    others = ("vae.", "text_encoder")
    state = {key.removeprefix("dit."): weight for key, weight in state.items() if not key.startswith(others)}
    if "pos_embed.proj.weight" in state and "pos_embed.pos_embed" not in state:
        defaults = inspect.signature(PyramidDiffusionMMDiT).parameters
        side, base = defaults["pos_embed_max_size"].default, defaults["sample_size"].default // PATCH
        table = get_2d_sincos_pos_embed(state["pos_embed.proj.weight"].shape[0], side, base_size=base)
        state["pos_embed.pos_embed"] = table.float()[None]
    return state
