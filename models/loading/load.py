"""Load MODEL, CLIP and VAE of an opened model: find its parts and check that they fit together."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from ..bridge.gemma import make_gemma_clip
from ..bridge.patcher import make_model, make_static
from ..bridge.text_encoder import make_t5_clip
from ..bridge.vae import make_vae
from ..bridge.weights import check_memory, choose_dtypes, load_weights
from ..weights.errors import CheckpointError
from ..weights.scaled_fp8 import with_scales
from .identify import OpenedModel, open_model
from .lora import lora_of_any_trainer
from .parts import with_parts
from .text_files import Candidates, clip_encoder, gemma_encoder, t5_encoder
from .vae_files import own_vae, vaes_among


def load_model(model: OpenedModel, weight_dtype: str = "default") -> Any:
    """The MODEL of a checkpoint. weight_dtype: one of family.WEIGHT_DTYPES. Raises CheckpointError."""
    family, variant, path = model.family, model.variant, model.path
    network = family.network(variant)
    state = family.network_state(with_scales(_network_weights(model)))
    storage, compute = choose_dtypes(weight_dtype, state, variant.dtypes)
    if weight_dtype not in ("default", *variant.dtypes) and storage.itemsize > 1:  # float8 is for storage only
        logging.warning(
            "Atelier: %s cannot compute in %s, where its values overflow. It computes in %s.",
            variant.name,
            weight_dtype,
            compute,
        )
    check_memory(f"{variant.name} ({path.name})", state, storage)
    load_weights(network, state, storage, compute)
    logging.info("Atelier: %s from %s, stored as %s, computed in %s", variant.name, path.name, storage, compute)
    # Opened again on demand, with the same further files: for newer ComfyUI (hooks, compile, multi-GPU).
    others = {name: part.files for name, part in model.checkpoint.parts.items() if name in family.network_parts}
    loaded = make_model(family, variant, network, compute, reload=(_reload, (path, weight_dtype, others)))
    loaded.model.read_lora = lora_of_any_trainer
    return loaded


def _network_weights(model: OpenedModel) -> dict[str, torch.Tensor]:
    """The network's weights, and those of the further parts that belong to it, with the part's name in front."""
    state = model.checkpoint.network.state_dict()
    for name in model.family.network_parts:
        part = model.checkpoint.parts.get(name)
        state |= {f"{name}.{key}": weight for key, weight in part.state_dict().items()} if part else {}
    return state


def _reload(
    path: Path, weight_dtype: str, others: dict[str, tuple[Path, ...]] | None = None, disable_dynamic: bool = False
) -> Any:
    """Load the MODEL again. others: the files of parts of the network that its own files lack."""
    opened = with_parts(open_model(path), lambda kind: [file for files in (others or {}).values() for file in files])
    model = load_model(opened, weight_dtype)
    return make_static(model) if disable_dynamic else model


def load_vae(
    model: OpenedModel,
    candidates: Candidates = tuple,
    chosen: Path | None = None,
    tell: Callable[[str], None] = lambda choice: None,
) -> Any:
    """The VAE for a model: `chosen` if given, else its own, else the one of `candidates` that fits best.

    tell: called with the name of the file if it is one of the candidates. Raises CheckpointError.
    """
    component = own_vae(model, chosen)
    if component is None:
        autoencoder, name = _found_vae(model, list(candidates()))
        tell(f"the VAE {name}")
        return make_vae(autoencoder, _sound(model))
    autoencoder, name = model.family.autoencoder(component, model.variant), component.files[0].name
    if autoencoder is None:
        fault = f"{name} is not a VAE" if chosen else f"The VAE in {model.path.name} is not one"
        raise CheckpointError(f"{fault} of {model.family.name}. Choose another file for 'vae'.")
    if autoencoder.grid.channels != model.variant.grid.channels:
        raise CheckpointError(
            f"The VAE of {name} has {autoencoder.grid.channels} latent channels, {model.variant.name} has "
            f"{model.variant.grid.channels}: they do not belong together."
        )
    return make_vae(autoencoder, _sound(model))


def _sound(model: OpenedModel) -> torch.nn.Module | None:
    """The coder of the model's sound; None for a model without sound. Raises CheckpointError if parts are missing."""
    return model.family.sound(model.checkpoint.parts, model.variant) if model.variant.sound else None


def _found_vae(model: OpenedModel, available: list[Path]) -> tuple[torch.nn.Module, str]:
    """The VAE from the file that fits the model best, and the file's name. Raises CheckpointError if none fits."""
    for component in vaes_among(model, available):
        name = component.files[0].name
        try:
            autoencoder = model.family.autoencoder(component, model.variant)
        except CheckpointError as error:  # a damaged file; another one may work
            logging.info("Atelier: skipped %s: %s", name, error)
            continue
        if autoencoder is not None and autoencoder.grid == model.variant.grid:
            return autoencoder, name
    version = " or ".join(model.variant.autoencoders)
    raise CheckpointError(
        f"{model.path.name} has no VAE inside, and no file in models/vae is a {model.family.name} VAE"
        f"{f' of {version}' if version else ''} (looked at: "
        f"{', '.join(path.name for path in available) or 'none, the folder is empty'}). Put it there, or choose a "
        "checkpoint that has one."
    )


def load_clip(model: OpenedModel, candidates: Candidates = tuple, chosen: Path | None = None) -> Any:
    """The CLIP for a model: the text encoder `chosen` if given, else its own, else the best-named of `candidates`.

    CLIP encoders that a family uses beside T5 are the model's own, else those of `candidates`.
    """
    text = model.variant.text
    if text.encoder == "gemma3":
        projection = model.family.text_projection(model.checkpoint.parts, model.variant)
        component, tokenizer = gemma_encoder(model, candidates, chosen, projection.inputs)
        return make_gemma_clip(component.state_dict(), tokenizer, text, projection)
    component, tokenizer = t5_encoder(model, candidates, chosen)
    pooled = {name: clip_encoder(model, name, candidates) for name in text.pooled}
    return make_t5_clip(component.state_dict(), tokenizer, text, pooled)
