"""What our models do around and inside ComfyUI's sampling, as wrappers that every sampler node runs."""

from __future__ import annotations

import logging

import comfy.model_sampling
import torch

from ...timeline.latent import mask_of
from ..video_model import IN_ONE_GO, VideoModel
from .calls import SamplerRun, SamplerSteps, around_run, around_steps


@around_run
def with_clip_in_one_go(run: SamplerRun) -> torch.Tensor:
    """Sample with what is known of the clip encoded in one go, for networks that see it so: made once, before steps."""
    make, guider = run.guider.model_patcher.get_attachment(IN_ONE_GO), run.guider
    if make is not None and run.mask is not None and run.noise.ndim == 5:
        holes = mask_of({"samples": run.latent, "noise_mask": run.mask})
        if holes.lt(1).any():
            seen = {IN_ONE_GO: make(run.latent, holes, run.seed or 0)}
            guider.conds = {name: [{**entry, **seen} for entry in entries] for name, entries in guider.conds.items()}
    return run.go_on()


@around_run
def with_whole_tokens(run: SamplerRun) -> torch.Tensor:
    """Sample with latent frames added where the network's tokens span several and they do not come out even.

    In front, as the reference pipeline does: known content begins with its first frame again. Behind, where all clips
    that the network was trained on are whole tokens. What was made there is dropped.
    """
    grid, count = run.model.variant.grid, run.noise.shape[2] if run.noise.ndim == 5 else 0
    lacking = -count % grid.patch[0]
    if not lacking:
        return run.go_on()
    behind, mask = grid.whole_tokens, run.mask
    if not behind and not run.noise.any():
        logging.warning(
            "Atelier: %s samples with a latent frame in front, which is no part of a LATENT: going on with a "
            "half-finished clip, it begins as the clip's first. All steps in one sampler give a somewhat other clip.",
            run.model.variant.name,
        )
    kept = slice(0, count) if behind else slice(lacking, None)

    def longer(clip: torch.Tensor, added: torch.Tensor) -> torch.Tensor:
        return torch.cat([clip, added] if behind else [added, clip], dim=2)

    def begun_again(clip: torch.Tensor, behind_it: float) -> torch.Tensor:
        first = clip[:, :, :1].expand(-1, -1, lacking, -1, -1)
        return longer(clip, torch.full_like(first, behind_it) if behind else first)

    def report(step: int, denoised: torch.Tensor, x: torch.Tensor, steps: int) -> None:
        run.callback(step, denoised[:, :, kept], x[:, :, kept], steps)

    made = run.go_on(
        noise=longer(run.noise, noise_in_front(run.noise, lacking, run.seed)),
        latent=begun_again(run.latent, 0.0),
        mask=begun_again(mask, 1.0) if mask is not None and mask.ndim == 5 else mask,
        callback=run.callback and report,
    )
    return made[:, :, kept]


def noise_in_front(noise: torch.Tensor, frames: int, seed: int | None) -> torch.Tensor:
    """Noise [B, C, frames, H, W] to go before or behind that of a clip; none where the clip gets none."""
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
