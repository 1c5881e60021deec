"""Sample a LATENT: its keyframes, its frame rate, and warnings before sampling."""

from __future__ import annotations

from typing import Any

import comfy.model_management as memory
import comfy.model_patcher
import comfy.sample
import comfy.samplers
import comfy.utils
import latent_preview
import torch

from ..contract.family import EULER, Variant
from ..contract.grid import Shape
from ..timeline.keyframes import apart, over, with_keyframes
from ..timeline.latent import KEYFRAMES, frame_rate_of, mask_of, sound_of, sound_rate_of, streams_of, video_of
from ..timeline.spans import ONLY
from .job import check_finite
from .unmet import TOLD, unmet
from .vae import two_streams
from .video_model import CONTROL, GUIDES, IN_CONTEXT, READS_PADDING, REFERENCE, reads_padding, video_model
from .wrappers.guidance import scale_is_set, with_published_guidance
from .wrappers.keyframes import reaches_behind


def empty_latent(shape: Shape, frame_rate: float) -> dict:
    """A LATENT without known frames. It carries its frame rate to the sampler and the decoder."""
    return {"samples": torch.zeros(shape, device=memory.intermediate_device()), "frame_rate": frame_rate}


def with_guides(conditioning: list, added: dict[str, Any]) -> list:
    """CONDITIONING with further options for each text; guides are added to those that it has."""
    guides = added.get(GUIDES, ())
    return [
        [text, {**options, **added, **({GUIDES: (*options.get(GUIDES, ()), *guides)} if guides else {})}]
        for text, options in conditioning
    ]


def empty_shot(variant: Variant, size: tuple[int, int, int], frame_rate: float, batch: int = 1) -> dict:
    """A LATENT as `empty_latent` of a shot of a variant, with sound if it generates sound.

    size: width, height and frames.
    """
    latent = empty_latent(variant.grid.latent_shape(*size, batch=batch), frame_rate)
    if variant.sound is None:
        return latent
    sound = torch.zeros(variant.sound.latent_shape(size[2], frame_rate, batch), device=memory.intermediate_device())
    return {**latent, "samples": two_streams(latent["samples"], sound), "sound_rate": variant.sound.per_second}


def with_options(conditioning: list, added: dict[str, Any]) -> list:
    """CONDITIONING with further options for each text."""
    return [[text, {**options, **added}] for text, options in conditioning]


def with_frame_rate(conditioning: list, latent: dict) -> list:
    """CONDITIONING with the latent's frame rate, if the latent has one."""
    rate = {"frame_rate": float(latent["frame_rate"])} if "frame_rate" in latent else {}
    return with_options(conditioning, rate)


def carried(model: comfy.model_patcher.ModelPatcher, latent: dict, samples: Any) -> dict:
    """The LATENT of what `sampled` returned for `latent`, which carries its keyframes on if the network read them."""
    latent = with_keyframes(latent, latent.get(KEYFRAMES, ()))
    variant, keyframes = video_model(model).variant, latent.get(KEYFRAMES, ())
    if not keyframes or not variant.known_frames.keyframes or not reaches_behind(model.model_options):
        return {**latent, "samples": samples}
    shot, beside = apart(latent, variant.grid)
    read = any(each.strength for each in beside)
    kept = over(keyframes if read else (), video_of(samples), mask_of(shot))
    return with_keyframes({**shot, "samples": samples}, kept)


def warnings(model: comfy.model_patcher.ModelPatcher, latent: dict, positive: list, guidance: float = 0.0) -> list[str]:
    """Warnings to show before sampling.

    They name a guidance that has no effect, what this variant cannot follow of the mask, and what it was not trained
    for.
    """
    if guidance and scale_is_set(model):
        overridden = f"guidance {guidance:g} is not used: Video Guidance sets it"
        return [overridden, *warnings(model, latent, positive)]
    entries = [options for _, options in with_frame_rate(positive, latent)]
    found = unmet(video_model(model).variant, latent, entries)
    return [*found, *_untrained(model, latent, positive)]


