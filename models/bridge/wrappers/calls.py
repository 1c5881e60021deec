"""The arguments of ComfyUI's sampling wrappers as records. A wrapper calls `proceed` with its changes."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from ...contract.family import Variant


@dataclass(frozen=True)
class SamplerRun:
    """A sampler's run over a latent [B, C, T, H, W], before the model is loaded (OUTER_SAMPLE).

    mask: 1 where the latent is sampled. callback(step, denoised, x, steps): called after each step. rest: the remaining
    wrappers and the sampler.
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

    def proceed(self, *, shapes: list[torch.Size] | None = None, **changes: Any) -> torch.Tensor:
        """Run the remaining wrappers and the sampler with these changes -> the sampled latent.

        shapes: those of the streams in a changed latent; None: it is one stream.
        """
        run = replace(self, **changes)
        options = run.options
        if "latent_shapes" in options and "latent" in changes:
            options = {**options, "latent_shapes": shapes or [run.latent.shape]}
        arguments = run.noise, run.latent, run.sampler, run.sigmas, run.mask, run.callback, run.disable_pbar, run.seed
        return self.rest(*arguments, **options)


@dataclass(frozen=True)
class SamplerSteps:
    """The steps of a run, after its model is loaded (SAMPLER_SAMPLE)."""

    rest: Callable
    guider: Any
    sigmas: torch.Tensor
    extra_args: dict[str, Any]
    callback: Callable | None
    noise: torch.Tensor
    latent: torch.Tensor | None = None
    mask: torch.Tensor | None = None
    others: tuple = ()

    def proceed(self, **changes: Any) -> torch.Tensor:
        """Run the remaining wrappers and the sampler with these changes -> the sampled latent."""
        steps = replace(self, **changes)
        arguments = steps.guider, steps.sigmas, steps.extra_args, steps.callback, steps.noise, steps.latent, steps.mask
        return self.rest(*arguments, *steps.others)


def around_run(wrapper: Callable[[SamplerRun], torch.Tensor]) -> Callable[..., torch.Tensor]:
    """Convert a wrapper of SamplerRun to the signature that ComfyUI calls."""

    @functools.wraps(wrapper)
    def called(rest: Callable, *arguments: Any, **options: Any) -> torch.Tensor:
        return wrapper(SamplerRun(rest, *arguments, options=options))

    return called


def around_steps(wrapper: Callable[[SamplerSteps], torch.Tensor]) -> Callable[..., torch.Tensor]:
    """Convert a wrapper of SamplerSteps to the signature that ComfyUI calls."""

    @functools.wraps(wrapper)
    def called(rest: Callable, *arguments: Any) -> torch.Tensor:
        return wrapper(SamplerSteps(rest, *arguments[:7], others=arguments[7:]))

    return called


def conditioned_frame_rate(entries: Sequence[Mapping[str, Any]], variant: Variant) -> float:
    """The frame rate in the conditioning, else the one that the model's authors recommend."""
    return next((entry["frame_rate"] for entry in entries if "frame_rate" in entry), variant.recipe.fps)
