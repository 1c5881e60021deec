"""Wrappers that bring known frames to the network and keep them in place. They run in every sampler node."""

from __future__ import annotations

import logging

import comfy.model_sampling
import torch

from ...timeline.latent import mask_of
from ..notice import tell_running_node
from ..unmet import TOLD, unmet
from ..video_model import IN_ONE_GO, VideoModel
from .calls import SamplerRun, SamplerSteps, around_run, around_steps


@around_run
def with_unmet_told(run: SamplerRun) -> torch.Tensor:
    """Say under the running node, and in the log, what the model cannot follow of the mask, unless it has been TOLD."""
    entries = [entry for group in run.guider.conds.values() for entry in group]
    if run.mask is not None and run.noise.ndim == 5 and not any(entry.get(TOLD) for entry in entries):
        found = unmet(run.model.variant, {"samples": run.latent, "noise_mask": run.mask}, entries)
        if found:
            tell_running_node("\n".join(f"Atelier: {each}" for each in found))
    return run.proceed()


@around_run
def with_clip_in_one_go(run: SamplerRun) -> torch.Tensor:
    """For networks that read the known frames as one encoded clip: encode it once before sampling."""
    encode_known, guider = run.guider.model_patcher.get_attachment(IN_ONE_GO), run.guider
    if encode_known is not None and run.mask is not None and run.noise.ndim == 5:
        holes = mask_of({"samples": run.latent, "noise_mask": run.mask})
        if holes.lt(1).any():
            known = {IN_ONE_GO: encode_known(run.latent, holes, run.seed or 0)}
            guider.conds = {name: [{**entry, **known} for entry in entries] for name, entries in guider.conds.items()}
    return run.proceed()


@around_run
def with_whole_tokens(run: SamplerRun) -> torch.Tensor:
    """Add latent frames if the network's tokens span several and the clip's length is not a multiple of that.

    As in the reference pipeline, they go in front, where known content repeats its first frame. They go behind if all
    clips in the network's training were whole tokens. They are removed after sampling.
    """
    grid, count = run.model.variant.grid, run.noise.shape[2] if run.noise.ndim == 5 else 0
    lacking = -count % grid.patch[0]
    if not lacking:
        return run.proceed()
    behind, mask = grid.whole_tokens, run.mask
    if not behind and not run.noise.any():
        logging.warning(
            "Atelier: %s samples with an extra latent frame in front, which a LATENT does not contain. To continue a "
            "half-finished clip, it is a copy of the clip's first. Run all steps in one sampler to get the reference "
            "result.",
            run.model.variant.name,
        )
    kept = slice(0, count) if behind else slice(lacking, None)

    def longer(clip: torch.Tensor, added: torch.Tensor) -> torch.Tensor:
        return torch.cat([clip, added] if behind else [added, clip], dim=2)

    def extended(clip: torch.Tensor, behind_it: float) -> torch.Tensor:
        first = clip[:, :, :1].expand(-1, -1, lacking, -1, -1)
        return longer(clip, torch.full_like(first, behind_it) if behind else first)

    def report(step: int, denoised: torch.Tensor, x: torch.Tensor, steps: int) -> None:
        run.callback(step, denoised[:, :, kept], x[:, :, kept], steps)

    sampled = run.proceed(
        noise=longer(run.noise, extra_noise(run.noise, lacking, run.seed)),
        latent=extended(run.latent, 0.0),
        mask=extended(mask, 1.0) if mask is not None and mask.ndim == 5 else mask,
        callback=run.callback and report,
    )
    return sampled[:, :, kept]


def extra_noise(noise: torch.Tensor, frames: int, seed: int | None) -> torch.Tensor:
    """Noise [B, C, frames, H, W] for extra frames of a clip; zeros if the clip's noise is zero."""
    batch, channels, _, *size = noise.shape
    # The clip's own seed would repeat the first values of its noise.
    generator = torch.Generator().manual_seed((seed or 0) ^ 1)
    extra = torch.randn(batch, channels, frames, *size, generator=generator, dtype=noise.dtype)
    return extra.to(noise.device) * bool(noise.any())


@around_steps
def with_enforced_mask(steps: SamplerSteps) -> torch.Tensor:
    """Sample with the part of the mask that the sampler must enforce. Some networks keep known frames themselves."""
    model, latent = steps.guider.inner_model, steps.latent
    _check_sampling(model)
    mask = model.variant.known_frames.enforced(steps.mask)
    if model.family.levels and steps.sigmas[0] >= model.model_sampling.sigma_max:
        # This sigma stands for an infinite one: pure noise contains nothing of the latent that it replaces.
        latent = torch.zeros_like(latent) if mask is None else latent * (mask < 1)
    return steps.proceed(latent=latent, mask=mask)


def _check_sampling(model: VideoModel) -> None:
    """Raises ValueError if a ModelSampling node set the wrong prediction type, which would give noise."""
    expected = comfy.model_sampling.V_PREDICTION if model.family.levels else comfy.model_sampling.CONST
    if not isinstance(model.model_sampling, expected):
        kind = "v-prediction" if model.family.levels else "flow matching"
        raise ValueError(
            f"{model.variant.name} was trained with {kind}, but a ModelSampling node before the sampler set "
            f"another type ({', '.join(base.__name__ for base in type(model.model_sampling).__bases__)}). Remove it."
        )
