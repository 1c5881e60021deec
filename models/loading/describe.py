"""What a model can do, read from its file's headers: for those who must offer choices before anything is loaded."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from ..contract.family import Family, Variant
from ..library.folders import model_path
from ..weights.checkpoint import repository, weight_files
from .identify import open_model

ONE_WAY = "makes frame after frame, each from those before it"


def describe(choice: str) -> dict[str, Any]:
    """What `about` says of a choice of Load Video Model; kept, as what is wrong with it, until a file of it changes.

    Raises CheckpointError and OSError.
    """
    path = model_path(choice)
    stats = [file.stat() for file in _files(path)]
    known = _described(path, tuple((one.st_mtime_ns, one.st_ctime_ns, one.st_size) for one in stats))
    if isinstance(known, Exception):
        raise known
    return known


@lru_cache(maxsize=1000)
def _described(path: Path, changed: tuple) -> dict[str, Any] | Exception:
    try:
        return about(path)
    except (OSError, MemoryError):  # not of the file's making: it may be right the next time
        raise
    except Exception as error:  # a stranger's file
        return error.with_traceback(None)


def _files(path: Path) -> list[Path]:
    """All files that `about` may read."""
    return [*weight_files(path), *(sorted(repository(path).rglob("*.json")) if path.is_dir() else [])]


def about(path: Path) -> dict[str, Any]:
    """Name, family, recipe and abilities of the checkpoint at `path`, as plain data. Raises CheckpointError.

    `sides`, `frames`: what widths and heights are multiples of, and frame counts less one. `abilities`: for each kind
    of shot {"possible", "note"}: whether it comes out as asked, and what an artist should know of it, or "".
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
        "sides": grid.spatial * grid.patch[1],
        "frames": grid.temporal * grid.group,
        "abilities": _abilities(family, variant),
    }


def _abilities(family: Family, variant: Variant) -> dict[str, dict[str, Any]]:
    """By what is known of five latent frames (1 = to be made), and by how the family samples."""
    shots = {
        "first_frame": _known(variant, [0, 1, 1, 1, 1]),
        "last_frame": _known(variant, [1, 1, 1, 1, 0]),
        "edit": {"possible": True, "note": ""},
        "forward": _known(variant, [0, 0, 1, 1, 1]),
        "backward": _known(variant, [1, 1, 1, 1, 0]),
        "loop": _known(variant, [0, 1, 1, 1, 0]),
        "control": _controlled(variant),
    }
    if variant.recipe.frames == 1:
        return dict.fromkeys(shots, {"possible": False, "note": f"{variant.name} makes pictures"})
    if family.sample is not None:
        ends = {"possible": False, "note": f"{variant.name} {ONE_WAY}: none of them can be known before"}
        edit = {"possible": False, "note": f"{variant.name} {ONE_WAY}: it cannot change a clip, only make one anew"}
        shots |= {"last_frame": ends, "backward": ends, "loop": ends, "edit": edit}
    return shots


def _controlled(variant: Variant) -> dict[str, Any]:
    able = variant.known_frames.controlled
    note = "" if able else f"{variant.name} was not trained to follow a control clip, as CogVideoX-Fun Control was"
    return {"possible": able, "note": note}


def _known(variant: Variant, mask: list[int]) -> dict[str, Any]:
    """A shot of which this much is known, by the same rule as the notice of Sample Video."""
    known_frames, holes = variant.known_frames, torch.tensor(mask, dtype=torch.float32).view(1, 1, -1, 1, 1)
    told = known_frames.about and known_frames.enforced(holes) is not None
    return {"possible": True, "note": f"{variant.name} was {' '.join(known_frames.about.split())}" if told else ""}
