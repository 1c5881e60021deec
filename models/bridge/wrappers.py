"""What our models do around and inside ComfyUI's sampling, as wrappers that every sampler node runs."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import comfy.model_management as memory
import comfy.model_sampling
import torch

from ..family import Variant
from ..knowns import mask_of
from ..prompts import holding
from .video_model import IN_ONE_GO, VideoModel


def with_clip_in_one_go(
    sample: Callable,
    noise: torch.Tensor,
    latent: torch.Tensor,
    sampler: Any,
    sigmas: torch.Tensor,
    mask: torch.Tensor | None = None,
    *others: Any,
    **options: Any,
) -> torch.Tensor:
    """Sample with what is known of the clip encoded in one go, for networks that see it so: made once, before steps."""
    guider = sample.class_obj
    make = guider.model_patcher.get_attachment(IN_ONE_GO)
    if make is not None and mask is not None and noise.ndim == 5:
        holes = mask_of({"samples": latent, "noise_mask": mask})
        if holes.lt(1).any():
            seen = {IN_ONE_GO: make(latent, holes)}
            guider.conds = {name: [{**entry, **seen} for entry in entries] for name, entries in guider.conds.items()}
    return sample(noise, latent, sampler, sigmas, mask, *others, **options)


def with_whole_tokens(
    sample: Callable,
    noise: torch.Tensor,
    latent: torch.Tensor,
    sampler: Any,
    sigmas: torch.Tensor,
    mask: torch.Tensor | None = None,
    callback: Callable | None = None,
    disable_pbar: bool = False,
    seed: int | None = None,
    **options: Any,
) -> torch.Tensor:
    """Sample with latent frames added in front, where the network's tokens span several and they do not come out even.

    As the reference pipeline does: known content begins with its first frame again, and what was made there is dropped.
    """
    variant = sample.class_obj.model_patcher.model.variant
    lead = -noise.shape[2] % variant.grid.patch[0] if noise.ndim == 5 else 0
    if not lead:
        return sample(noise, latent, sampler, sigmas, mask, callback, disable_pbar, seed, **options)
    if not noise.any():
        logging.warning(
            "Atelier: %s samples with a latent frame in front, which is no part of a LATENT: going on with a "
            "half-finished clip, it begins as the clip's first. All steps in one sampler give a somewhat other clip.",
            variant.name,
        )

    def begun_again(clip: torch.Tensor) -> torch.Tensor:
        return torch.cat([clip[:, :, :1]] * lead + [clip], dim=2)

    def report(step: int, denoised: torch.Tensor, x: torch.Tensor, steps: int) -> None:
        callback(step, denoised[:, :, lead:], x[:, :, lead:], steps)

    noise, latent = torch.cat([noise_in_front(noise, lead, seed), noise], dim=2), begun_again(latent)
    if mask is not None and mask.ndim == 5:
        mask = begun_again(mask)
    if "latent_shapes" in options:
        options["latent_shapes"] = [latent.shape]
    made = sample(noise, latent, sampler, sigmas, mask, callback and report, disable_pbar, seed, **options)
    return made[:, :, lead:]


def noise_in_front(noise: torch.Tensor, frames: int, seed: int | None) -> torch.Tensor:
    """Noise [B, C, frames, H, W] to go before that of a clip; none where the clip gets none."""
    batch, channels, _, *size = noise.shape
    # Another seed than the clip's own: the same would repeat its first values.
    generator = torch.Generator().manual_seed((seed or 0) ^ 1)
    drawn = torch.randn(batch, channels, frames, *size, generator=generator, dtype=noise.dtype)
    return drawn.to(noise.device) * bool(noise.any())


def with_enforced_mask(
    sample: Callable,
    guider: Any,
    sigmas: torch.Tensor,
    extra_args: dict,
    callback: Callable | None,
    noise: torch.Tensor,
    latent: torch.Tensor | None = None,
    mask: torch.Tensor | None = None,
    *others: Any,
) -> torch.Tensor:
    """Run a sampler with only the part of the mask that it has to keep: some networks keep known frames themselves."""
    model = guider.inner_model
    _check_sampling(model)
    mask = model.variant.knowns.enforced(mask)
    if model.family.levels and sigmas[0] >= model.model_sampling.sigma_max:
        # This sigma stands for an infinite one: pure noise has no trace of the latent it replaces.
        latent = torch.zeros_like(latent) if mask is None else latent * (mask < 1)
    return sample(guider, sigmas, extra_args, callback, noise, latent, mask, *others)


def _check_sampling(model: VideoModel) -> None:
    """Say so where a ModelSampling node set the other kind of prediction: it would only make noise."""
    expected = comfy.model_sampling.V_PREDICTION if model.family.levels else comfy.model_sampling.CONST
    if not isinstance(model.model_sampling, expected):
        kind = "v-prediction" if model.family.levels else "flow matching"
        raise ValueError(
            f"{model.variant.name} was trained with {kind}, but a ModelSampling node in front of the sampler set "
            f"something else ({', '.join(base.__name__ for base in type(model.model_sampling).__bases__)}). Remove it."
        )


def with_own_sampler(
    sample: Callable,
    guider: Any,
    sigmas: torch.Tensor,
    extra_args: dict,
    callback: Callable | None,
    noise: torch.Tensor,
    latent: torch.Tensor | None = None,
    mask: torch.Tensor | None = None,
    *others: Any,
) -> torch.Tensor:
    """Run the family's sampler instead of the chosen one, where it has its own: of the sigmas, their number counts."""
    family, variant = guider.inner_model.family, guider.inner_model.variant
    if family.sample is None:
        return sample(guider, sigmas, extra_args, callback, noise, latent, mask, *others)
    _check_own_sampling(guider, sigmas, extra_args["model_options"], noise)
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
        if callback is not None:
            shown = progress.finished if progress.finished.shape[2] else progress.x
            callback(progress.step - 1, shown, progress.x, progress.steps)

    try:
        return family.sample(
            variant,
            prepare,
            noise,
            latent,
            mask,
            steps=len(sigmas) - 1,
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
    return holding(entries, variant.grid.moment(frame, frame_rate_of(entries, variant)))


def frame_rate_of(entries: list[dict[str, Any]], variant: Variant) -> float:
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
