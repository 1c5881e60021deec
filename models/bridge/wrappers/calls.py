"""What ComfyUI hands to wrappers of its sampling, as records: a wrapper changes what it needs to and goes on."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from ...contract.family import Variant


@dataclass(frozen=True)
class SamplerRun:
    """A sampler's run over a latent [B, C, T, H, W], before the model is loaded (OUTER_SAMPLE).

    mask: 1 where it is sampled. callback(step, denoised, x, steps) is called after each step.
    """

    rest: Callable
    noise: torch.Tensor
    latent: torch.Tensor
    sampler: Any
    sigmas: torch.Tensor
    mask: torch.Tensor | None = None
    callback: Callable | None = None
    disable_pbar: bool = False
    seed: int | None = None
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def guider(self) -> Any:
        return self.rest.class_obj

    @property
    def model(self) -> Any:
        return self.guider.model_patcher.model

    def go_on(self, **changes: Any) -> torch.Tensor:
        """The latent that the rest of the wrappers and the sampler make of it, with these changes."""
        run, options = replace(self, **changes), self.options
        if "latent_shapes" in options and "latent" in changes:
            options = {**options, "latent_shapes": [run.latent.shape]}
        given = run.noise, run.latent, run.sampler, run.sigmas, run.mask, run.callback, run.disable_pbar, run.seed
        return self.rest(*given, **options)


@dataclass(frozen=True)
class SamplerSteps:
    """The steps of a run, when its model is loaded (SAMPLER_SAMPLE)."""

    rest: Callable
    guider: Any
    sigmas: torch.Tensor
    extra_args: dict[str, Any]
    callback: Callable | None
    noise: torch.Tensor
    latent: torch.Tensor | None = None
    mask: torch.Tensor | None = None
    others: tuple = ()

    def go_on(self, **changes: Any) -> torch.Tensor:
        """The latent that the rest of the wrappers and the sampler make, with these changes."""
        steps = replace(self, **changes)
        given = steps.guider, steps.sigmas, steps.extra_args, steps.callback, steps.noise, steps.latent, steps.mask
        return self.rest(*given, *steps.others)


def around_run(wrapper: Callable[[SamplerRun], torch.Tensor]) -> Callable[..., torch.Tensor]:
    """A wrapper of a SamplerRun as ComfyUI calls it."""

    @functools.wraps(wrapper)
    def called(rest: Callable, *given: Any, **options: Any) -> torch.Tensor:
        return wrapper(SamplerRun(rest, *given, options=options))

    return called


def around_steps(wrapper: Callable[[SamplerSteps], torch.Tensor]) -> Callable[..., torch.Tensor]:
    """A wrapper of SamplerSteps as ComfyUI calls it."""

    @functools.wraps(wrapper)
    def called(rest: Callable, *given: Any) -> torch.Tensor:
        return wrapper(SamplerSteps(rest, *given[:7], others=given[7:]))

    return called


def conditioned_frame_rate(entries: list[dict[str, Any]], variant: Variant) -> float:
    """What the conditioning says, else what the model's authors recommend."""
    return next((entry["frame_rate"] for entry in entries if "frame_rate" in entry), variant.recipe.fps)
