"""Rectified-flow training of a small LTX transformer on cached latents of the procedural world.

A third of the steps give some latent frames clean, with a timestep per token, as LTX does for image-to-video: the
start mostly, but also the end, both ends or any frames, which is what shots with holes need.
"""

import copy
import random
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import torch
from diffusers import AutoencoderKLLTXVideo, LTXVideoTransformer3DModel
from torch import Tensor
from tqdm import tqdm
from transformers import T5EncoderModel

from pocket import tokenizer as tokens
from pocket.autoencoder import encode
from pocket.captions import free_caption, said_attributes
from pocket.optim import Muon
from pocket.text_encoder import WIDTH, embed
from pocket.training import Run, average, learning_rate
from pocket.world import Scene, clips

BATCH = 32
NO_CAPTION = 0.1  # share of clips trained without text, for guidance
KNOWN_FRAMES = 0.3  # share of steps with given latent frames
HEADS = 6


@dataclass(frozen=True)
class Bucket:
    """Clips of one size and frame rate, and the share of steps that train on them."""

    share: float
    count: int
    frames: int = 17
    fps: float = 8
    width: int = 64
    height: int = 64


BUCKETS = (
    Bucket(0.82, 6144),
    Bucket(0.03, 384, fps=12),
    Bucket(0.03, 384, fps=16),
    Bucket(0.05, 384, frames=25),
    Bucket(0.03, 384, frames=9),
    Bucket(0.02, 384, width=96),
    Bucket(0.02, 384, height=96),
)


@dataclass(frozen=True)
class Latents:
    """Cached clips of a bucket: normalised latents [N, C, T, H, W] in half precision, and the scenes."""

    bucket: Bucket
    latents: Tensor
    scenes: list[Scene]


def build(channels: int) -> LTXVideoTransformer3DModel:
    """A fresh transformer: it predicts zero, and every block passes its work on from the first step."""
    net = LTXVideoTransformer3DModel(
        in_channels=channels,
        out_channels=channels,
        num_attention_heads=HEADS,
        attention_head_dim=32,
        cross_attention_dim=HEADS * 32,
        num_layers=5,
        caption_channels=WIDTH,
    )
    with torch.no_grad():
        net.proj_out.weight.zero_()
        net.proj_out.bias.zero_()
        net.time_embed.linear.weight.mul_(0.3)
        for block in net.transformer_blocks:
            block.scale_shift_table.mul_(0.1)
            block.scale_shift_table[[2, 5]] += 1  # the gates
    return net


def pack(latents: Tensor) -> Tensor:
    """[B, C, T, H, W] -> tokens [B, T * H * W, C], in LTXPipeline's order for patches of one."""
    return latents.permute(0, 2, 3, 4, 1).flatten(1, 3)


