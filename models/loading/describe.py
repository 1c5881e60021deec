"""Describe what a model can do from its file's headers, for the API and studio, without loading it."""

from __future__ import annotations

import logging
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from ..contract.family import Family, Variant
from ..contract.memory import step_bytes
from ..contract.schedule import second_pass_of
from ..families.registry import families
from ..library.folders import model_path, upscaler_path, upscalers
from ..weights.checkpoint import open_part, repository, weight_files
from .identify import open_model

ONE_WAY = "generates frame after frame, each from those before it"


def describe(choice: str) -> dict[str, Any]:
    """The result of `about` for a choice of Load Video Model. Results and errors are cached until a file changes.

    Raises CheckpointError and OSError.
    """
    path = model_path(choice)
    stats = [file.stat() for file in _files(path)]
    result = _described(path, tuple((one.st_mtime_ns, one.st_ctime_ns, one.st_size) for one in stats))
    if isinstance(result, Exception):
        raise result
    return result


@lru_cache(maxsize=1000)
def _described(path: Path, changed: tuple) -> dict[str, Any] | Exception:
    try:
        return about(path)
    except (OSError, MemoryError):  # not the file's fault, so not cached: the next call may succeed
        raise
    except Exception as error:  # a downloaded file may raise anything
        return error.with_traceback(None)


def _files(path: Path) -> list[Path]:
    """All files that `about` may read."""
    return [*weight_files(path), *(sorted(repository(path).rglob("*.json")) if path.is_dir() else [])]


def about(path: Path) -> dict[str, Any]:
    """Name, family, recipe and abilities of the checkpoint at `path`, as plain data. Raises CheckpointError.

    `memory`: bytes of the network as stored, and of one step at the recipe's size. `sides`: widths and heights are
    multiples of it. `frames`: frame counts minus 1 are multiples of it. `abilities`: for each kind of shot
    {"possible", "note"}: whether the model can do it, and a note for an artist, or "". `sound`: whether it
    makes sound with the picture.
    """
    model = open_model(path)
    family, variant = model.family, model.variant
    grid, recipe = variant.grid, variant.recipe
    return {
        "name": variant.name,
        "family": family.name,
        "width": recipe.width,
        "height": recipe.height,
        "num_frames": recipe.frames,
        "fps": recipe.fps,
        "num_inference_steps": recipe.steps,
        "guidance_scale": recipe.guidance,
        "negative_prompt": recipe.negative_prompt,
        "memory": {
            "network": model.checkpoint.network.stored_bytes(),
            "step": step_bytes(variant, grid.latent_shape(recipe.width, recipe.height, recipe.frames)),
        },
        "sides": grid.spatial * grid.patch[1],
        "frames": grid.temporal * grid.group,
        "sound": variant.sound is not None,
        "abilities": _abilities(family, variant),
    }


def _abilities(family: Family, variant: Variant) -> dict[str, dict[str, Any]]:
    """The abilities, from masks of five latent frames (1 = generate, 0 = known) and from the family's sampler."""
    shots = {
        "first_frame": _known(variant, [0, 1, 1, 1, 1]),
        "last_frame": _known(variant, [1, 1, 1, 1, 0]),
        "edit": {"possible": True, "note": ""},
        "forward": _known(variant, [0, 0, 1, 1, 1]),
        "backward": _known(variant, [1, 1, 1, 1, 0]),
        "loop": _known(variant, [0, 1, 1, 1, 0]),
        "control": _controlled(variant),
        "sound": {"possible": bool(variant.sound), "note": "" if variant.sound else f"{variant.name} makes no sound"},
        "high_quality": _enlarged(family, variant),
    }
    if variant.recipe.frames == 1:
        return dict.fromkeys(shots, {"possible": False, "note": f"{variant.name} generates pictures, not video"})
    if family.sample is not None:
        ends = {"possible": False, "note": f"{variant.name} {ONE_WAY}: later frames cannot be given"}
        edit = {
            "possible": False,
            "note": f"{variant.name} {ONE_WAY}: it cannot change a clip, only generate a new one",
        }
        shots |= {"last_frame": ends, "backward": ends, "loop": ends, "edit": edit}
    return shots


def _controlled(variant: Variant) -> dict[str, Any]:
    able = variant.known_frames.controlled
    note = "" if able else f"{variant.name} was not trained to follow a control clip, as CogVideoX-Fun Control was"
    return {"possible": able, "note": note}


def _enlarged(family: Family, variant: Variant) -> dict[str, Any]:
    """The ability to make a clip of half the size, upscale its latents and sample it again."""
    recipe = variant.recipe
    shape = variant.grid.latent_shape(recipe.width, recipe.height, recipe.frames)
    if second_pass_of(family, variant, shape):
        return {"possible": True, "note": ""}
    note = f"{variant.name} has no second pass at twice the size, which LTX Video 0.9.7 and 0.9.8 have"
    if variant.second_pass:
        note = f"the second pass of {variant.name} is run by its distilled model: choose that"
    return {"possible": False, "note": note}


def _known(variant: Variant, mask: list[int]) -> dict[str, Any]:
    """The ability to sample a shot with this mask. The note follows the same rule as Sample Video's warning
    of what a variant was not trained on."""
    known_frames, holes = variant.known_frames, torch.tensor(mask, dtype=torch.float32).view(1, 1, -1, 1, 1)
    has_note = known_frames.about and known_frames.enforced(holes) is not None
    return {"possible": True, "note": f"{variant.name} was {' '.join(known_frames.about.split())}" if has_note else ""}


def spatial_upscaler(family: str) -> str | None:
    """The upscaler of a family in models/latent_upscale_models that doubles width and height, and nothing else.

    Of several, the last by name, which is the newest of the published ones; None if there is none.
    """
    names = sorted(upscalers(), reverse=True)
    return next((name for name in names if _doubles_size(name, family)), None)


def _doubles_size(name: str, family: str) -> bool:
    try:
        path = upscaler_path(name)
        stats = [file.stat() for file in weight_files(path)]
        return _kind(path, tuple((one.st_mtime_ns, one.st_size) for one in stats)) == (family, 2, False)
    except Exception as error:  # a damaged upscaler is no fault of the model; loading it tells what is wrong
        logging.info("Atelier: %s is not used for high quality: %s", name, error)
        return False


@lru_cache(maxsize=100)
def _kind(path: Path, changed: tuple) -> tuple[str, float, bool] | None:
    """The family of an upscaler, how many times it enlarges a side, and whether also time; None for other networks."""
    component = open_part(path, path.name)
    for family in families():
        network = family.upscaler(component) if family.upscaler else None
        if network is not None:
            scale = network.spatial_scale if network.spatial_upsample else 1
            return family.name, scale, network.temporal_upsample
    return None
