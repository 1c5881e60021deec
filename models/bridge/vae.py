"""The VAE over a family's autoencoder: piece by piece, in tiles where memory is short."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import comfy.model_management as memory
import comfy.sd
import comfy.utils
import folder_paths
import torch

from ..contract.grid import Grid
from ..streaming import passes
from .job import check_finite
from .patcher import patcher_class

SMALLEST_TILE = 256  # pixels; smaller ones show too little of the picture to be coded well


def make_vae(autoencoder: torch.nn.Module) -> comfy.sd.VAE:
    """The VAE over a family's autoencoder (see Family.autoencoder), usable by every core VAE node."""
    grid = autoencoder.grid
    with _without_warning("No VAE weights detected"):
        vae = comfy.sd.VAE(sd={})  # gets every attribute the running version has; ours are set on top
    vae.first_stage_model = FirstStage(autoencoder).eval().requires_grad_(False)
    vae.latent_channels, vae.latent_dim, vae.output_channels = grid.channels, 3, 3
    vae.upscale_ratio = (lambda t: max(0, grid.frames(t)), grid.spatial, grid.spatial)
    vae.upscale_index_formula = (grid.temporal, grid.spatial, grid.spatial)
    vae.downscale_ratio = (lambda f: max(0, (f + grid.temporal - 1) // grid.temporal), grid.spatial, grid.spatial)
    vae.downscale_index_formula = (grid.temporal, grid.spatial, grid.spatial)
    vae.process_output = lambda pixels: pixels.add_(1.0).div_(2.0).clamp_(0.0, 1.0)  # in place and returned: see DESIGN
    # Counted from the end: a picture's latent of four dimensions is still to reach the decoder, which names the fault.
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
    vae.output_device = memory.intermediate_device()
    vae.patcher = patcher_class()(vae.first_stage_model, load_device=vae.device, offload_device=offload)
    vae.size = memory.module_size(vae.first_stage_model)
    return vae


def vae_grid(vae: comfy.sd.VAE) -> Grid:
    """The grid of a VAE made here. Raises ValueError for another loader's."""
    if not isinstance(vae.first_stage_model, FirstStage):
        raise ValueError(
            "This VAE was not loaded by Load Video Model. Use the VAE output of the same Load Video Model node."
        )
    return vae.first_stage_model.autoencoder.grid


def resized(images: torch.Tensor, width: int, height: int) -> torch.Tensor:
    """Images [N, H, W, C] scaled to cover width x height and cropped in the middle, as [N, height, width, 3]."""
    pixels = images[..., :3].movedim(-1, 1)
    return comfy.utils.common_upscale(pixels, width, height, "lanczos", "center").movedim(1, -1)


def decode(vae: comfy.sd.VAE, samples: torch.Tensor) -> torch.Tensor:
    """Latents [B, C, T, h, w] -> frames [B * F, H, W, 3] in 0..1, the clips of a batch one after the other."""
    return torch.cat(list(decode_stream(vae, samples)))


def decode_stream(vae: comfy.sd.VAE, samples: torch.Tensor) -> Iterator[torch.Tensor]:
    """Latents [B, C, T, h, w] -> frames [f, H, W, 3] in 0..1 in main memory, some at a time, clip after clip.

    Memory does not depend on the clips' length. Another loader's VAE decodes each clip in one go.
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
    """`count` frames of this (height, width) -> latents [1, C, T, h, w].

    frames() begins with the first one each time it is called, and gives [f, H, W, 3] in 0..1, any number at a time.
    `count` and the sides must be legal for the VAE's grid. Memory does not depend on the length, unless the family's
    encoder must see a clip whole, or the VAE is another loader's.
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

    made = vae.first_stage_model.encoded(pixels, count, size, vae.device, vae.vae_dtype, tell)
    return made.to(vae.output_device).float()


def _checked(images: torch.Tensor) -> torch.Tensor:
    check_finite(
        images,
        "The VAE decoded frames that are not numbers (NaN). Its weights are damaged (download them again), or its "
        "16-bit format overflowed: start ComfyUI with --fp32-vae.",
    )
    return images


def frames_of(vae: comfy.sd.VAE, samples: torch.Tensor) -> torch.Tensor:
    """Latents [B, C, T, h, w] -> frames [B, F, H, W, 3] in 0..1, each clip for itself."""
    return decode(vae, samples).unflatten(0, (len(samples), -1))


def encode(vae: comfy.sd.VAE, frames: torch.Tensor) -> torch.Tensor:
    """Frames [B, F, H, W, 3] in 0..1, F and the sides legal for the VAE's grid -> latents [B, C, T, h, w]."""
    return torch.cat([encode_stream(vae, lambda clip=clip: [clip], clip.shape[1:3], len(clip)) for clip in frames])


class FirstStage(torch.nn.Module):
    """An autoencoder under the two calls ComfyUI makes; shapes are checked where a person still understands them."""

    def __init__(self, autoencoder: torch.nn.Module) -> None:
        super().__init__()
        self.autoencoder = autoencoder

    def encode(self, pixels: torch.Tensor) -> torch.Tensor:
        """Pixels [B, 3, F, H, W] in -1..1 -> latents [B, C, T, h, w]. A few frames too many are left out."""
        grid, frames = self.autoencoder.grid, pixels.shape[2]
        legal = (frames - 1) // grid.temporal * grid.temporal + 1
        if legal != frames:
            logging.warning(
                "Atelier: this VAE takes 1, %d, %d, ... frames; of %d the first %d are encoded.",
                1 + grid.temporal,
                1 + 2 * grid.temporal,
                frames,
                legal,
            )
        pixels = pixels[:, :, :legal]
        return self.encoded(lambda: [pixels], legal, tuple(pixels.shape[3:]), pixels.device, pixels.dtype)

    def encoded(
        self,
        pixels: Callable[[], Iterable[torch.Tensor]],
        count: int,
        size: tuple[int, int],
        device: torch.device,
        dtype: torch.dtype,
        tell: Callable[[float], None] = lambda share: None,
    ) -> torch.Tensor:
        """`count` frames of this (height, width) -> latents [B, C, T, h, w].

        pixels() gives them from the first one on, [B, 3, f, H, W] in -1..1. Where memory does not suffice, the clip is
        begun again in smaller tiles. tell(share): called when so much of the work (0..1) is done.
        """
        tile = self.tile(self.autoencoder.encode_values(count), size, device, dtype)
        while True:
            try:
                return passes.encode(self.autoencoder, pixels(), count, size, tile, **self._watched(tell))
            except Exception as error:
                tile = self.smaller(tile, size, error)

    def decode(self, latents: torch.Tensor, **_: Any) -> torch.Tensor:
        """Latents [B, C, T, h, w] -> pixels [B, 3, F, H, W] in -1..1, in main memory."""
        self.check(latents)
        return torch.cat(list(self.decoded(latents)), dim=2)

    def check(self, latents: torch.Tensor) -> None:
        """Raises ValueError for latents that this autoencoder did not make."""
        channels = self.autoencoder.grid.channels
        if latents.ndim != 5 or latents.shape[1] != channels:
            raise ValueError(
                f"This latent has shape {list(latents.shape)}, but this VAE decodes video latents with {channels} "
                "channels [batch, channels, frames, height, width]. It was made by another model: decode it with that "
                "model's VAE."
            )

    def decoded(
        self, latents: torch.Tensor, tell: Callable[[float], None] = lambda share: None
    ) -> Iterator[torch.Tensor]:
        """Latents [B, C, T, h, w] -> pixels [B, 3, f, H, W] in -1..1, some frames at a time, in main memory.

        Where memory does not suffice, the clip is begun again in smaller tiles; what is done already is not lost.
        tell(share): called when so much of the work (0..1) is done.
        """
        size = tuple(side * self.autoencoder.grid.spatial for side in latents.shape[3:])
        tile = self.tile(self.autoencoder.decode_values, size, latents.device, latents.dtype)
        done = 0
        while True:
            position = 0
            try:
                for pixels in passes.decode(self.autoencoder, latents, tile, **self._watched(tell)):
                    position += pixels.shape[2]
                    if position > done:
                        yield pixels[:, :, done - position :].cpu()
                        done = position
                return
            except Exception as error:
                tile = self.smaller(tile, size, error)

    def _watched(self, tell: Callable[[float], None]) -> dict[str, Any]:
        """A pass that can be cancelled and tells how far it is, with its temporary files where ComfyUI has its own."""
        done, folder = 0.0, folder_paths.get_temp_directory()
        os.makedirs(folder, exist_ok=True)

        def tick(share: float) -> None:
            nonlocal done
            memory.throw_exception_if_processing_interrupted()
            done += share
            tell(done)

        return {"tick": tick, "folder": folder}

    def tile(self, values: float, size: tuple[int, int], device: torch.device, dtype: torch.dtype) -> int | None:
        """Side of the tiles that fit into free memory; None when the whole picture (height, width) does."""
        free = memory.get_free_memory(device) / (values * memory.dtype_size(dtype))
        if size[0] * size[1] <= free:
            return None
        side = self._whole_quarters(math.sqrt(free))
        return side if side < max(size) else None

    def smaller(self, tile: int | None, size: tuple[int, int], error: Exception) -> int:
        """The next smaller tile after running out of memory. Raises the error when there is none, or it is another."""
        side = self._whole_quarters((tile or max(size)) / 2)
        if not _out_of_memory(error) or side >= (tile or max(size)):
            raise error
        memory.soft_empty_cache()
        logging.warning("Atelier: out of memory in the VAE; going on in tiles of %d x %d pixels.", side, side)
        return side

    def _whole_quarters(self, side: float) -> int:
        """A side whose quarters are whole latent pixels, as overlapping tiles need; not below the smallest."""
        step = 4 * self.autoencoder.grid.spatial
        return max(math.ceil(SMALLEST_TILE / step), int(side // step)) * step


def _out_of_memory(error: Exception) -> bool:
    """Whether that is what it says: of a device, or of the processor, whose errors have no class of their own."""
    return isinstance(error, (memory.OOM_EXCEPTION, MemoryError)) or "allocate memory" in str(error)


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
