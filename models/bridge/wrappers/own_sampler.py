"""Run a family's own sampler instead of the chosen one (Pyramid Flow)."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import comfy.model_management as memory
import torch

from ...contract.family import Variant
from ...timeline.spans import active_at
from ..hooks.step_cache import STEP_CACHE
from .calls import SamplerSteps, around_steps, conditioned_frame_rate


@around_steps
def with_own_sampler(steps: SamplerSteps) -> torch.Tensor:
    """Run the family's own sampler, if it has one, instead of the chosen one. Of the sigmas, it uses the count."""
    guider, noise, extra_args = steps.guider, steps.noise, steps.extra_args
    family, variant = guider.inner_model.family, guider.inner_model.variant
    if family.sample is None:
        return steps.proceed()
    _check_own_sampling(guider, steps.sigmas, extra_args["model_options"], noise)
    guidance, conds, seed = getattr(guider, "cfg", 1.0), guider.conds, extra_args.get("seed")

    def prepare(frame: int, guidance: float, added: dict[str, Any]) -> Callable[[torch.Tensor, float], torch.Tensor]:
        active = {name: _active_entries(entries, variant, frame) for name, entries in conds.items()}
        options = _options_of_stage(extra_args["model_options"], guider.inner_model.model_sampling, added)

        def velocity(x: torch.Tensor, timestep: float) -> torch.Tensor:
            guider.cfg, guider.conds = guidance, active
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
    """Raises ValueError for a partial run, which the family's own sampler cannot do. Warns of nodes without effect."""
    name = guider.inner_model.variant.name
    if sigmas[-1] > 0 or not noise.any():
        raise ValueError(
            f"{name} generates a clip frame by frame. It cannot stop half-way or continue another sampler's clip: "
            "run all steps in one sampler, with noise added and none left over."
        )
    idle = {
        "ModelSampling": "model_sampling" in guider.model_patcher.object_patches,
        "Context Windows": "context_handler" in options,
    }
    for node in (node for node, present in idle.items() if present):
        logging.warning("Atelier: %s has its own sampler and schedule: %s has no effect.", name, node)


def _active_entries(entries: list[dict[str, Any]], variant: Variant, frame: int) -> list[dict[str, Any]]:
    """The entries of ComfyUI's conditioning that apply at the time of a latent frame."""
    return active_at(entries, variant.grid.moment(frame, conditioned_frame_rate(entries, variant)))


def _options_of_stage(options: dict[str, Any], sampling: Any, added: dict[str, Any]) -> dict[str, Any]:
    """Model options for a frame and stage, with `added` in its transformer_options.

    EasyCache, LazyCache and our StepCache compare each step with the one before. They are reset, because another frame
    or another size of it begins.
    """
    transformer = {**options.get("transformer_options", {}), **added}
    if "easycache" in transformer:
        transformer["easycache"] = transformer["easycache"].clone().prepare_timesteps(sampling)
    if STEP_CACHE in transformer:
        transformer[STEP_CACHE].start_afresh()
    return {**options, "transformer_options": transformer}
