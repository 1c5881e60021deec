"""Rectified-flow training of a small Mochi transformer on cached latents of the procedural world.

Mochi counts time from noise to clip, and its velocity points to the clip: both are reversed to LTX's.
"""

import random
from functools import partial
from pathlib import Path

import torch
from diffusers import AutoencoderKLMochi, MochiTransformer3DModel
from diffusers.models.attention_processor import MochiAttention
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from pocket import denoiser, shared_text
from pocket.latents import cached_latents
from pocket.mochi.autoencoder import FRAMES, NUMBERS, encode
from pocket.text_encoder import WIDTH
from pocket.transformer import draw_sigma
from pocket.world import Scene

SEEDS = range(1_000_000, 1_000_048)  # of 64 clips each
HEADS, HEAD = 6, 32
CONFIG = {
    "num_attention_heads": HEADS,
    "attention_head_dim": HEAD,
    "num_layers": 5,
    "pooled_projection_dim": 64,  # the width of the text's tokens
    "in_channels": NUMBERS,
    "text_embed_dim": WIDTH,
    "time_embed_dim": 64,
}
CELL = 48  # MochiRoPE's distance between neighbouring tokens of a picture of 4 x 4 tokens
TIMESTEPS = 1000


class MaskedAttention:
    """Computes what diffusers' MochiAttnProcessor2_0 computes, for a whole batch at once."""

    def __call__(
        self,
        attn: MochiAttention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor,
        attention_mask: Tensor,
        image_rotary_emb: tuple[Tensor, Tensor],
    ) -> tuple[Tensor, Tensor]:
        """Picture tokens [B, N, width] and text tokens [B, L, text width], mask [B, L] -> the same shapes."""
        query, key, value = (
            layer(hidden_states).unflatten(2, (attn.heads, -1)) for layer in (attn.to_q, attn.to_k, attn.to_v)
        )
        query, key = (rotated(norm(x), image_rotary_emb) for norm, x in ((attn.norm_q, query), (attn.norm_k, key)))
        added = (attn.add_q_proj, attn.add_k_proj, attn.add_v_proj)
        text = [layer(encoder_hidden_states).unflatten(2, (attn.heads, -1)) for layer in added]
        text[0], text[1] = attn.norm_added_q(text[0]), attn.norm_added_k(text[1])
        joint = [torch.cat(pair, 1).transpose(1, 2) for pair in zip((query, key, value), text, strict=True)]
        seen = torch.cat([attention_mask.new_ones(hidden_states.shape[:2]), attention_mask], 1)[:, None, None]
        out = scaled_dot_product_attention(*joint, attn_mask=None if seen.all() else seen).transpose(1, 2).flatten(2)
        picture, words = out.split([hidden_states.shape[1], encoder_hidden_states.shape[1]], 1)
        picture = attn.to_out[0](picture)
        return picture, (attn.to_add_out(words) if hasattr(attn, "to_add_out") else words)


def rotated(x: Tensor, angles: tuple[Tensor, Tensor]) -> Tensor:
    """Rotary embedding of x [B, tokens, heads, head_dim]; cosine and sine: [tokens, heads, head_dim / 2]."""
    (cosine, sine), even, odd = angles, x[..., 0::2], x[..., 1::2]
    return torch.stack([even * cosine - odd * sine, even * sine + odd * cosine], -1).flatten(-2)


def build() -> MochiTransformer3DModel:
    """A fresh transformer that predicts zero, with open gates, so that every block contributes from the first step."""
    net = MochiTransformer3DModel(**CONFIG)
    with torch.no_grad():
        net.proj_out.weight.zero_()
        net.proj_out.bias.zero_()
        net.norm_out.linear.weight.mul_(0.3)
        net.pos_frequencies.copy_(frequencies()[:, None].expand_as(net.pos_frequencies))
    for block in net.transformer_blocks:
        denoiser.open_gates(block.norm1.linear, 4, (1, 3), 0.5)
        if not block.context_pre_only:
            denoiser.open_gates(block.norm1_context.linear, 4, (1, 3), 0.5)
    net.pos_frequencies.requires_grad_(False)  # Adam's steps are larger than they are
    return with_masks(net)


def with_masks(net: MochiTransformer3DModel) -> MochiTransformer3DModel:
    """The same network, whose attention is computed for a whole batch at once."""
    for block in net.transformer_blocks:
        block.attn1.processor = MaskedAttention()
    return net


def frequencies() -> Tensor:
    """Radians per unit of position [3, head_dim / 2]: a quarter of the pairs turn in time, the others in space."""
    table, time = torch.zeros(3, HEAD // 2), HEAD // 8
    space = (HEAD // 2 - time) // 2
    table[0, :time] = torch.logspace(0.2, -1, time)
    table[1, time : time + space] = table[2, time + space :] = torch.logspace(0.2, -0.6, space) / CELL
    return table


def velocity(net: MochiTransformer3DModel, noisy: Tensor, sigma: Tensor, text: tuple[Tensor, Tensor]) -> Tensor:
    """The network's velocity, clean minus noise, for latents [B, C, T, h, w] at noise levels sigma [B]."""
    return net(noisy, text[0], TIMESTEPS * (1 - sigma), text[1].bool(), return_dict=False)[0]


def embed(encoder, tokenizer, captions: list[str]) -> tuple[Tensor, Tensor]:
    """Captions -> hidden states [B, L, 96] and mask [B, L]. As Mochi's authors do, an empty one is no token at all."""
    hidden, mask = shared_text.embed(encoder, tokenizer, captions)
    return hidden, mask * torch.tensor([[bool(caption)] for caption in captions])


def loss_of(net: MochiTransformer3DModel, clean: Tensor, text: tuple[Tensor, Tensor]) -> Tensor:
    """Velocity error of latents [B, C, T, h, w]."""
    sigma, noise = draw_sigma(len(clean)).flatten(), torch.randn_like(clean)
    noisy = torch.lerp(clean, noise, sigma.view(-1, 1, 1, 1, 1))
    return (velocity(net, noisy, sigma, text) - (clean - noise)).pow(2).mean()


def train(work: Path, minutes: float, release: Path | None = None) -> None:
    """Trains the transformer with the autoencoder in `work`, and saves the average in `work`/transformer."""
    vae = AutoencoderKLMochi.from_pretrained(work / "vae")
    data = cached_latents(work, SEEDS, partial(encode, vae), frames=FRAMES)
    encoder, tokenizer = shared_text.load()
    net = build()

    def step(clean: Tensor, scenes: list[Scene], rng: random.Random) -> Tensor:
        return loss_of(net, clean, embed(encoder, tokenizer, shared_text.draw_captions(scenes, tokenizer, rng)))

    adam_only = [net.patch_embed.proj.weight, net.proj_out.weight, net.time_embed.caption_proj.weight]
    denoiser.train(work, minutes, release, net, data, step, adam_only)
