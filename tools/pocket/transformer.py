"""Rectified-flow training of a small LTX transformer on cached latents of the procedural world.

In two steps of five some latent frames are clean, with a timestep per token, as LTX does for image-to-video: mostly the
start, but also the end, both ends or any frames, as shots with holes need. In some clips something changes half-way.
Their caption describes one part, and the loss covers only that part, so that the prompt may change within a clip.
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
from pocket.training import Run, average, learning_rate, warm_start
from pocket.world import LATENT_FRAME, Scene, Turn, clips

BATCH = 32
NO_CAPTION = 0.1  # share of clips trained without text, for guidance
KNOWN_FRAMES = 0.4  # share of steps with given latent frames
HEADS = 6


@dataclass(frozen=True)
class Bucket:
    """Clips of one size and frame rate, all of which turn or none, and the share of steps that train on them."""

    share: float
    count: int
    turning: bool = False
    frames: int = 17
    fps: float = 8
    width: int = 64
    height: int = 64


BUCKETS = (
    Bucket(0.62, 6144),
    Bucket(0.17, 3072, turning=True),
    Bucket(0.03, 384, turning=True, frames=25),
    Bucket(0.03, 384, fps=12),
    Bucket(0.03, 384, fps=16),
    Bucket(0.05, 384, frames=25),
    Bucket(0.03, 384, frames=9),
    Bucket(0.02, 384, width=96),
    Bucket(0.02, 384, height=96),
)


@dataclass(frozen=True)
class Latents:
    """Cached clips of a bucket: normalised latents [N, C, T, H, W] in half precision, scenes and turns."""

    bucket: Bucket
    latents: Tensor
    scenes: list[Scene]
    turns: list[Turn | None]


@dataclass(frozen=True)
class Batch:
    """The input of a training step: latents [B, C, T, H, W], captions, frame rate, and two masks [B, T] of 0 or 1.

    described: the latent frames that the captions describe. known: those that are given clean.
    """

    latents: Tensor
    captions: list[str]
    fps: float
    described: Tensor
    known: Tensor


def build(channels: int) -> LTXVideoTransformer3DModel:
    """A fresh transformer that predicts zero, with open gates, so that every block contributes from the first step."""
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


def draw_known(frames: int, turn: int | None, rng: random.Random) -> Tensor:
    """Which latent frames are given, [frames] of 0 or 1; mostly those before `turn`, the one a clip turns at."""
    known, kind = torch.zeros(frames), rng.random()
    if turn and kind < 0.6:
        known[:turn] = 1
    elif kind < 0.45:
        known[0] = 1
    elif kind < 0.65:
        known[:2] = 1
    elif kind < 0.73:
        known[-rng.randint(1, 2) :] = 1
    elif kind < 0.85:
        known[: rng.randint(1, 2)] = known[-rng.randint(1, 2) :] = 1
    else:
        known[rng.sample(range(frames), rng.randint(1, frames - 1))] = 1
    return known


def loss_of(
    net: LTXVideoTransformer3DModel, vae: AutoencoderKLLTXVideo, batch: Batch, text: tuple[Tensor, Tensor]
) -> Tensor:
    """Velocity error over the tokens that the captions describe and that are not known."""
    shape = tuple(batch.latents.shape[2:])
    clean = pack(batch.latents)
    unknown = (1 - batch.known).repeat_interleave(shape[1] * shape[2], 1)
    judged = batch.described.repeat_interleave(shape[1] * shape[2], 1) * unknown
    sigma = draw_sigma(len(clean))
    if batch.known.any():  # otherwise a timestep per clip is enough, and cheaper
        sigma = sigma * unknown
    noise = torch.randn_like(clean)
    noisy = clean + (noise - clean) * sigma[..., None]
    error = (velocity(net, vae, noisy, sigma, text, shape, batch.fps) - (noise - clean)).pow(2).mean(-1)
    return (error * judged).sum() / judged.sum().clamp(min=1)


def cache_latents(work: Path, vae: AutoencoderKLLTXVideo, chunk: int = 64) -> list[Latents]:
    """Renders and encodes every bucket once; later runs read `work`/latents.pt."""
    path = work / "latents.pt"
    if path.exists():
        return torch.load(path, weights_only=False)
    cached, seeds = [], count(1_000_000)
    vae = vae.to(memory_format=torch.channels_last_3d)
    for bucket in tqdm(BUCKETS, desc="latents"):
        size = {name: getattr(bucket, name) for name in ("turning", "frames", "fps", "width", "height")}
        parts, scenes, turns = [], [], []
        for _ in range(bucket.count // chunk):
            rendered = clips(chunk, next(seeds), **size)
            parts.append(encode(vae, rendered.video).half())
            scenes += rendered.scenes
            turns += rendered.turns
        cached.append(Latents(bucket, torch.cat(parts), scenes, turns))
    torch.save(cached, path)
    return cached


def draw_batch(cached: list[Latents], rng: random.Random) -> Batch:
    """The clips of a training step, each with a caption for it, or for one of its two parts if it turns."""
    chosen = rng.choices(cached, [part.bucket.share for part in cached])[0]
    indices = rng.sample(range(len(chosen.scenes)), BATCH)
    given = rng.random() < KNOWN_FRAMES
    frames, captions, described, known = chosen.latents.shape[2], [], [], []
    for i in indices:
        scene, turn, at = chosen.scenes[i], chosen.turns[i], None
        part = torch.ones(frames)
        if turn:
            at, second = 1 + turn.frame // LATENT_FRAME, rng.random() < 0.6
            scene = turn.scene if second else scene
            part[slice(at) if second else slice(at, None)] = 0
        words = "" if rng.random() < NO_CAPTION else free_caption(scene, said_attributes(rng), rng)
        captions.append(words)
        described.append(part)
        known.append(draw_known(frames, at, rng) if given else torch.zeros(frames))
    latents = chosen.latents[indices].float()
    return Batch(latents, captions, chosen.bucket.fps, torch.stack(described), torch.stack(known))


def train(work: Path, minutes: float, release: Path | None = None) -> None:
    """Trains the transformer on the other stages' parts in `work`, and saves the average in `work`/transformer."""
    vae = AutoencoderKLLTXVideo.from_pretrained(work / "vae").eval()
    encoder = T5EncoderModel.from_pretrained(work / "text_encoder").eval().requires_grad_(False)
    tokenizer, cached = tokens.build(), cache_latents(work, vae)
    net = build(vae.config.latent_channels)
    factor = warm_start(net, release)
    mean = copy.deepcopy(net).requires_grad_(False)
    optimiser = Muon(
        net.parameters(), lr=0.01, adam_lr=2e-3, weight_decay=0.01, adam_only=[net.proj_in.weight, net.proj_out.weight]
    )
    run = Run(work, "transformer", minutes, net=net, mean=mean, optimiser=optimiser)
    for step in run:
        optimiser.scale_lr(factor * learning_rate(run.fraction, step))
        batch = draw_batch(cached, run.rng)
        loss = loss_of(net, vae, batch, embed(encoder, tokenizer, batch.captions))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        average(mean, net, step)
        kind = "_turning" if batch.described.eq(0).any() else "_given" if batch.known.any() else ""
        run.record(**{"loss" + kind: loss.item()})
    mean.save_pretrained(work / "transformer")
