"""Build the VAE from a family's autoencoder, and encode and decode clips with it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import comfy.model_management as memory
import comfy.sd
import comfy.utils
import torch
from comfy.nested_tensor import NestedTensor

from ..contract.grid import Grid, SoundGrid
from .first_stage import FirstStage
from .job import check_finite
from .patcher import patcher_class
from .weights import bring_along


def make_vae(autoencoder: torch.nn.Module, sound: torch.nn.Module | None = None) -> comfy.sd.VAE:
    """The VAE for a family's autoencoder (see Family.autoencoder). Every core VAE node can use it.

    sound: the coder of the clip's sound (see Family.sound). It computes in float32, because its spectrograms and waves
    need that; it is small.
    """
    grid = autoencoder.grid
    with _without_warning("No VAE weights detected"):
        vae = comfy.sd.VAE(sd={})  # sets every attribute that the running version has; those below replace some
    vae.first_stage_model = FirstStage(autoencoder).eval().requires_grad_(False)
    vae.latent_channels, vae.latent_dim, vae.output_channels = grid.channels, 3, 3
    vae.upscale_ratio = (lambda t: max(0, grid.frames(t)), grid.spatial, grid.spatial)
    vae.upscale_index_formula = (grid.temporal, grid.spatial, grid.spatial)
    vae.downscale_ratio = (lambda f: max(0, (f + grid.temporal - 1) // grid.temporal), grid.spatial, grid.spatial)
    vae.downscale_index_formula = (grid.temporal, grid.spatial, grid.spatial)
    # In place, and the result is returned: newer ComfyUI discards the returned value in one of its paths.
    vae.process_output = lambda pixels: pixels.add_(1.0).div_(2.0).clamp_(0.0, 1.0)
    # Indexed from the end, so that a picture's latent of four dimensions reaches the decoder, which reports it.
    vae.memory_used_decode = lambda shape, dtype: (
        autoencoder.decode_values * shape[-2] * shape[-1] * grid.spatial**2 * memory.dtype_size(dtype)
    )
    vae.memory_used_encode = lambda shape, dtype: (
        autoencoder.encode_values(shape[-3]) * shape[-2] * shape[-1] * memory.dtype_size(dtype)
    )
    vae.working_dtypes = [torch.bfloat16, torch.float32]
    vae.device, offload = memory.vae_device(), memory.vae_offload_device()
    vae.vae_dtype = memory.vae_dtype(vae.device, vae.working_dtypes)
    vae.first_stage_model.to(vae.vae_dtype)
    vae.first_stage_model.add_sound(sound)
    vae.output_device = memory.intermediate_device()
    vae.patcher = patcher_class()(vae.first_stage_model, load_device=vae.device, offload_device=offload)
    vae.size = memory.module_size(vae.first_stage_model)
    return vae


def vae_grid(vae: comfy.sd.VAE) -> Grid:
    """The grid of a VAE that Load Video Model loaded. Raises ValueError for another loader's."""
    if not isinstance(vae.first_stage_model, FirstStage):
        raise ValueError(
            "This VAE was not loaded by Load Video Model. Use the VAE output of the same Load Video Model node."
        )
    return vae.first_stage_model.autoencoder.grid


def reads_keyframes(vae: comfy.sd.VAE) -> bool:
    """Whether networks of this VAE's latents were trained on keyframes, clips that they read beside the shot."""
    return getattr(vae.first_stage_model.autoencoder, "keyframes", False)


def sound_grid(vae: comfy.sd.VAE) -> SoundGrid | None:
    """The grid of the sound latents of a VAE; None for one without sound."""
    sound = getattr(vae.first_stage_model, "sound", None)
    return None if sound is None else sound.grid


def decode_sound(vae: comfy.sd.VAE, latents: torch.Tensor) -> tuple[torch.Tensor, int]:
    """Sound latents [B, C, L, bins] -> waves [B, 2, samples] in main memory, and their samples per second.

    Raises ValueError for a VAE without sound, and for latents of another model.
    """
    sound = _sound_of(vae, latents.shape[1], latents.shape[3])
    _bring_sound(vae)
    waves = sound.decode(latents.to(vae.device, torch.float32)).float().cpu()
    check_finite(
        waves,
        "The VAE decoded sound that is not numbers (NaN). Its weights are damaged: download them again.",
    )
    return waves, sound.rate


def encode_sound(vae: comfy.sd.VAE, waves: torch.Tensor, rate: int, length: int) -> torch.Tensor:
    """Waves [B, channels, samples] in -1..1 -> `length` sound latents [B, C, L, bins] in main memory.

    Longer waves are cut, shorter ones are followed by silence.
    """
    sound = _sound_of(vae)
    _bring_sound(vae)
    return sound.encode(waves.to(vae.device, torch.float32), rate, length).to(vae.output_device).float()


def two_streams(video: torch.Tensor, sound: torch.Tensor) -> NestedTensor:
    """Picture and sound as the samples of a LATENT, as ComfyUI core has them."""
    return NestedTensor([video, sound])


def _bring_sound(vae: comfy.sd.VAE) -> None:
    """Load the VAE onto its device, with what ComfyUI does not move."""
    memory.load_models_gpu([vae.patcher])
    bring_along(vae.first_stage_model.uncast, vae.device)


