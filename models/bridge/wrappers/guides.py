"""Pass guides to a network, ComfyUI's (LTXVAddGuide) and this pack's: they become tokens behind the clip's.

The outer wrapper takes them off the clip, so previews and prompt windows get its own frames only. The inner wrapper
appends them for the network.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from ...contract.guides import Appended, joined
from ...timeline.latent import mask_of
from ..video_model import APPENDED, GUIDES, IN_CONTEXT, NOT_CONTROLLED, REFERENCE
from .calls import SamplerRun, around_run
from .known_frames import extra_noise

PLACES, ENTRIES = "keyframe_idxs", "guide_attention_entries"
"""ComfyUI's conditioning keys: the positions of guides at the end of a LATENT, and how strongly each is attended to."""
SAME_LEVEL = 1e-6
"""Levels of noise that differ by less are the same."""
GUIDE_SEED = 3
"""Combined with the seed, so that the guides' noise differs from the clip's."""


@around_run
def with_guides_apart(run: SamplerRun) -> torch.Tensor:
    """Sample a clip without the guides that ComfyUI's nodes put at its end, and append them to the result unchanged."""
    entries = [entry for conds in run.guider.conds.values() for entry in conds]
    cores = next((entry for entry in entries if entry.get(PLACES) is not None), None)
    guides = next((entry[GUIDES] for entry in entries if entry.get(GUIDES)), ())
    if cores is None and not guides:
        return run.proceed()
    _check_references(run, entries)
    variant = run.model.variant
    if run.noise.ndim != 5 or not variant.known_frames.guided:
        raise ValueError(
            f"{variant.name} does not read guides, which LTX Video and LTX-2 do. Remove LTXVAddGuide, or place its "
            "picture in the clip with Place Frames."
        )
    taken = [] if cores is None else [_taken_off(run, cores)]
    clip = run.noise.shape[2] - sum(part.frames for part in taken)
    latent = run.latent[:, :, :clip]
    own = [variant.known_frames.append(guides, variant.grid, latent)] if guides else []
    _put(run, joined([*taken, *own]))

    def behind(clip: torch.Tensor) -> torch.Tensor:
        if not taken:  # the same tensor, by which the clip's openings are found
            return clip
        return torch.cat([clip, *(part.latents.to(clip) for part in taken)], dim=2)

    def report(step: int, denoised: torch.Tensor, x: torch.Tensor, steps: int) -> None:
        run.callback(step, behind(denoised), behind(x), steps)

    mask = run.mask
    if mask is not None and taken:
        mask = mask_of({"samples": run.latent, "noise_mask": mask})[:, :, :clip]
    return behind(run.proceed(noise=run.noise[:, :, :clip], latent=latent, mask=mask, callback=run.callback and report))


def _check_references(run: SamplerRun, entries: Sequence[dict[str, Any]]) -> None:
    """Raise ValueError for a control clip that the MODEL does not follow, or that was encoded for another IC-LoRA."""
    variant, wanted = run.model.variant, run.guider.model_patcher.get_attachment(IN_CONTEXT)
    scales = {entry[REFERENCE] for entry in entries if REFERENCE in entry}
    if scales and not variant.known_frames.keyframes:
        raise ValueError(NOT_CONTROLLED.format(variant.name))
    if wanted is not None and scales - {wanted}:
        raise ValueError(
            f"The IC-LoRA of this MODEL follows a control clip {wanted} times smaller than the shot, and this one is "
            f"{max(scales)} times smaller. Connect the same MODEL to 'model' of Control Video."
        )


def _put(run: SamplerRun, appended: Appended) -> None:
    changes = {APPENDED: appended, PLACES: None, ENTRIES: None}
    run.guider.conds = {name: [{**entry, **changes} for entry in conds] for name, conds in run.guider.conds.items()}


def _taken_off(run: SamplerRun, entry: dict[str, Any]) -> Appended:
    """ComfyUI's guides, which are the last frames of the clip. entry: conditioning that describes them."""
    places, (_, _, frames, height, width) = entry[PLACES], run.noise.shape
    if places.ndim == 3:  # older ComfyUI gives no ends, and its networks read none
        places = torch.stack([places, places], dim=-1)
    count, left = divmod(places.shape[2], height * width)
    if left or count >= frames:
        raise ValueError(
            f"The guides in the conditioning have {places.shape[2]} tokens: {places.shape[2] / (height * width):.2f} "
            f"latent frames of this latent ({frames} x {height} x {width}). Connect the latent of the same "
            "LTXVAddGuide to the sampler. Before a latent is upscaled or cut, remove its guides with LTXVCropGuides."
        )
    clip = frames - count
    mask = torch.ones(1) if run.mask is None else mask_of({"samples": run.latent, "noise_mask": run.mask})[:, :, clip:]
    guides = run.latent[:, :, clip:]
    return Appended(
        latents=guides,
        mask=mask.expand(len(guides), 1, *guides.shape[2:]),
        places=places[..., 0].float(),
        ends=places[..., 1].float(),
        weights=_weights(entry.get(ENTRIES) or ()),
        noise=run.noise[:, :, clip:],
    )


