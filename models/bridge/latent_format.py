"""The ComfyUI latent format of a variant: the grid of its latents and their colours for previews."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Sequence

import comfy.latent_formats
import torch

from ..contract.colours import Colours, false_colours, fitted_colours
from ..contract.family import Family, Variant
from ..timeline.latent import video_of


def _known_colours(family: Family, variant: Variant) -> Colours | None:
    """Published preview colours: those fitted to this checkpoint, else ComfyUI's for the family, else None."""
    core = getattr(comfy.latent_formats, family.preview, comfy.latent_formats.LatentFormat)()
    if variant.colours is not None:
        return variant.colours
    if core.latent_rgb_factors is None or core.latent_channels != variant.grid.channels:
        return None
    return Colours(core.latent_rgb_factors, core.latent_rgb_factors_bias or (0.0, 0.0, 0.0))


def latent_format_of(family: Family, variant: Variant) -> type[comfy.latent_formats.LatentFormat]:
    """The latent format of a variant. It does not scale latents. Previews show the frame with index `preview_frame`."""
    grid = variant.grid

    class VideoLatent(comfy.latent_formats.LatentFormat):
        latent_channels = grid.channels
        latent_dimensions = 3
        temporal_downscale_ratio = grid.temporal
        spacial_downscale_ratio = grid.spatial
        preview_frame = 0

        def __init__(self) -> None:
            self.known = _known_colours(family, variant)
            self.encode: Callable[[torch.Tensor], torch.Tensor] | None = None

        @property
        def colours(self) -> Colours:
            """The colours for previews. If no colours are published, they are fitted with `encode` on first use."""
            if self.known is None:
                self.known, self.encode = self._fitted(), None
            return self.known

        def _fitted(self) -> Colours:
            try:
                return fitted_colours(self.encode, grid) if self.encode else false_colours(grid.channels)
            except (RuntimeError, ValueError) as error:  # out of memory or no encoder: sampling continues
                logging.warning("Atelier: previews of %s use false colours: %s", variant.name, error)
                return false_colours(grid.channels)

        @property
        def latent_rgb_factors(self) -> Sequence[Sequence[float]]:
            return self.colours.factors

        @property
        def latent_rgb_factors_bias(self) -> Sequence[float]:
            return self.colours.bias

        def latent_rgb_factors_reshape(self, x: torch.Tensor) -> torch.Tensor:
            """A clip [B, C, T, h, w] that begins with the frame `preview_frame`: ComfyUI's preview shows the first.

            The other frames follow, because other packs' previews play them. Of a clip with sound, it is the picture.
            """
            x = video_of(x)
            first = min(self.preview_frame, x.shape[2] - 1) if x.ndim == 5 else 0
            return x.roll(-first, dims=2) if first else x

    # Other packs choose a preview's playback speed by the class's name, so it gets ComfyUI's name for these latents.
    VideoLatent.__name__ = VideoLatent.__qualname__ = family.preview or re.sub(r"\W", "", family.name)
    return VideoLatent