def _sound_of(vae: comfy.sd.VAE, *shape: int) -> torch.nn.Module:
    """The coder of a VAE's sound. shape: channels and bins of latents that it is to decode."""
    sound = getattr(vae.first_stage_model, "sound", None)
    if sound is None:
        raise ValueError(
            "This latent has sound, but this VAE has no decoder for it. Use the VAE output of the Load Video Model "
            "that loaded the model."
        )
    if shape and shape != (sound.grid.channels, sound.grid.bins):
        raise ValueError(
            f"The sound of this latent has {shape[0]} channels and {shape[1]} bins, this VAE decodes "
            f"{sound.grid.channels} and {sound.grid.bins}. It comes from another model."
        )
    return sound


def resized(images: torch.Tensor, width: int, height: int) -> torch.Tensor:
    """Images [N, H, W, C] scaled to cover width x height and cropped in the middle, as [N, height, width, 3]."""
    pixels = images[..., :3].movedim(-1, 1)
    return comfy.utils.common_upscale(pixels, width, height, "lanczos", "center").movedim(1, -1)


def decode(vae: comfy.sd.VAE, samples: torch.Tensor) -> torch.Tensor:
    """Latents [B, C, T, h, w] -> frames [B * F, H, W, 3] in 0..1, the clips of a batch in sequence."""
    return torch.cat(list(decode_stream(vae, samples)))


def decode_stream(vae: comfy.sd.VAE, samples: torch.Tensor) -> Iterator[torch.Tensor]:
    """Latents [B, C, T, h, w] -> frames [f, H, W, 3] in 0..1 in main memory, some at a time, clip after clip.

    Memory use does not grow with the clips' length, except that another loader's VAE decodes each clip at once.
    """
    if not isinstance(vae.first_stage_model, FirstStage):
        for clip in samples.split(1):
            images = vae.decode(clip)
            yield _checked(images.reshape(-1, *images.shape[-3:]))
        return
    first_stage = vae.first_stage_model
    first_stage.check(samples)
    frames = first_stage.autoencoder.grid.frames(samples.shape[2])
    progress = comfy.utils.ProgressBar(len(samples) * frames)
    memory.load_models_gpu([vae.patcher], memory_required=vae.memory_used_decode(samples.shape, vae.vae_dtype))
    for number, clip in enumerate(samples.split(1)):

        def tell(share: float, before: int = number * frames) -> None:
            progress.update_absolute(before + round(share * frames))

        for pixels in first_stage.decoded(clip.to(vae.device, vae.vae_dtype), tell):
            yield _checked(vae.process_output(pixels.float())[0].movedim(0, -1))


def encode_stream(
    vae: comfy.sd.VAE, frames: Callable[[], Iterable[torch.Tensor]], size: tuple[int, int], count: int
) -> torch.Tensor:
    """`count` frames of `size` (height, width) -> latents [1, C, T, h, w].

    frames() starts at the first frame on each call and yields [f, H, W, 3] in 0..1, any number at a time. `count` and
    the sides must be legal for the VAE's grid. Memory use does not grow with the length, unless the family's encoder
    needs the whole clip, or the VAE is another loader's.
    """
    if not isinstance(vae.first_stage_model, FirstStage):
        return vae.encode(torch.cat(list(frames()))[:count])
    needed = vae.memory_used_encode((count, *size), vae.vae_dtype)
    memory.load_models_gpu([vae.patcher], memory_required=needed)
    progress = comfy.utils.ProgressBar(count)

    def pixels() -> Iterator[torch.Tensor]:
        for chunk in frames():
            memory.throw_exception_if_processing_interrupted()
            yield vae.process_input(chunk[..., :3].movedim(-1, 0)[None]).to(vae.device, vae.vae_dtype)

    def tell(share: float) -> None:
        progress.update_absolute(round(share * count))

    latents = vae.first_stage_model.encoded(pixels, count, size, vae.device, vae.vae_dtype, tell)
    return latents.to(vae.output_device).float()


def _checked(images: torch.Tensor) -> torch.Tensor:
    check_finite(
        images,
        "The VAE decoded frames that are not numbers (NaN). Its weights are damaged (download them again), or its "
        "16-bit format overflowed: start ComfyUI with --fp32-vae.",
    )
    return images


def frames_of(vae: comfy.sd.VAE, samples: torch.Tensor) -> torch.Tensor:
    """Latents [B, C, T, h, w] -> frames [B, F, H, W, 3] in 0..1."""
    return decode(vae, samples).unflatten(0, (len(samples), -1))


def encode(vae: comfy.sd.VAE, frames: torch.Tensor) -> torch.Tensor:
    """Frames [B, F, H, W, 3] in 0..1, F and the sides legal for the VAE's grid -> latents [B, C, T, h, w]."""
    return torch.cat([encode_stream(vae, lambda clip=clip: [clip], clip.shape[1:3], len(clip)) for clip in frames])


@contextmanager
def _without_warning(text: str):
    def keep(record: logging.LogRecord) -> bool:
        return text not in record.getMessage()

    logger = logging.getLogger()
    logger.addFilter(keep)
    try:
        yield
    finally:
        logger.removeFilter(keep)