def _weights(entries: Sequence[dict[str, Any]]) -> torch.Tensor | None:
    """How strongly each token of newer ComfyUI's guides is attended to, [1, tokens]; None: 1 everywhere."""
    if all(entry["strength"] == 1 and entry.get("pixel_mask") is None for entry in entries):
        return None
    return torch.cat([_weights_of_guide(entry) for entry in entries], dim=1)


def _weights_of_guide(entry: dict[str, Any]) -> torch.Tensor:
    count, mask = entry["pre_filter_count"], entry.get("pixel_mask")
    if mask is None:
        return torch.full((1, count), float(entry["strength"]))
    time, height, width = entry["latent_shape"]
    weights = _in_latent_frames(mask[:1, 0].float().cpu(), time, height, width) * entry["strength"]
    scale = round((count / weights.numel()) ** 0.5)  # of an IC-LoRA's guide only every scale-th token is read
    for dim in (1, 2):
        weights = weights.repeat_interleave(scale, dim)
    return weights.reshape(1, -1)


def _in_latent_frames(mask: torch.Tensor, time: int, height: int, width: int) -> torch.Tensor:
    """A mask of pixels [1, F, H, W] -> of latent pixels [time, height, width]. The first frame is one by itself."""
    small = torch.nn.functional.interpolate(mask[0][:, None], size=(height, width), mode="area")[:, 0]
    first, rest = small[:1], small[1:]
    if time == 1:
        return first
    if not len(rest):
        return first.expand(time, -1, -1)
    group = len(rest) // (time - 1)
    if group:
        rest = rest[: group * (time - 1)].unflatten(0, (time - 1, group)).mean(dim=1)
    else:
        rest = rest[torch.arange(time - 1) * len(rest) // (time - 1)]
    return torch.cat([first, rest])


@around_run
def with_guides_appended(run: SamplerRun) -> torch.Tensor:
    """Sample a clip with its guides appended for the network, and remove them from the result."""
    conds = run.guider.conds.values()
    appended = next((entry[APPENDED] for entries in conds for entry in entries if entry.get(APPENDED)), None)
    if appended is None:
        return run.proceed()
    clip, noise = run.noise.shape[2], appended.noise
    _reach_behind(run, clip, appended.frames)
    if noise is None:
        noise = extra_noise(run.noise, appended.frames, (run.seed or 0) ^ GUIDE_SEED)
    mask = mask_of({"samples": run.latent, **({} if run.mask is None else {"noise_mask": run.mask})})
    latents, noise = _held(run, appended, noise)

    def behind(whole: torch.Tensor, added: torch.Tensor) -> torch.Tensor:
        return torch.cat([whole, added.to(whole)], dim=2)

    def report(step: int, denoised: torch.Tensor, x: torch.Tensor, steps: int) -> None:
        run.callback(step, denoised[:, :, :clip], x[:, :, :clip], steps)

    sampled = run.proceed(
        noise=behind(run.noise, noise),
        latent=behind(run.latent, latents),
        mask=behind(mask, appended.mask),
        callback=run.callback and report,
    )
    return sampled[:, :, :clip]


def _reach_behind(run: SamplerRun, clip: int, frames: int) -> None:
    """Extend masks over time [1, clip, 1, 1], so that prompts for a part of the clip apply in all guides."""

    def longer(entry: dict[str, Any]) -> dict[str, Any]:
        mask = entry.get("mask")
        if mask is None or mask.ndim != 4 or mask.shape[1] != clip:
            return entry
        return {**entry, "mask": torch.nn.functional.pad(mask, (0, 0, 0, 0, 0, frames), value=1.0)}

    run.guider.conds = {name: list(map(longer, entries)) for name, entries in run.guider.conds.items()}


def _held(run: SamplerRun, appended: Appended, noise: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The latents and noise of guides, of which held ones stay as they are until the steps reach their level.

    ComfyUI asks for the mask at every step: it is 0 for a held guide, and 1 from its level on. Held latents are noised
    to their level; as their noise is the same, no first level changes them.
    """
    levels = appended.levels
    if levels is None:
        return appended.latents, noise
    before = run.guider.model_options.get("denoise_mask_function")

    def mask_at(sigma: torch.Tensor, mask: torch.Tensor, extra_options: dict[str, Any]) -> torch.Tensor:
        mask = mask if before is None else before(sigma, mask, extra_options)
        clip, guides = mask.tensor_split([mask.shape[2] - appended.frames], dim=2)
        level = levels.to(guides)
        free = (sigma.view(-1, 1, 1, 1, 1) < level + SAME_LEVEL).to(guides)
        return torch.cat([clip, torch.where(level.isinf(), guides, free.expand_as(guides))], dim=2)

    run.guider.model_options = {**run.guider.model_options, "denoise_mask_function": mask_at}
    held, share = levels.isfinite(), levels.clamp(max=1)
    kept = torch.lerp(appended.latents.to(noise), noise, share.to(noise))
    return torch.where(held, kept, appended.latents.to(noise)), torch.where(held, kept, noise)
