"""The two transformers of Pyramid Flow, miniflux and SD3: clips of several resolutions in, velocity of the newest out.

Parameter names are those of the published checkpoints. Source: arXiv 2410.05954, section 3.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate, groupby, pairwise

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from diffusers.models.attention import FeedForward
from diffusers.models.embeddings import CombinedTimestepTextProjEmbeddings, PatchEmbed, apply_rotary_emb
from diffusers.models.normalization import AdaLayerNormContinuous, AdaLayerNormZero, AdaLayerNormZeroSingle
from diffusers.models.transformers.transformer_flux import FluxPosEmbed
from torch import nn
from torch.nn.functional import interpolate

from ...contract.grid import Shape

PATCH = 2
LATENT_CHANNELS = 16
ROPE_THETA = 10000

# ------------------------------------------------------------------------------------------------ tokens


@dataclass(frozen=True)
class Layout:
    """The positions of a stage's tokens and what each attends to. Made once per stage, used by every step and block.

    The sequence is [text, oldest frame, ..., newest frame]. A token attends to text and frames up to its own, text to
    text and the first frame: always a prefix of the sequence, so attention runs frame by frame and needs no mask.
    Padding comes before its prompt, so each row of the batch skips it by starting later.

    text_order: which text tokens to take [B, tokens], padding first.
    rows: (rows of the batch, index of their first token that is no padding).
    frames: (first token, last token + 1) of each frame, the first one with the text before it.
    rotary: cosine and sine [tokens, head_dim] of the rotary positions of the whole sequence.
    table: positions [1, image tokens, width] added to the image tokens, where the network has such a table.
    """

    text_order: torch.Tensor
    rows: tuple[tuple[slice, int], ...]
    frames: tuple[tuple[int, int], ...]
    rotary: tuple[torch.Tensor, torch.Tensor]
    table: torch.Tensor | None = None

    def ordered(self, text: torch.Tensor) -> torch.Tensor:
        """Text [B, L, width] -> [B, tokens, width], padding first, cut to the length of the longest prompt."""
        return text.gather(1, self.text_order[..., None].expand(-1, -1, text.shape[-1]))


def patch_grid(clip: Shape) -> Shape:
    """(frames, rows, columns) of the patches of a clip of shape [B, C, T, H, W]."""
    return clip[2], clip[3] // PATCH, clip[4] // PATCH


def patchify(clip: torch.Tensor) -> torch.Tensor:
    """Clip [B, C, T, H, W] -> tokens [B, T * H/2 * W/2, 4 * C], channels fastest inside a patch."""
    patches = clip.unflatten(4, (-1, PATCH)).unflatten(3, (-1, PATCH))
    return patches.permute(0, 2, 3, 5, 4, 6, 1).flatten(4).flatten(1, 3)


def unpatchify(tokens: torch.Tensor, grid: Shape) -> torch.Tensor:
    """Tokens [B, T * H/2 * W/2, 4 * C] of a clip with this patch grid -> clip [B, C, T, H, W]."""
    patches = tokens.unflatten(2, (PATCH, PATCH, -1)).unflatten(1, grid)
    return patches.permute(0, 6, 1, 2, 4, 3, 5).flatten(5).flatten(3, 4)


def token_positions(grids: Sequence[Shape], device: torch.device) -> torch.Tensor:
    """(time, y, x) [image tokens, 3] of clips with these patch grids, in chronological order.

    Time counts frames through all clips. The last clip's patches have the integers as y and x; coarser clips cover the
    same picture, so their patches lie at the centres of the blocks of patches that they stand for.
    """
    _, *finest = grids[-1]
    positions, time = [], 0
    for frames, *size in grids:
        y, x = ((torch.arange(n, device=device) + 0.5) * (fine / n) - 0.5 for n, fine in zip(size, finest, strict=True))
        positions.append(torch.cartesian_prod(torch.arange(time, time + frames, device=device) + 0.0, y, x))
        time += frames
    return torch.cat(positions)


def text_layout(mask: torch.Tensor) -> tuple[torch.Tensor, tuple[tuple[slice, int], ...]]:
    """`text_order` and `rows` of a Layout for a prompt mask [B, L], 1 = a token of the prompt."""
    mask = mask.bool()
    lengths = mask.sum(1).tolist()
    longest = max(lengths)
    order = mask.int().argsort(dim=1, stable=True)[:, mask.shape[1] - longest :]
    rows, start = [], 0
    for length, same in groupby(lengths):
        stop = start + len(list(same))
        rows.append((slice(start, stop), longest - length))
        start = stop
    return order, tuple(rows)


def frame_bounds(grids: Sequence[Shape], text_tokens: int) -> tuple[tuple[int, int], ...]:
    """`frames` of a Layout: where each frame's tokens begin and end, the first frame together with the text."""
    sizes = [rows * columns for frames, rows, columns in grids for _ in range(frames)]
    ends = [text_tokens + end for end in accumulate(sizes)]
    return tuple(pairwise([0, *ends]))


