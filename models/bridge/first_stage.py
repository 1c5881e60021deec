"""An autoencoder with the two methods that ComfyUI's VAE calls. It works in pieces, and in tiles if memory is short."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import comfy.model_management as memory
import folder_paths
import torch

from ..streaming import passes
from ..timeline.latent import NOT_FOOTAGE, video_of
from .weights import bring_along, uncast

SMALLEST_TILE = 256  # pixels; smaller tiles contain too little of the picture to be coded well


class FirstStage(torch.nn.Module):
    """An autoencoder as the first stage of ComfyUI's VAE. It checks shapes, so that errors name the node's input."""

    def __init__(self, autoencoder: torch.nn.Module) -> None:
        super().__init__()
        self.autoencoder, self.uncast, self.sound = autoencoder, uncast(autoencoder), None

    def add_sound(self, sound: torch.nn.Module | None) -> None:
        """Give it the coder of the clip's sound (see Family.sound)."""
        if sound is not None:
            self.sound = sound.eval().requires_grad_(False)
            self.uncast = [*self.uncast, *uncast(sound)]

    @property
    def per_channel_statistics(self) -> Any:
        """For packs that upscale LTX's latents; other families' autoencoders have none."""
        return self.autoencoder.per_channel_statistics

    @property
    def decode_timestep(self) -> float:
        return self.autoencoder.decode_timestep

    @decode_timestep.setter
    def decode_timestep(self, timestep: float) -> None:
        self._set_decode_noise("decode_timestep", timestep)

    @property
    def decode_noise_scale(self) -> float:
        return self.autoencoder.decode_noise_scale

    @decode_noise_scale.setter
    def decode_noise_scale(self, scale: float) -> None:
        self._set_decode_noise("decode_noise_scale", scale)

    def _set_decode_noise(self, name: str, value: float) -> None:
        """Set a value for other packs' nodes (Set VAE Decoder Noise). The noise's seed does not change."""
        if getattr(self.autoencoder, "takes_decode_noise", False):
            setattr(self.autoencoder, name, value)
        else:
            logging.warning("Atelier: this VAE decodes without noise: %s = %s changes nothing.", name, value)

    def encode(self, pixels: torch.Tensor) -> torch.Tensor:
        """Pixels [B, 3, F, H, W] in -1..1 -> latents [B, C, T, h, w]. Frames past the last legal count are dropped."""
        grid, frames = self.autoencoder.grid, pixels.shape[2]
        legal = (frames - 1) // grid.temporal * grid.temporal + 1
        if legal != frames:
            logging.warning(
                "Atelier: this VAE encodes 1, %d, %d, ... frames; of %d frames, the first %d are encoded.",
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
        """`count` frames of `size` (height, width) -> latents [B, C, T, h, w].

        pixels() returns the frames from the first one on, as [B, 3, f, H, W] in -1..1. If memory runs out, encoding
        restarts in smaller tiles. tell(share): called with the share of the work done so far (0..1).
        """
        bring_along(self.uncast, device)
        tile = self.tile(self.autoencoder.encode_values(count), size, device, dtype)
        while True:
            try:
                return passes.encode(self.autoencoder, pixels(), count, size, tile, **self._watched(tell))
            except Exception as error:
                tile = self.smaller(tile, size, error)

    def decode(self, latents: torch.Tensor, **_: Any) -> torch.Tensor:
        """Latents [B, C, T, h, w], or both streams -> pixels [B, 3, F, H, W] in -1..1, in main memory."""
        latents = video_of(latents)
        self.check(latents)
        return torch.cat(list(self.decoded(latents)), dim=2)

    def check(self, latents: torch.Tensor) -> None:
        """Raises ValueError for latents that do not have this autoencoder's shape."""
        channels = self.autoencoder.grid.channels
        if latents.ndim != 5:
            raise ValueError(NOT_FOOTAGE.format(list(latents.shape)))
        if latents.shape[1] != channels:
            raise ValueError(
                f"This latent has shape {list(latents.shape)}, but this VAE decodes video latents with {channels} "
                "channels [batch, channels, frames, height, width]. It comes from another model: decode it with that "
                "model's VAE."
            )

    def decoded(
        self, latents: torch.Tensor, tell: Callable[[float], None] = lambda share: None
    ) -> Iterator[torch.Tensor]:
        """Latents [B, C, T, h, w] -> pixels [B, 3, f, H, W] in -1..1, some frames at a time, in main memory.

        If memory runs out, decoding restarts in smaller tiles, and frames that were already returned are skipped.
        tell(share): called with the share of the work done so far (0..1).
        """
        bring_along(self.uncast, latents.device)
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
        """Arguments of a pass: it can be cancelled, reports progress, and uses ComfyUI's folder for temporary files."""
        done, folder = 0.0, folder_paths.get_temp_directory()
        os.makedirs(folder, exist_ok=True)

        def tick(share: float) -> None:
            nonlocal done
            memory.throw_exception_if_processing_interrupted()
            done += share
            tell(done)

        return {"tick": tick, "folder": folder}

    def tile(self, values: float, size: tuple[int, int], device: torch.device, dtype: torch.dtype) -> int | None:
        """Side of the tiles that fit into free memory; None if the whole picture (height, width) fits."""
        free = memory.get_free_memory(device) / (values * memory.dtype_size(dtype))
        if size[0] * size[1] <= free:
            return None
        side = self._whole_quarters(math.sqrt(free))
        return side if side < max(size) else None

    def smaller(self, tile: int | None, size: tuple[int, int], error: Exception) -> int:
        """The next smaller tile after running out of memory. Raises any other error, or if no smaller tile is left."""
        side = self._whole_quarters((tile or max(size)) / 2)
        if not _out_of_memory(error) or side >= (tile or max(size)):
            raise error
        memory.soft_empty_cache()
        logging.warning("Atelier: out of memory in the VAE; continuing in tiles of %d x %d pixels.", side, side)
        return side

    def _whole_quarters(self, side: float) -> int:
        """Round down so that a quarter is whole latent pixels, as overlapping tiles need; at least SMALLEST_TILE."""
        step = 4 * self.autoencoder.grid.spatial
        return max(math.ceil(SMALLEST_TILE / step), int(side // step)) * step


def _out_of_memory(error: Exception) -> bool:
    """Whether the error means out of memory. On a CPU, PyTorch raises a plain RuntimeError."""
    return isinstance(error, (memory.OOM_EXCEPTION, MemoryError)) or "allocate memory" in str(error)
