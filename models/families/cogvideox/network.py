"""CogVideoX's network: diffusers' class, adapted to ComfyUI's calling convention."""

from __future__ import annotations

import inspect
from functools import partial
from typing import Any

import torch
from diffusers import CogVideoXTransformer3DModel
from diffusers.models.embeddings import CogVideoXPatchEmbed, get_3d_rotary_pos_embed
from torch.nn.functional import interpolate

from ...bridge.network_base import ComfyNetwork
from ...bridge.weights import without_weights
from ...contract.family import Variant
from .attention import BLOCKS, CogVideoXProcessor
from .autoencoder import GRID
from .layouts import FUN

OFS = 2.0  # the only value that 1.5-5B-I2V's `ofs` embedding gets
ARGUMENTS = inspect.signature(CogVideoXTransformer3DModel.__init__).parameters
"""The arguments of diffusers' class. Fun's configs have further entries, which only its authors' training uses."""


class CogVideoXNetwork(ComfyNetwork, CogVideoXTransformer3DModel):
    """diffusers' CogVideoX transformer under ComfyUI's calling convention. Parameter names are diffusers' own."""

    block_kinds, attention_processor = (BLOCKS,), CogVideoXProcessor

    def denoise(self, x: torch.Tensor, timestep: torch.Tensor, context: torch.Tensor, **_: Any) -> torch.Tensor:
        """The v-prediction [B, 16, T, H, W] for a latent x [B, 16, T, H, W], or [B, 32, ...] with known frames.

        timestep: [B], 0..999. context: text [B, tokens, width]; its padding is attended to.
        """
        config, size = self.config, x.shape[3:]
        if config.use_learned_positional_embeddings and size != (config.sample_height, config.sample_width):
            raise ValueError(
                f"This model has the positions of {config.sample_width * GRID.spatial} x "
                f"{config.sample_height * GRID.spatial} pixels in its weights, and makes no other size. Set that size, "
                "or 0 for both."
            )
        rotary = self.positions(*x.shape[2:], x.device) if config.use_rotary_positional_embeddings else None
        v = self.reference(
            hidden_states=x.transpose(1, 2),
            encoder_hidden_states=context,
            timestep=timestep,
            ofs=None if self.ofs_embedding is None else x.new_full((1,), OFS),
            image_rotary_emb=rotary,
            return_dict=False,
        )[0]
        return v.transpose(1, 2)

    def positions(self, time: int, height: int, width: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
        """Rotary cosines and sines [tokens, head_dim] for a latent of this size.

        1.0 scales the positions of every picture to the trained size; 1.5 counts them from the top left corner.
        """
        config, patch = self.config, self.config.patch_size
        grid = (height // patch, width // patch)
        base = (config.sample_height // patch, config.sample_width // patch)
        common = dict(embed_dim=config.attention_head_dim, grid_size=grid, device=device)
        if config.patch_size_t is None:
            return get_3d_rotary_pos_embed(crops_coords=centred(grid, base), temporal_size=time, **common)
        steps = -(-time // config.patch_size_t)
        return get_3d_rotary_pos_embed(
            crops_coords=None, temporal_size=steps, grid_type="slice", max_size=base, **common
        )


def centred(grid: tuple[int, int], base: tuple[int, int]) -> tuple[tuple[int, int], tuple[int, int]]:
    """Top left and bottom right of a picture of `grid` (height, width) scaled into the middle of one of `base`."""
    (height, width), (base_height, base_width) = grid, base
    if height / width > base_height / base_width:
        size = base_height, round(base_height / height * width)
    else:
        size = round(base_width / width * height), base_width
    top, left = (round((room - side) / 2) for room, side in zip(base, size, strict=True))
    return (top, left), (top + size[0], left + size[1])


def build_network(variant: Variant) -> CogVideoXNetwork:
    config = dict(variant.network)
    stretches = config.pop(FUN, False)
    with without_weights():
        network = CogVideoXNetwork(**config)
    embed = network.patch_embed
    if not network.config.use_rotary_positional_embeddings:
        # This table is computed; no file stores it.
        size = embed.sample_height, embed.sample_width, embed.sample_frames
        embed.pos_embedding = embed._get_positional_embeddings(*size)
        if stretches:
            embed._get_positional_embeddings = partial(stretched, embed)
    return network


def stretched(
    embed: CogVideoXPatchEmbed, height: int, width: int, frames: int, device: torch.device | None = None
) -> torch.Tensor:
    """The table of positions [1, text + tokens, width] for the trained picture size, resized to another size.

    As in CogVideoXPatchEmbed of github.com/aigc-apps/CogVideoX-Fun. height, width: in latent pixels.
    """
    trained = embed.sample_height, embed.sample_width
    table = CogVideoXPatchEmbed._get_positional_embeddings(embed, *trained, frames, device)
    text, places = table[:, : embed.max_text_seq_length], table[:, embed.max_text_seq_length :]
    high, wide, new_high, new_wide = (side // embed.patch_size for side in (*trained, height, width))
    places = places.unflatten(1, (-1, high, wide)).movedim(-1, 1)
    places = interpolate(places, (places.shape[2], new_high, new_wide), mode="trilinear", align_corners=False)
    return torch.cat([text, places.movedim(1, -1).flatten(1, 3)], dim=1)
