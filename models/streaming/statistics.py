"""Normalise latents channel by channel, with the statistics that an autoencoder has as its buffers."""

from __future__ import annotations

from typing import Any

import torch


class PerChannelStatistics:
    """Mean and standard deviation of the latents' channels, under the names of LTX's own code, which packs read."""

    def __init__(self, vae: Any) -> None:
        self._vae = vae

    def normalize(self, latents: torch.Tensor) -> torch.Tensor:
        """Raw latents [B, C, T, h, w] -> as the network reads them."""
        mean, std = self._like(latents)
        return (latents - mean) / std

    def un_normalize(self, latents: torch.Tensor) -> torch.Tensor:
        """The inverse of `normalize`."""
        mean, std = self._like(latents)
        return latents * std + mean

    def get_buffer(self, name: str) -> torch.Tensor:
        """[C]; name: "mean-of-means" or "std-of-means"."""
        return {"mean-of-means": self._vae.latents_mean, "std-of-means": self._vae.latents_std}[name]

    def _like(self, latents: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        shape = (1, -1, 1, 1, 1)
        return self._vae.latents_mean.to(latents).view(shape), self._vae.latents_std.to(latents).view(shape)