def unpack(packed: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """The inverse of `pack` for latents of `shape` (T, H, W)."""
    return packed.unflatten(1, shape).permute(0, 4, 1, 2, 3)


def velocity(
    net: LTXVideoTransformer3DModel,
    vae: AutoencoderKLLTXVideo,
    packed: Tensor,
    sigma: Tensor,
    text: tuple[Tensor, Tensor],
    shape: tuple[int, int, int],
    fps: float,
) -> Tensor:
    """The network's velocity (noise minus clean) for packed latents; sigma is [B, 1], or [B, N] with known tokens."""
    frames, height, width = shape
    spatial = vae.spatial_compression_ratio
    return net(
        hidden_states=packed,
        encoder_hidden_states=text[0],
        encoder_attention_mask=text[1],
        timestep=sigma * 1000,
        num_frames=frames,
        height=height,
        width=width,
        rope_interpolation_scale=(vae.temporal_compression_ratio / fps, spatial, spatial),
        return_dict=False,
    )[0]


def draw_sigma(number: int) -> Tensor:
    """Noise levels [number, 1] in 0..1: logit-normal, leaning to the noisy side, with a uniform share."""
    sigma = torch.sigmoid(torch.randn(number, 1) * 1.1 + 0.5)
    return torch.where(torch.rand(number, 1) < 0.15, torch.rand(number, 1), sigma)


def draw_unknown(frames: int, rng: random.Random) -> Tensor:
    """Which latent frames are to be made, [frames] of 0 or 1: all, or all but some given ones."""
    unknown = torch.ones(frames)
    if rng.random() >= KNOWN_FRAMES:
        return unknown
    kind = rng.random()
    if kind < 0.5:
        unknown[0] = 0
    elif kind < 0.7:
        unknown[:2] = 0
    elif kind < 0.78:
        unknown[-rng.randint(1, 2) :] = 0
    elif kind < 0.88:
        unknown[[0, -1]] = 0
    else:
        unknown[rng.sample(range(frames), rng.randint(1, frames - 1))] = 0
    return unknown


def loss_of(
    net: LTXVideoTransformer3DModel,
    vae: AutoencoderKLLTXVideo,
    latents: Tensor,
    text: tuple[Tensor, Tensor],
    fps: float,
    rng: random.Random,
) -> tuple[Tensor, bool]:
    """Velocity error over the tokens that are to be made, and whether others were given."""
    shape = tuple(latents.shape[2:])
    clean = pack(latents)
    frames = draw_unknown(shape[0], rng)
    given = bool((frames == 0).any())
    unknown = frames.repeat_interleave(shape[1] * shape[2]) if given else torch.ones(1)
    sigma = draw_sigma(len(latents)) * unknown
    noise = torch.randn_like(clean)
    noisy = clean + (noise - clean) * sigma[..., None]
    error = (velocity(net, vae, noisy, sigma, text, shape, fps) - (noise - clean)).pow(2).mean(-1)
    return (error * unknown).sum() / unknown.expand(error.shape).sum(), given


def cache_latents(work: Path, vae: AutoencoderKLLTXVideo, chunk: int = 64) -> list[Latents]:
    """Renders and encodes every bucket once; later runs read `work`/latents.pt."""
    path = work / "latents.pt"
    if path.exists():
        return torch.load(path, weights_only=False)
    cached, seeds = [], count(1_000_000)
    vae = vae.to(memory_format=torch.channels_last_3d)
    for bucket in tqdm(BUCKETS, desc="latents"):
        size = {name: getattr(bucket, name) for name in ("frames", "fps", "width", "height")}
        parts, scenes = [], []
        for _ in range(bucket.count // chunk):
            made = clips(chunk, next(seeds), **size)
            parts.append(encode(vae, made.video).half())
            scenes += made.scenes
        cached.append(Latents(bucket, torch.cat(parts), scenes))
    torch.save(cached, path)
    return cached


def draw_batch(cached: list[Latents], rng: random.Random) -> tuple[Tensor, list[str], float]:
    """Latents [B, C, T, H, W], captions and frame rate of one training step."""
    chosen = rng.choices(cached, [part.bucket.share for part in cached])[0]
    indices = rng.sample(range(len(chosen.scenes)), BATCH)
    captions = [
        "" if rng.random() < NO_CAPTION else free_caption(chosen.scenes[i], said_attributes(rng), rng) for i in indices
    ]
    return chosen.latents[indices].float(), captions, chosen.bucket.fps


def train(work: Path, minutes: float) -> None:
    """Trains the transformer on what `work` holds of the other stages; leaves the average in `work`/transformer."""
    vae = AutoencoderKLLTXVideo.from_pretrained(work / "vae").eval()
    encoder = T5EncoderModel.from_pretrained(work / "text_encoder").eval().requires_grad_(False)
    tokenizer, cached = tokens.build(), cache_latents(work, vae)
    net = build(vae.config.latent_channels)
    mean = copy.deepcopy(net).requires_grad_(False)
    optimiser = Muon(
        net.parameters(), lr=0.01, adam_lr=2e-3, weight_decay=0.01, adam_only=[net.proj_in.weight, net.proj_out.weight]
    )
    run = Run(work, "transformer", minutes, net=net, mean=mean, optimiser=optimiser)
    for step in run:
        optimiser.scale_lr(learning_rate(run.fraction, step))
        latents, captions, fps = draw_batch(cached, run.rng)
        loss, given = loss_of(net, vae, latents, embed(encoder, tokenizer, captions), fps, run.rng)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        average(mean, net, step)
        run.record(**{"loss_given" if given else "loss": loss.item()})
    mean.save_pretrained(work / "transformer")
