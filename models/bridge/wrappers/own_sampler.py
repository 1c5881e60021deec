"""A family's own sampler in place of the chosen one (Pyramid Flow)."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import comfy.model_management as memory
import torch

from ...contract.family import Variant
from ...timeline.spans import active_at
from .calls import SamplerSteps, around_steps, conditioned_frame_rate


@around_steps
def with_own_sampler(steps: SamplerSteps) -> torch.Tensor:
    """Run the family's sampler instead of the chosen one, where it has its own: of the sigmas, their number counts."""
    guider, noise, extra_args = steps.guider, steps.noise, steps.extra_args
    family, variant = guider.inner_model.family, guider.inner_model.variant
    if family.sample is None:
        return steps.go_on()
    _check_own_sampling(guider, steps.sigmas, extra_args["model_options"], noise)
    guidance, conds, seed = getattr(guider, "cfg", 1.0), guider.conds, extra_args.get("seed")

    def prepare(frame: int, guidance: float, seen: dict[str, Any]) -> Callable[[torch.Tensor, float], torch.Tensor]:
        held = {name: _at_frame(entries, variant, frame) for name, entries in conds.items()}
        options = _for_another_size(extra_args["model_options"], guider.inner_model.model_sampling, seen)

        def velocity(x: torch.Tensor, timestep: float) -> torch.Tensor:
            guider.cfg, guider.conds = guidance, held
            sigma = x.new_full(x.shape[:1], timestep / 1000)
            denoised = guider(x, sigma, model_options=options, seed=seed)
            return (x - denoised) / sigma.view(-1, 1, 1, 1, 1)

        return velocity

    def report(progress: Any) -> None:
        memory.throw_exception_if_processing_interrupted()
        if steps.callback is not None:
            shown = progress.finished if progress.finished.shape[2] else progress.x
            steps.callback(progress.step - 1, shown, progress.x, progress.steps)

    try:
        return family.sample(
            variant,
            prepare,
            noise,
            steps.latent,
            steps.mask,
            steps=len(steps.sigmas) - 1,
            guidance=guidance,
            seed=seed or 0,
            callback=report,
        )
    finally:
        guider.cfg, guider.conds = guidance, conds


def _check_own_sampling(guider: Any, sigmas: torch.Tensor, options: dict[str, Any], noise: torch.Tensor) -> None:
    """Say what a family with a sampler of its own cannot do, and which nodes in front of it change nothing."""
    name = guider.inner_model.variant.name
    if sigmas[-1] > 0 or not noise.any():
        raise ValueError(
            f"{name} makes a clip frame by frame and cannot stop half-way, or go on where another sampler stopped: "
            "sample it in one go, with noise added and none left over."
        )
    idle = {
        "ModelSampling": "model_sampling" in guider.model_patcher.object_patches,
        "Context Windows": "context_handler" in options,
    }
    for node in (node for node, there in idle.items() if there):
        logging.warning("Atelier: %s has a sampler and a schedule of its own: %s changes nothing.", name, node)


def _at_frame(entries: list[dict[str, Any]], variant: Variant, frame: int) -> list[dict[str, Any]]:
    """Of ComfyUI's conditioning, the entries that hold when a latent frame is seen."""
    return active_at(entries, variant.grid.moment(frame, conditioned_frame_rate(entries, variant)))


def _for_another_size(options: dict[str, Any], sampling: Any, told: dict[str, Any]) -> dict[str, Any]:
    """Model options with `told` among those of the transformer, for latents of another size than before.

    EasyCache and LazyCache compare each step with the last one: they begin anew.
    """
    transformer = {**options.get("transformer_options", {}), **told}
    if "easycache" in transformer:
        transformer["easycache"] = transformer["easycache"].clone().prepare_timesteps(sampling)
    return {**options, "transformer_options": transformer}
