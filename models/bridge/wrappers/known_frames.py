"""What our models do around and inside ComfyUI's sampling, as wrappers that every sampler node runs."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import comfy.model_management as memory
import comfy.model_sampling
import torch

from ...contract.family import Variant
from ...timeline.latent import mask_of
from ...timeline.spans import active_at
from ..video_model import IN_ONE_GO, VideoModel
from .calls import SamplerRun, SamplerSteps, around_run, around_steps


@around_run
def with_clip_in_one_go(run: SamplerRun) -> torch.Tensor:
    """Sample with what is known of the clip encoded in one go, for networks that see it so: made once, before steps."""
    make, guider = run.guider.model_patcher.get_attachment(IN_ONE_GO), run.guider
    if make is not None and run.mask is not None and run.noise.ndim == 5:
        holes = mask_of({"samples": run.latent, "noise_mask": run.mask})
        if holes.lt(1).any():
            seen = {IN_ONE_GO: make(run.latent, holes)}
            guider.conds = {name: [{**entry, **seen} for entry in entries] for name, entries in guider.conds.items()}
    return run.go_on()


@around_run
def with_whole_tokens(run: SamplerRun) -> torch.Tensor:
    """Sample with latent frames added in front, where the network's tokens span several and they do not come out even.

    As the reference pipeline does: known content begins with its first frame again, and what was made there is dropped.
    """
    variant, noise, mask = run.model.variant, run.noise, run.mask
    lead = -noise.shape[2] % variant.grid.patch[0] if noise.ndim == 5 else 0
    if not lead:
        return run.go_on()
    if not noise.any():
        logging.warning(
            "Atelier: %s samples with a latent frame in front, which is no part of a LATENT: going on with a "
            "half-finished clip, it begins as the clip's first. All steps in one sampler give a somewhat other clip.",
            variant.name,
        )

    def begun_again(clip: torch.Tensor) -> torch.Tensor:
        return torch.cat([clip[:, :, :1]] * lead + [clip], dim=2)

    def report(step: int, denoised: torch.Tensor, x: torch.Tensor, steps: int) -> None:
        run.callback(step, denoised[:, :, lead:], x[:, :, lead:], steps)

    made = run.go_on(
        noise=torch.cat([noise_in_front(noise, lead, run.seed), noise], dim=2),
        latent=begun_again(run.latent),
        mask=begun_again(mask) if mask is not None and mask.ndim == 5 else mask,
        callback=run.callback and report,
    )
    return made[:, :, lead:]


def noise_in_front(noise: torch.Tensor, frames: int, seed: int | None) -> torch.Tensor:
    """Noise [B, C, frames, H, W] to go before that of a clip; none where the clip gets none."""
    batch, channels, _, *size = noise.shape
    # Another seed than the clip's own: the same would repeat its first values.
    generator = torch.Generator().manual_seed((seed or 0) ^ 1)
    drawn = torch.randn(batch, channels, frames, *size, generator=generator, dtype=noise.dtype)
    return drawn.to(noise.device) * bool(noise.any())


@around_steps
def with_enforced_mask(steps: SamplerSteps) -> torch.Tensor:
    """Run a sampler with only the part of the mask that it has to keep: some networks keep known frames themselves."""
    model, latent = steps.guider.inner_model, steps.latent
    _check_sampling(model)
    mask = model.variant.known_frames.enforced(steps.mask)
    if model.family.levels and steps.sigmas[0] >= model.model_sampling.sigma_max:
        # This sigma stands for an infinite one: pure noise has no trace of the latent it replaces.
        latent = torch.zeros_like(latent) if mask is None else latent * (mask < 1)
    return steps.go_on(latent=latent, mask=mask)


def _check_sampling(model: VideoModel) -> None:
    """Say so where a ModelSampling node set the other kind of prediction: it would only make noise."""
    expected = comfy.model_sampling.V_PREDICTION if model.family.levels else comfy.model_sampling.CONST
    if not isinstance(model.model_sampling, expected):
        kind = "v-prediction" if model.family.levels else "flow matching"
        raise ValueError(
            f"{model.variant.name} was trained with {kind}, but a ModelSampling node in front of the sampler set "
            f"something else ({', '.join(base.__name__ for base in type(model.model_sampling).__bases__)}). Remove it."
        )


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


def conditioned_frame_rate(entries: list[dict[str, Any]], variant: Variant) -> float:
    """What the conditioning says, else what the model's authors recommend."""
    return next((entry["frame_rate"] for entry in entries if "frame_rate" in entry), variant.recipe.fps)


def _for_another_size(options: dict[str, Any], sampling: Any, told: dict[str, Any]) -> dict[str, Any]:
    """Model options with `told` among those of the transformer, for latents of another size than before.

    EasyCache and LazyCache compare each step with the last one: they begin anew.
    """
    transformer = {**options.get("transformer_options", {}), **told}
    if "easycache" in transformer:
        transformer["easycache"] = transformer["easycache"].clone().prepare_timesteps(sampling)
    return {**options, "transformer_options": transformer}