def _untrained(model: comfy.model_patcher.ModelPatcher, latent: dict, positive: list) -> list[str]:
    """A warning about the first thing that the variant was not trained for."""
    variant = video_model(model).variant
    mask, known_frames = mask_of(latent), variant.known_frames
    if any(reads_padding(variant, options) for _, options in positive):
        return [READS_PADDING.format(variant.name)]
    if any(REFERENCE in options for _, options in positive) and model.get_attachment(IN_CONTEXT) is None:
        return ["a control clip without an IC-LoRA: the shot is only led by it. Load one with Load Video LoRA"]
    if known_frames.controlled and not any(CONTROL in options for _, options in positive):
        return [f"no control clip: {variant.name} was trained to follow one (Control Video)"]
    if known_frames.about and mask.lt(1).any() and known_frames.enforced(mask) is not None:
        return [f"{variant.name} was {known_frames.about}"]
    rate, ranges = frame_rate_of(latent), variant.frame_rates
    if ranges and not any(least <= rate <= most for least, most in ranges):
        trained = " and ".join(f"{least:g}" if least == most else f"{least:g} to {most:g}" for least, most in ranges)
        return [f"{variant.name} was trained at {trained} frames a second, not {rate:g}: picture and sound may drift"]
    return _of_another_length(variant, latent)


def _of_another_length(variant: Variant, latent: dict) -> list[str]:
    """A warning about a sound that is longer or shorter than its picture, as from nodes that join the two."""
    sound, rate = sound_of(latent["samples"]), sound_rate_of(latent)
    if variant.sound is None or sound is None:
        return []
    frames = variant.grid.frames(video_of(latent["samples"]).shape[2])
    seconds, length = frames / frame_rate_of(latent), sound.shape[2] / rate
    if abs(seconds - length) <= 2 / rate:
        return []
    return [f"its sound is {length:.2f} s long, its picture {seconds:.2f}: they were trained to be of one length"]


def sample(
    model: comfy.model_patcher.ModelPatcher,
    latent: dict,
    positive: list,
    negative: list,
    *,
    seed: int,
    sigmas: torch.Tensor,
    guidance: float = 0.0,
) -> dict:
    """Sample a LATENT over `sigmas` with the variant's sampler -> a new LATENT.

    ComfyUI's progress, preview and interrupt apply. guidance: the scale of classifier-free guidance; 0 stands for the
    guidance that the authors publish, per noise level if theirs varies. What the variant cannot follow of the mask is
    not said: `warnings` has it.
    """
    given = {"seed": seed, "sigmas": sigmas, "guidance": guidance}
    return carried(model, latent, sampled(model, latent, positive, negative, **given))


def sampled(
    model: comfy.model_patcher.ModelPatcher,
    latent: dict,
    positive: list,
    negative: list,
    *,
    seed: int,
    sigmas: torch.Tensor,
    guidance: float = 0.0,
    only: tuple[int, int] | None = None,
) -> Any:
    """The samples that `sample` makes. only: the latent frames (begin, end) of whole scenes; the others stay unfinished
    (`bridge.scenes`)."""
    variant, latent = video_model(model).variant, with_keyframes(latent, latent.get(KEYFRAMES, ()))
    positive = with_options(positive, {TOLD: True, **({} if only is None else {ONLY: only})})
    if not guidance:
        model, guidance = with_published_guidance(model), variant.recipe.guidance
    samples = comfy.sample.fix_empty_latent_channels(model, latent["samples"])
    noise = comfy.sample.prepare_noise(samples, seed, latent.get("batch_index"))
    result = comfy.sample.sample_custom(
        model,
        noise,
        guidance,
        comfy.samplers.sampler_object(variant.sampler),
        sigmas,
        positive,
        negative,
        samples,
        noise_mask=latent.get("noise_mask"),
        callback=latent_preview.prepare_callback(model, sigmas.shape[-1] - 1),
        disable_pbar=not comfy.utils.PROGRESS_BAR_ENABLED,
        # A sampler that adds noise draws it from this seed. On a CPU, the same seed would repeat the initial noise.
        seed=seed if variant.sampler == EULER else seed + 1,
    )
    check_finite(
        torch.cat([stream.flatten() for stream in streams_of(result)]),
        "Sampling gave values that are not numbers (NaN). Either the model's file is damaged (download it again), or "
        "its dtype overflows here: choose weight_dtype 'bfloat16' or 'float32' in Load Video Model.",
    )
    return result
