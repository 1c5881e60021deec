"""The versions of LTX Video: which one a checkpoint is, and how Lightricks run it.

Sources: configs/*.yaml and inference.py of github.com/Lightricks/LTX-Video (steps, guidance, STG), the graphs of
github.com/Lightricks/ComfyUI-LTXVideo (size, frames a second, sampler), diffusers' LTXPipeline (to 0.9.1) and
LTXConditionPipeline (later). docs/models.md has the table.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from ...contract.family import EULER, Recipe
from ...contract.guidance import Guidance, GuidanceLevel, SecondPass
from ...contract.schedule import linear_quadratic
from ...weights.checkpoint import Checkpoint
from ...weights.errors import CheckpointError

EARLY, LATE = ("0.9.0", "0.9.1"), ("0.9.5", "0.9.6", "0.9.7", "0.9.8")
"""Versions with places in time that are 8 frames apart, 128 tokens and a shifted schedule; and those after them."""

NEGATIVE = "worst quality, inconsistent motion, blurry, jittery, distorted"
NEGATIVE_13B = (
    "low quality, worst quality, deformed, distorted, disfigured, motion smear, motion artifacts, fused fingers, bad "
    "anatomy, weird hand, ugly"
)
# The size of the authors' ComfyUI graphs. inference.py has 1216 x 704, 121 frames at 30 fps.
RECIPE_EARLY = Recipe(704, 480, 161, fps=25, steps=50, guidance=3.0, negative_prompt=NEGATIVE)
RECIPE_2B = Recipe(768, 512, 97, fps=25, steps=40, guidance=3.0, negative_prompt=NEGATIVE)
RECIPE_13B = Recipe(768, 512, 97, fps=24, steps=30, guidance=3.0, negative_prompt=NEGATIVE_13B)
RECIPE_DISTILLED = Recipe(768, 512, 97, fps=24, steps=8, guidance=1.0)
# `allowed_inference_steps` of the distilled checkpoints.
DISTILLED_SIGMAS = (1.0, 0.9937, 0.9875, 0.9812, 0.975, 0.9094, 0.725, 0.4219)

# A rescaling_scale of 1 is off in Lightricks' pipeline: it is 0 here.
GUIDANCE_2B = Guidance((GuidanceLevel(1.0, cfg=3.0, stg=1.0, rescale=0.7, skipped=(19,)),))
GUIDANCE_13B = Guidance(
    (
        GuidanceLevel(1.0, cfg=1.0),
        GuidanceLevel(0.996, cfg=1.0, skipped=(11, 25, 35, 39)),
        GuidanceLevel(0.9933, cfg=6.0, stg=4.0, rescale=0.5, skipped=(22, 35, 39)),
        GuidanceLevel(0.985, cfg=8.0, stg=4.0, rescale=0.5, skipped=(28,)),
        GuidanceLevel(0.9767, cfg=6.0, stg=4.0, skipped=(28,)),
        GuidanceLevel(0.9008, cfg=1.0, stg=2.0, skipped=(28,)),
        GuidanceLevel(0.618, cfg=1.0, stg=1.0, skipped=(28,)),
    ),
    zero_star=True,
)
# Of 30 levels the last 13.
SECOND_PASS_13B = SecondPass(
    tuple(linear_quadratic(30)[17:-1].tolist()),
    Guidance((GuidanceLevel(1.0, cfg=1.0, stg=1.0, skipped=(27,)),), zero_star=True),
)
SECOND_PASS_DISTILLED = SecondPass(DISTILLED_SIGMAS[-3:])
TONE_MAP = 0.6
"""What 13B 0.9.8 distilled compresses the enlarged latents by before its second pass."""


@dataclass(frozen=True)
class Version:
    """How one version is run. number: "0.9.5"; "" where the file does not tell which of those after 0.9.1 it is.

    causal: its places in time count frames (0, 1, 9, ...) instead of latent frames times 8. linear_quadratic: its
    schedule, instead of one that is shifted by the number of tokens. sigmas: of a distilled model, all that it knows.
    second_pass: after its latents were enlarged, if it was published with an upscaler. notes: what was assumed. known:
    whether the file or its name tells the version's generation.
    """

    number: str
    large: bool
    recipe: Recipe
    tokens: int
    causal: bool
    linear_quadratic: bool
    sigmas: tuple[float, ...] = ()
    guidance: Guidance | None = None
    second_pass: SecondPass | None = None
    sampler: str = EULER
    notes: tuple[str, ...] = ()
    known: bool = True

    @property
    def autoencoders(self) -> tuple[str, ...]:
        """The versions of the autoencoder that it goes with, best first; all of them where its own was assumed."""
        if not self.known:
            return ("0.9.5", *reversed(EARLY))
        if self.causal:
            return ("0.9.5",)
        return EARLY if self.number == EARLY[0] else tuple(reversed(EARLY))

    @property
    def name(self) -> str:
        words = ("LTX Video", "13B" if self.large else "2B", self.number, "distilled" if self.sigmas else "")
        return " ".join(filter(None, words))


def version_of(checkpoint: Checkpoint, large: bool, vae: str) -> Version:
    """The version of a checkpoint. large: 13B. vae: the version whose autoencoder it has, or "".

    What the file says of itself goes before its name. Raises CheckpointError where that makes no sense.
    """
    number, notes = _named(checkpoint.path.name), []
    late, sigmas = _is_late(checkpoint, large, vae), _distilled_sigmas(checkpoint)
    told = late is not None or bool(number or sigmas)
    if late is None:
        late = number not in EARLY
        notes += [] if number else ["its file does not tell the version: 0.9.5 or later is assumed"]
    if vae and _is_late_by_schedule(checkpoint) not in (None, late):
        other = "0.9.1 or earlier" if late else "0.9.5 or later"
        notes.append(f"its VAE is {vae}'s, its scheduler_config.json that of {other}: one of them is another version's")
    known = LATE if late else EARLY
    if number and number not in known:
        notes.append(f"its file is named {number}, and is {'0.9.5 or later' if late else '0.9.1 or earlier'}")
    number = vae if vae in EARLY and not late else number if number in known else ""
    if not late:
        return Version(number, large, RECIPE_EARLY, 128, False, False, guidance=GUIDANCE_2B, notes=tuple(notes))
    recipe = RECIPE_13B if large else RECIPE_2B
    version = Version(number, large, recipe, 256, True, True, notes=tuple(notes), known=told)
    if not sigmas:
        if not large:
            return replace(version, guidance=GUIDANCE_2B)
        return replace(version, guidance=GUIDANCE_13B, second_pass=SECOND_PASS_13B)
    if not large and not number:
        version = replace(version, notes=(*notes, "its file does not tell the version:\n0.9.8 is assumed"))
    return replace(
        version,
        recipe=replace(RECIPE_DISTILLED, steps=len(sigmas)),
        sigmas=sigmas,
        second_pass=_second_pass_distilled(number, large),
        sampler="euler_ancestral" if number == "0.9.6" else EULER,
    )


def _second_pass_distilled(number: str, large: bool) -> SecondPass | None:
    """Only 2B 0.9.6 was published without one; of 13B, 0.9.8 maps tones."""
    if number == "0.9.6":
        return None
    return replace(SECOND_PASS_DISTILLED, tone_map=TONE_MAP) if large and number == "0.9.8" else SECOND_PASS_DISTILLED


def _named(name: str) -> str:
    """The version in a file's or folder's name, or ""; `v0.9` is 0.9.0."""
    match = re.search(r"(?<![\d.])0\.9(?:\.(\d))?(?!\d)", name)
    return f"0.9.{match[1] or 0}" if match else ""


def _is_late(checkpoint: Checkpoint, large: bool, vae: str) -> bool | None:
    """Whether it is 0.9.5 or later, by what the files say; None where they do not."""
    network = checkpoint.metadata.get("transformer")
    if isinstance(network, dict):
        return bool(network.get("causal_temporal_positioning", False))
    if large or vae:
        return large or vae in LATE
    return _is_late_by_schedule(checkpoint)


def _is_late_by_schedule(checkpoint: Checkpoint) -> bool | None:
    """The same by a folder's scheduler_config.json alone."""
    return not checkpoint.scheduler.get("use_dynamic_shifting", False) if checkpoint.scheduler else None


def _distilled_sigmas(checkpoint: Checkpoint) -> tuple[float, ...]:
    """The levels that a distilled model knows, from its metadata; the published ones where only its name tells."""
    metadata: dict[str, Any] = checkpoint.metadata
    given = metadata.get("allowed_inference_steps") or metadata.get("scheduler", {}).get("allowed_inference_steps")
    if not given:
        return DISTILLED_SIGMAS if "distilled" in checkpoint.path.name.lower() else ()
    sigmas = [float(level) for level in given]
    if sigmas[0] > 1 or sigmas[-1] <= 0 or any(above <= below for above, below in pairwise(sigmas)):
        raise CheckpointError(
            f"The metadata of {checkpoint.path.name} has allowed_inference_steps {given}, which are not levels of "
            "noise that fall from 1. Download it again."
        )
    return tuple(sigmas)