class FrameAttention:
    """The attention that all blocks share: each frame attends to the text and to all frames up to itself."""

    def __call__(self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, layout: Layout) -> torch.Tensor:
        """Queries, keys and values [B, tokens, heads, head_dim] -> [B, tokens, width]."""
        query, key = (apply_rotary_emb(x, layout.rotary, sequence_dim=1) for x in (query, key))
        return self.computed(layout, *(x.transpose(1, 2) for x in (query, key, value)))

    def computed(self, layout: Layout, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        """Rotated queries and keys, and values, [B, heads, tokens, head_dim] each -> [B, tokens, width]."""
        return by_frames(layout, attend, query, key, value)


def by_frames(
    layout: Layout,
    attend: Callable[..., torch.Tensor],
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: None = None,
) -> torch.Tensor:
    """Attention [B, heads, tokens, head_dim] -> [B, tokens, width], frame by frame: `attend` computes each part."""
    batch, heads, tokens, dim = query.shape
    out = query.new_empty(batch, tokens, heads * dim)
    for rows, first in layout.rows:
        for start, end in layout.frames:
            seen = slice(first, end)
            out[rows, start:end] = attend(query[rows, :, start:end], key[rows, :, seen], value[rows, :, seen])
    return out


def attend(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """Full attention, [B, heads, tokens, head_dim] -> [B, tokens, width]."""
    return nn.functional.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)


# ------------------------------------------------------------------------------------------------ blocks


class Attention(nn.Module):
    """Attention over the joint sequence, queries and keys normalised per head, without an output projection."""

    def __init__(self, width: int, heads: int, eps: float) -> None:
        super().__init__()
        self.heads = heads
        self.to_q, self.to_k, self.to_v = (nn.Linear(width, width) for _ in range(3))
        self.norm_q, self.norm_k = (nn.RMSNorm(width // heads, eps=eps) for _ in range(2))
        self.processor = FrameAttention()

    def forward(self, x: torch.Tensor, layout: Layout) -> torch.Tensor:
        """Joint tokens [B, tokens, width] -> the same shape."""
        return self.processor(*self.projected(x), layout)

    def projected(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Query, key and value [B, tokens, heads, head_dim] of tokens [B, tokens, width]."""
        query, key, value = (to(x).unflatten(-1, (self.heads, -1)) for to in (self.to_q, self.to_k, self.to_v))
        return self.norm_q(query), self.norm_k(key), value


class JointAttention(Attention):
    """Joint attention of text and image, each with its own projections.

    text_norm: the checkpoint's name of the text's norms, without "_q" and "_k". text_out: whether text is returned.
    """

    def __init__(self, width: int, heads: int, eps: float, text_norm: str, text_out: bool) -> None:
        super().__init__(width, heads, eps)
        self.add_q_proj, self.add_k_proj, self.add_v_proj = (nn.Linear(width, width) for _ in range(3))
        self.text_norms = f"{text_norm}_q", f"{text_norm}_k"
        for name in self.text_norms:
            self.add_module(name, nn.RMSNorm(width // heads, eps=eps))
        self.to_out = nn.ModuleList([nn.Linear(width, width)])
        self.to_add_out = nn.Linear(width, width) if text_out else None

    def forward(
        self, text: torch.Tensor, image: torch.Tensor, layout: Layout
    ) -> tuple[torch.Tensor | None, torch.Tensor]:
        """Text and image tokens [B, tokens, width] -> the same shapes; no text (None) from the last block."""
        parts = zip(self.projected_text(text), self.projected(image), strict=True)
        joint = self.processor(*(torch.cat(part, dim=1) for part in parts), layout)
        text, image = joint.split([text.shape[1], image.shape[1]], dim=1)
        return self.to_add_out(text) if self.to_add_out else None, self.to_out[0](image)

    def projected_text(self, text: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        projections = self.add_q_proj, self.add_k_proj, self.add_v_proj
        query, key, value = (to(text).unflatten(-1, (self.heads, -1)) for to in projections)
        norm_query, norm_key = (self.get_submodule(name) for name in self.text_norms)
        return norm_query(query), norm_key(key), value


class DoubleBlock(nn.Module):
    """Text and image side by side: joint attention, then a feed-forward layer each."""

    def __init__(self, width: int, heads: int, eps: float, text_norm: str, last: bool = False) -> None:
        super().__init__()
        self.norm1 = AdaLayerNormZero(width)
        self.norm1_context = (
            AdaLayerNormContinuous(width, width, elementwise_affine=False, eps=1e-6)
            if last
            else AdaLayerNormZero(width)
        )
        self.attn = JointAttention(width, heads, eps, text_norm, text_out=not last)
        self.norm2 = nn.LayerNorm(width, elementwise_affine=False, eps=1e-6)
        self.ff = FeedForward(width, activation_fn="gelu-approximate")
        self.ff_context = None if last else FeedForward(width, activation_fn="gelu-approximate")

    def forward(
        self, text: torch.Tensor, image: torch.Tensor, temb: torch.Tensor, layout: Layout
    ) -> tuple[torch.Tensor | None, torch.Tensor]:
        """Text and image tokens [B, tokens, width], temb [B, width] -> the same; no text (None) from the last block."""
        image_in, *image_modulation = self.norm1(image, emb=temb)
        if self.ff_context is None:
            text_in, text_modulation = self.norm1_context(text, temb), None
        else:
            text_in, *text_modulation = self.norm1_context(text, emb=temb)
        text_out, image_out = self.attn(text_in, image_in, layout)
        image = self.fed_forward(image, image_out, image_modulation, self.ff)
        if text_out is None:
            return None, image
        return self.fed_forward(text, text_out, text_modulation, self.ff_context), image

    def fed_forward(
        self, x: torch.Tensor, attended: torch.Tensor, modulation: Sequence[torch.Tensor], feed_forward: FeedForward
    ) -> torch.Tensor:
        """Both residuals of one stream; modulation: the gate of attention, then shift, scale and gate, [B, width]."""
        gate_attention, shift, scale, gate = (part[:, None] for part in modulation)
        x = x + gate_attention * attended
        return x + gate * feed_forward(self.norm2(x) * (1 + scale) + shift)


class SingleBlock(nn.Module):
    """Text and image as one sequence: attention and a feed-forward layer in parallel."""

    def __init__(self, width: int, heads: int, eps: float) -> None:
        super().__init__()
        self.norm = AdaLayerNormZeroSingle(width)
        self.proj_mlp = nn.Linear(width, 4 * width)
        self.act_mlp = nn.GELU(approximate="tanh")
        self.proj_out = nn.Linear(5 * width, width)
        self.attn = Attention(width, heads, eps)

    def forward(self, x: torch.Tensor, temb: torch.Tensor, layout: Layout) -> torch.Tensor:
        """Joint tokens [B, tokens, width], temb [B, width] -> the same shape."""
        normed, gate = self.norm(x, emb=temb)
        out = torch.cat([self.attn(normed, layout), self.act_mlp(self.proj_mlp(normed))], dim=2)
        return x + gate[:, None] * self.proj_out(out)


# ------------------------------------------------------------------------------------------------ networks


class PyramidTransformer(ModelMixin, ConfigMixin):
    """The part that both variants share. A variant defines how image tokens are embedded, and their positions."""

    time_text_embed: CombinedTimestepTextProjEmbeddings
    context_embedder: nn.Linear
    transformer_blocks: nn.ModuleList
    single_transformer_blocks: nn.ModuleList
    norm_out: AdaLayerNormContinuous
    proj_out: nn.Linear

    def build_ends(self, width: int, text_width: int, pooled_width: int) -> None:
        """Create the layers before and after the blocks."""
        self.time_text_embed = CombinedTimestepTextProjEmbeddings(width, pooled_width)
        self.context_embedder = nn.Linear(text_width, width)
        self.norm_out = AdaLayerNormContinuous(width, width, elementwise_affine=False, eps=1e-6)
        self.proj_out = nn.Linear(width, PATCH * PATCH * LATENT_CHANNELS)

    def layout(self, clips: Sequence[Shape], text_mask: torch.Tensor) -> Layout:
        """The Layout for clips of these shapes [B, C, T, H, W], oldest first, and a prompt mask [B, L]."""
        raise NotImplementedError

    def embed(self, clips: Sequence[torch.Tensor], layout: Layout) -> torch.Tensor:
        """Clips [B, C, T, H, W], oldest first -> image tokens [B, tokens, width]."""
        raise NotImplementedError

    def forward(
        self,
        clips: Sequence[torch.Tensor],
        timestep: torch.Tensor,
        text: torch.Tensor,
        pooled: torch.Tensor,
        layout: Layout,
    ) -> torch.Tensor:
        """Velocity [B, C, T, H, W] of the last clip, the noisy one; the clips before it are its clean history.

        clips: [B, C, T, H, W] each, oldest first, sides that are multiples of 2. timestep: [B], 0..1000. text: T5's
        [B, L, text width]. pooled: CLIP's [B, pooled width]. layout: `self.layout` of the same clips and prompts.
        """
        noisy = clips[-1]
        # Training rounded timesteps to the dtype it computed in.
        temb = self.time_text_embed(timestep.to(noisy.dtype), pooled)
        image = self.embed(clips, layout)
        text = self.context_embedder(layout.ordered(text))
        for block in self.transformer_blocks:
            text, image = block(text, image, temb, layout)
        if self.single_transformer_blocks:
            image = torch.cat([text, image], dim=1)
            for block in self.single_transformer_blocks:
                image = block(image, temb, layout)
        grid = patch_grid(noisy.shape)
        newest = image[:, -grid[0] * grid[1] * grid[2] :]
        return unpatchify(self.proj_out(self.norm_out(newest, temb)), grid)


class PyramidFluxTransformer(PyramidTransformer):
    """miniflux: double then single blocks, rotary positions in time, height and width.

    The defaults are the published 2B checkpoints (384p, 768p and image alike).
    """

    @register_to_config
    def __init__(
        self,
        num_layers: int = 8,
        num_single_layers: int = 16,
        attention_head_dim: int = 64,
        num_attention_heads: int = 30,
        joint_attention_dim: int = 4096,
        pooled_projection_dim: int = 768,
        axes_dims_rope: Sequence[int] = (16, 24, 24),
    ) -> None:
        super().__init__()
        width, eps = num_attention_heads * attention_head_dim, 1e-6
        self.rotary = FluxPosEmbed(ROPE_THETA, list(axes_dims_rope))
        self.x_embedder = nn.Linear(PATCH * PATCH * LATENT_CHANNELS, width)
        self.transformer_blocks = nn.ModuleList(
            DoubleBlock(width, num_attention_heads, eps, "norm_added") for _ in range(num_layers)
        )
        self.single_transformer_blocks = nn.ModuleList(
            SingleBlock(width, num_attention_heads, eps) for _ in range(num_single_layers)
        )
        self.build_ends(width, joint_attention_dim, pooled_projection_dim)

    def layout(self, clips: Sequence[Shape], text_mask: torch.Tensor) -> Layout:
        grids = [patch_grid(shape) for shape in clips]
        order, rows = text_layout(text_mask)
        positions = token_positions(grids, text_mask.device)
        everything = torch.cat([positions.new_zeros(order.shape[1], 3), positions])
        return Layout(order, rows, frame_bounds(grids, order.shape[1]), self.rotary(everything))

    def embed(self, clips: Sequence[torch.Tensor], layout: Layout) -> torch.Tensor:
        return self.x_embedder(torch.cat([patchify(clip) for clip in clips], dim=1))


class PyramidDiffusionMMDiT(PyramidTransformer):
    """SD3: double blocks only, a table of positions added to the image tokens, rotary positions in time.

    The defaults are the published 2B checkpoints.
    """

    @register_to_config
    def __init__(
        self,
        sample_size: int = 128,
        num_layers: int = 24,
        attention_head_dim: int = 64,
        num_attention_heads: int = 24,
        joint_attention_dim: int = 4096,
        pooled_projection_dim: int = 2048,
        pos_embed_max_size: int = 192,
    ) -> None:
        super().__init__()
        width, eps = num_attention_heads * attention_head_dim, 1e-5
        self.rotary = FluxPosEmbed(ROPE_THETA, [attention_head_dim])
        self.pos_embed = PatchEmbed(
            sample_size, sample_size, PATCH, LATENT_CHANNELS, width, pos_embed_max_size=pos_embed_max_size
        )
        self.transformer_blocks = nn.ModuleList(
            DoubleBlock(width, num_attention_heads, eps, "norm_add", last=n == num_layers - 1)
            for n in range(num_layers)
        )
        self.single_transformer_blocks = nn.ModuleList()
        self.build_ends(width, joint_attention_dim, pooled_projection_dim)

    def layout(self, clips: Sequence[Shape], text_mask: torch.Tensor) -> Layout:
        grids = [patch_grid(shape) for shape in clips]
        order, rows = text_layout(text_mask)
        times = token_positions(grids, text_mask.device)[:, :1]
        everything = torch.cat([times.new_zeros(order.shape[1], 1), times])
        bounds = frame_bounds(grids, order.shape[1])
        return Layout(order, rows, bounds, self.rotary(everything), self.table(grids, clips[-1]))

    def table(self, grids: Sequence[Shape], newest: Shape) -> torch.Tensor:
        """Positions [1, image tokens, width]: the newest clip's part of the table, resampled for coarser clips."""
        part = self.pos_embed.cropped_pos_embed(*newest[3:])
        part = part.unflatten(1, grids[-1][1:]).movedim(-1, 1)
        tables = [
            interpolate(part, size=size, mode="bilinear").flatten(2).mT.repeat(1, frames, 1) for frames, *size in grids
        ]
        return torch.cat(tables, dim=1)

    def embed(self, clips: Sequence[torch.Tensor], layout: Layout) -> torch.Tensor:
        tokens = [
            self.pos_embed.proj(clip.transpose(1, 2).flatten(0, 1))
            .flatten(2)
            .mT.unflatten(0, (-1, clip.shape[2]))
            .flatten(1, 2)
            for clip in clips
        ]
        return torch.cat(tokens, dim=1) + layout.table.to(tokens[0])
