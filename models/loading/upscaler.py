"""Load a latent upscaler: find the family that it belongs to, and check its weights."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from ..bridge.upscaler import make_upscaler, upscaler_dtype
from ..bridge.weights import load_weights
from ..families.registry import families
from ..weights.checkpoint import open_part
from ..weights.errors import CheckpointError


def load_upscaler(path: Path) -> Any:
    """The LATENT_UPSCALE_MODEL of a file or folder. Raises CheckpointError."""
    component = open_part(path, path.name)
    for family in families():
        network = family.upscaler(component) if family.upscaler else None
        if network is None:
            continue
        dtype, state = upscaler_dtype(), component.state_dict()
        load_weights(network, {f"network.{key}": weight for key, weight in state.items()}, dtype, dtype)
        logging.info("Atelier: %s, an upscaler of %s, computed in %s", path.name, family.name, dtype)
        return make_upscaler(network)
    known = " or ".join(family.name for family in families() if family.upscaler)
    raise CheckpointError(
        f"{path.name} is not an upscaler of {known}: its first tensors are {', '.join(list(component.shapes)[:3])}. "
        "Put ltxv-spatial-upscaler-0.9.8.safetensors or another one of these into models/latent_upscale_models. Other "
        "models' upscalers are loaded with ComfyUI's own Load Latent Upscale Model."
    )
