"""From an opened model to MODEL, CLIP and VAE: where its parts are, and whether they fit together."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch

from ..bridge.patcher import make_model, make_static
from ..bridge.text_encoder import make_t5_clip
from ..bridge.vae import make_vae
from ..bridge.weights import check_memory, choose_dtypes, load_weights
from ..contract.family import Family, Variant
from ..weights.checkpoint import open_component
from ..weights.errors import CheckpointError
from ..weights.scaled_fp8 import with_scales
from .identify import OpenedModel, open_model
from .text_files import Candidates, clip_encoder, t5_encoder


def load_model(model: OpenedModel, weight_dtype: str = "default") -> Any:
    """The MODEL of a checkpoint. weight_dtype: one of family.WEIGHT_DTYPES. Raises CheckpointError."""
    family, variant, path = model.family, model.variant, model.path
    network = family.network(variant)
    state = family.network_state(with_scales(model.checkpoint.network.state_dict()))
    storage, compute = choose_dtypes(weight_dtype, state, variant.dtypes)
    if weight_dtype not in ("default", *variant.dtypes) and storage.itemsize > 1:  # float8 is for keeping only
        logging.warning(
            "Atelier: %s cannot compute in %s (its numbers overflow there): it computes in %s.",
            variant.name,
            weight_dtype,
            compute,
        )
    check_memory(f"{variant.name} ({path.name})", state, storage)
    load_weights(network, state, storage, compute)
    logging.info("Atelier: %s from %s, stored as %s, computed in %s", variant.name, path.name, storage, compute)
    return make_model(family, variant, network, compute, reload=(_load_again, (path, weight_dtype)))


def _load_again(path: Path, weight_dtype: str, disable_dynamic: bool = False) -> Any:
    """The MODEL anew, for newer ComfyUI (hooks, compile, multi-GPU)."""
    model = load_model(open_model(path), weight_dtype)
    return make_static(model) if disable_dynamic else model


def load_vae(model: OpenedModel, candidates: Candidates = tuple, chosen: Path | None = None) -> Any:
    """The VAE for a model: `chosen` if given, else its own, else the first of `candidates` that fits."""
    family, variant, checkpoint = model.family, model.variant, model.checkpoint
    if chosen is not None:
        autoencoder = family.autoencoder(open_component(chosen, "VAE", ("vae.", "")), variant)
        if autoencoder is None:
            raise CheckpointError(f"{chosen.name} is no {family.name} VAE. Choose another, or 'automatic'.")
        return make_vae(_fitting(autoencoder, variant, chosen.name))
    if checkpoint.vae is not None:
        autoencoder = family.autoencoder(checkpoint.vae, variant)
        if autoencoder is None:
            raise CheckpointError(
                f"{model.path.name} holds a VAE, but not a {family.name} VAE: choose a file for 'vae'."
            )
        return make_vae(_fitting(autoencoder, variant, model.path.name))
    looked = []
    for candidate in candidates():
        autoencoder = _try_autoencoder(family, variant, candidate)
        if autoencoder is not None and autoencoder.grid == variant.grid:
            return make_vae(autoencoder)
        looked.append(candidate.name)
    raise CheckpointError(
        f"{model.path.name} has no VAE inside, and no file in models/vae is a {family.name} VAE (looked at: "
        f"{', '.join(looked) or 'none, the folder is empty'}). Put it there, or choose a checkpoint that has one."
    )


def load_clip(model: OpenedModel, candidates: Candidates = tuple, chosen: Path | None = None) -> Any:
    """The CLIP for a model: `chosen` if given, else its own, else the best-named of `candidates`.

    Where CLIP encoders go with T5, `chosen` is the T5; they are the model's own, else those of `candidates`.
    """
    component, tokenizer = t5_encoder(model, candidates, chosen)
    text = model.variant.text
    pooled = {name: clip_encoder(model, name, candidates) for name in text.pooled}
    return make_t5_clip(component.state_dict(), tokenizer, text, pooled)


def _fitting(autoencoder: torch.nn.Module, variant: Variant, name: str) -> torch.nn.Module:
    if autoencoder.grid.channels != variant.grid.channels:
        raise CheckpointError(
            f"The VAE of {name} has {autoencoder.grid.channels} latent channels, {variant.name} has "
            f"{variant.grid.channels}: they do not belong together."
        )
    return autoencoder


def _try_autoencoder(family: Family, variant: Variant, path: Path) -> torch.nn.Module | None:
    """Somebody else's file in models/vae is no error while we look for ours."""
    try:
        return family.autoencoder(open_component(path, "VAE", ("vae.", "")), variant)
    except CheckpointError as error:
        logging.info("Atelier: passed over %s: %s", path.name, error)
        return None
