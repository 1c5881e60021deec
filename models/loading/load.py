"""From a path to MODEL, CLIP and VAE: which family is this, where are its parts, and do they fit together?"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from ..bridge.patcher import make_model, make_static
from ..bridge.text_encoder import make_t5_clip
from ..bridge.vae import make_vae
from ..bridge.weights import check_memory, choose_dtypes, load_weights
from ..contract.colours import Colours
from ..contract.family import Family, Text, Variant
from ..contract.vocabulary import Vocabulary
from ..families.registry import families
from ..weights.checkpoint import Checkpoint, open_checkpoint, open_component
from ..weights.errors import CheckpointError
from ..weights.scaled_fp8 import with_scales
from .text_files import clip_encoder, t5_encoder

MOST = 100_000
"""Of what a recipe may recommend: pixels of a side, frames, steps."""


def identify(checkpoint: Checkpoint) -> tuple[Family, Variant]:
    """The family and variant of a checkpoint. Raises CheckpointError when no family knows it."""
    for family in families():
        try:
            variant = family.recognise(checkpoint)
        except KeyError as missing:
            raise CheckpointError(
                f"{checkpoint.path.name} looks like {family.name}, but has no {missing}: it is incomplete. Download it "
                "again."
            ) from missing
        except CheckpointError:
            raise
        except (AttributeError, IndexError, TypeError, ValueError, ArithmeticError) as error:
            raise CheckpointError(
                f"{checkpoint.path.name} has a config.json that cannot be true ({type(error).__name__}: {error}). "
                "Download it again."
            ) from error
        if variant is not None:
            return family, _as_told(variant, checkpoint.recipe)
    known = ", ".join(family.name for family in families())
    kind = checkpoint.network.config.get("_class_name") or "its first tensors are " + ", ".join(
        list(checkpoint.network.shapes)[:3]
    )
    raise CheckpointError(
        f"{checkpoint.path.name} is no model of a family this pack knows ({known}): {kind}. Image models load with "
        "ComfyUI's own Load Checkpoint."
    )


def _as_told(variant: Variant, recipe: dict[str, Any]) -> Variant:
    """The variant as its folder's recipe.json has it, where there is one. Raises CheckpointError."""
    own = {name: _told(name, value, variant) for name, value in recipe.items() if name in variant.recipe.__dict__}
    colours = recipe.get("preview")
    try:
        return replace(
            variant,
            name=str(recipe.get("name", variant.name)),
            recipe=replace(variant.recipe, **own),
            colours=Colours(**colours) if colours else variant.colours,
            vocabulary=Vocabulary.of(recipe),
            text=_trained(variant.text, recipe.get("text", {})),
            network={**variant.network, **recipe.get("network", {})},
            scheduler={**variant.scheduler, **recipe.get("scheduler", {})},
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"The recipe.json of {variant.name} cannot be used: {error}.") from error


def _trained(text: Text, own: dict[str, Any]) -> Text:
    """How the prompt is read, as recipe.json has it. Raises CheckpointError."""
    for name, value in own.items():
        if type(value) is not type(getattr(text, name)) or name == "tokens" and not 0 < value <= MOST:
            raise CheckpointError(f"The recipe.json cannot be used: its text says {name} {value!r}.")
    return replace(text, **own)


def _told(name: str, value: Any, variant: Variant) -> Any:
    """One of a recipe's entries, of the kind that the family's own has. Raises CheckpointError."""
    usual = getattr(variant.recipe, name)
    if isinstance(usual, str):
        fits, expected = isinstance(value, str), "words"
    else:
        least = 0 if name == "guidance" else 1e-3
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        whole = isinstance(usual, float) or isinstance(value, int)
        fits, expected = number and whole and least <= value <= MOST, f"a number from {least:g} to {MOST:g}"
    if not fits:
        raise CheckpointError(
            f"The recipe.json of {variant.name} has '{name}': {str(value)[:40]}; expected {expected}."
        )
    return value


def load_model(path: Path, weight_dtype: str = "default", disable_dynamic: bool = False) -> Any:
    """The MODEL of a checkpoint. weight_dtype: one of family.WEIGHT_DTYPES. Raises CheckpointError."""
    checkpoint = open_checkpoint(path)
    family, variant = identify(checkpoint)
    network = family.network(variant)
    state = family.network_state(with_scales(checkpoint.network.state_dict()))
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
    model = make_model(family, variant, network, compute, reload=(load_model, (path, weight_dtype)))
    return make_static(model) if disable_dynamic else model


def load_vae(path: Path, candidates: Callable[[], Iterable[Path]] = tuple, chosen: Path | None = None) -> Any:
    """The VAE for the model at `path`: `chosen` if given, else its own, else the first of `candidates` that fits."""
    checkpoint = open_checkpoint(path)
    family, variant = identify(checkpoint)
    if chosen is not None:
        autoencoder = family.autoencoder(open_component(chosen, "VAE", ("vae.", "")), variant)
        if autoencoder is None:
            raise CheckpointError(f"{chosen.name} is no {family.name} VAE. Choose another, or 'automatic'.")
        return make_vae(_fitting(autoencoder, variant, chosen.name))
    if checkpoint.vae is not None:
        autoencoder = family.autoencoder(checkpoint.vae, variant)
        if autoencoder is None:
            raise CheckpointError(f"{path.name} holds a VAE, but not a {family.name} VAE: choose a file for 'vae'.")
        return make_vae(_fitting(autoencoder, variant, path.name))
    looked = []
    for candidate in candidates():
        autoencoder = _try_autoencoder(family, variant, candidate)
        if autoencoder is not None and autoencoder.grid == variant.grid:
            return make_vae(autoencoder)
        looked.append(candidate.name)
    raise CheckpointError(
        f"{path.name} has no VAE inside, and no file in models/vae is a {family.name} VAE (looked at: "
        f"{', '.join(looked) or 'none, the folder is empty'}). Put it there, or choose a checkpoint that has one."
    )


def load_clip(path: Path, candidates: Callable[[], Iterable[Path]] = tuple, chosen: Path | None = None) -> Any:
    """The CLIP for the model at `path`: `chosen` if given, else its own, else the best-named of `candidates`.

    Where CLIP encoders go with T5, `chosen` is the T5; they are the model's own, else those of `candidates`.
    """
    checkpoint = open_checkpoint(path)
    family, variant = identify(checkpoint)
    component, tokenizer = t5_encoder(family, variant, checkpoint, candidates, chosen)
    pooled = {name: clip_encoder(family, variant, checkpoint, name, candidates) for name in variant.text.pooled}
    return make_t5_clip(component.state_dict(), tokenizer, variant.text, pooled)


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
