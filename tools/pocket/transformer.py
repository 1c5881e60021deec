"""Rectified-flow training of the pocket LTX's transformer, with the positions and the text handling of LTX 0.9.5.

In some steps latent frames are clean, with a timestep per token; in others pictures stand beside the clip as tokens of
their own, at the time of the frame that they show, as LTXConditionPipeline puts keyframes. The caption of a clip that
turns tells of one part, and the loss covers that alone. Of clips that swing both ends are given, and the way back made.
"""

import copy
import random
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import NamedTuple

import torch
from diffusers import AutoencoderKLLTXVideo, LTXVideoTransformer3DModel
from torch import Tensor
from tqdm import tqdm

from pocket import shared_text
from pocket.autoencoder import NUMBERS, SIDE, SPATIAL, encode
from pocket.captions import training_caption
from pocket.optim import Muon
from pocket.text_encoder import WIDTH
from pocket.training import Run, average, learning_rate, warm_start
from pocket.world import LATENT_FRAME, Scene, Turn, clips

HEADS, HEAD, BLOCKS = 7, 32, 6
BATCH = 32
INSIDE, BESIDE = 0.3, 0.2  # shares of steps with given latent frames, and with pictures beside the clip
BESIDE_MOST = 2  # pictures of a clip
PLAIN = 0.3  # share of the clips with pictures beside them of which one is a plain colour or a gradient
SHOWN = 4.0  # how often an error counts in the latent frames that these pictures show
LEVELS = (1.0, 1.6)  # so far up that the background, the largest number, is learnt: it shows through noise first
VISIBLE = 0.6  # share of the loss that weighs an error as what it does to the pixels


@dataclass(frozen=True)
class Bucket:
    """Clips of one kind, size and frame rate, and the share of steps that train on them."""

    share: float
    count: int
    turning: bool = False
    swinging: bool = False
    rich: bool = False
    frames: int = 17
    fps: float = 8
    width: int = SIDE
    height: int = SIDE

    def clips(self, seed: int, number: int):
        """So many of its clips, of a seed."""
        names = ("turning", "swinging", "rich", "frames", "fps", "width", "height")
        return clips(number, seed, **{name: getattr(self, name) for name in names})


BUCKETS = (
    Bucket(0.52, 3584),
    Bucket(0.11, 1536, turning=True),
    Bucket(0.03, 384, turning=True, frames=25),
    Bucket(0.07, 1024, swinging=True),
    Bucket(0.02, 256, swinging=True, frames=25),
    Bucket(0.08, 1024, rich=True),
    Bucket(0.02, 256, fps=12),
    Bucket(0.02, 256, fps=16),
    Bucket(0.05, 512, frames=25),
    Bucket(0.04, 512, frames=9),
    Bucket(0.02, 256, width=192),
    Bucket(0.02, 256, height=192),
)


@dataclass(frozen=True)
class Latents:
    """Cached clips of a bucket, in half precision: latents [N, C, T, h, w], scenes and turns.

    pictures: [N, C, T, h, w], the frame with which each latent frame ends, encoded as a picture of its own.
    """

    bucket: Bucket
    latents: Tensor
    pictures: Tensor
    scenes: list[Scene]
    turns: list[Turn | None]


@dataclass(frozen=True)
class Batch:
    """The input of a training step: latents [B, C, T, h, w], captions, frame rate, and two masks [B, T] of 0 or 1.

    described: the latent frames that the captions describe. known: those that are given clean. beside: pictures
    [B, C, K, h, w] beside the clip, and at: the frames [B, K] that they show.
    """

    latents: Tensor
    captions: list[str]
    fps: float
    described: Tensor
    known: Tensor
    beside: Tensor | None = None
    at: Tensor | None = None


class Plain(NamedTuple):
    """Plain colours and gradients, SIDE x SIDE: as pictures [N, C, h, w], and as latent frames in which they stand."""

    pictures: Tensor
    stills: Tensor


def build() -> LTXVideoTransformer3DModel:
    """A fresh transformer that predicts zero, with open gates, so that every block contributes from the first step."""
    net = LTXVideoTransformer3DModel(
        in_channels=NUMBERS,
        out_channels=NUMBERS,
        num_attention_heads=HEADS,
        attention_head_dim=HEAD,
        cross_attention_dim=HEADS * HEAD,
        num_layers=BLOCKS,
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


def begins(latent_frames: Tensor) -> Tensor:
    """The clip's frame with which a latent frame begins."""
    return (1 + LATENT_FRAME * (latent_frames - 1)).clamp(min=0)


def latent_frame_of(frames: Tensor | int) -> Tensor | int:
    """The latent frame that a frame of the clip is in."""
    return -(-frames // LATENT_FRAME)


def places(frames: Tensor, sides: tuple[int, int], fps: float) -> Tensor:
    """Where tokens are [B, 3, K * h * w], in seconds and pixels; frames [B, K]: which of the clip's each starts at."""
    height, width = sides
    down, across = (torch.arange(side) * SPATIAL for side in sides)
    shape = (len(frames), frames.shape[1], height, width)
    where = (frames[:, :, None, None] / fps, down[None, None, :, None], across[None, None, None])
    return torch.stack([value.expand(shape).float() for value in where], 1).flatten(2)


def velocity(
    net: LTXVideoTransformer3DModel, packed: Tensor, sigma: Tensor, text: tuple[Tensor, Tensor], where: Tensor
) -> Tensor:
    """The network's velocity (noise minus clean) for tokens at `where`; sigma: [B, 1], or [B, N], one per token."""
    return net(
        hidden_states=packed,
        encoder_hidden_states=text[0],
        encoder_attention_mask=text[1],
        timestep=sigma * 1000,
        video_coords=where,
        return_dict=False,
    )[0]


def draw_sigma(number: int, middle: float = 0.5, spread: float = 1.1) -> Tensor:
    """Noise levels [number, 1] in 0..1: logit-normal, leaning to the noisy side, with a uniform share."""
    sigma = torch.sigmoid(torch.randn(number, 1) * spread + middle)
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


def visibility(vae: AutoencoderKLLTXVideo) -> Tensor:
    """Weights [C] with a mean of one: how much an error in a number shows in the pixels."""
    rows = vae.encoder.conv_out.conv.weight[:NUMBERS, :, -1, 1, 1]
    shown = rows.pow(2).sum(1).reciprocal()
    return 1 - VISIBLE + VISIBLE * shown / shown.mean()


def plain(vae: AutoencoderKLLTXVideo, count: int = 256) -> Plain:
    """Pictures that no clip of the world has, half of them of one colour."""
    generator = torch.Generator().manual_seed(count)
    drawn, angle = torch.rand(count, 7, generator=generator).split([6, 1], 1)
    colors = -torch.cos(torch.pi * drawn).view(count, 2, 3, 1, 1)  # in -1..1, more of them at the ends
    colors[::2, 1] = colors[::2, 0]
    rows, columns = torch.meshgrid(*[torch.linspace(-0.5, 0.5, SIDE)] * 2, indexing="ij")
    angle = 2 * torch.pi * angle[..., None, None]
    pictures = torch.lerp(*colors.unbind(1), 0.5 + 0.7 * (rows * angle.sin() + columns * angle.cos()))
    latents = encode(vae, pictures[:, :, None].expand(-1, -1, 1 + LATENT_FRAME, -1, -1))
    return Plain(latents[:, :, 0], latents[:, :, 1])


def loss_of(net: LTXVideoTransformer3DModel, batch: Batch, text: tuple[Tensor, Tensor], weights: Tensor) -> Tensor:
    """Velocity error over the tokens that the captions describe and that are not known."""
    _, _, frames, *sides = batch.latents.shape
    area = sides[0] * sides[1]
    clean, unknown = pack(batch.latents), (1 - batch.known).repeat_interleave(area, 1)
    judged = batch.described.repeat_interleave(area, 1) * unknown
    sigma, noise = draw_sigma(len(clean), *LEVELS), torch.randn_like(clean)
    if batch.known.any() or batch.beside is not None:  # otherwise a timestep per clip is enough, and cheaper
        sigma = sigma * unknown
    noisy = clean + (noise - clean) * sigma[..., None]
    where = places(begins(torch.arange(frames))[None], sides, batch.fps).expand(len(clean), -1, -1)
    if batch.beside is not None:
        more = pack(batch.beside)
        noisy, sigma = torch.cat([noisy, more], 1), torch.cat([sigma, torch.zeros(more.shape[:2])], 1)
        where = torch.cat([where, places(batch.at, sides, batch.fps)], 2)
        shown = torch.zeros(len(clean), frames).scatter(1, latent_frame_of(batch.at), SHOWN - 1)
        judged = judged * (1 + shown.repeat_interleave(area, 1))
    made = velocity(net, noisy, sigma, text, where)[:, : clean.shape[1]]
    error = ((made - (noise - clean)).pow(2) * weights).mean(-1)
    return (error * judged).sum() / judged.sum().clamp(min=1)


def cache_latents(work: Path, vae: AutoencoderKLLTXVideo, chunk: int = 64) -> list[Latents]:
    """Renders and encodes every bucket once; later runs read `work`/latents.pt."""
    path = work / "latents.pt"
    if path.exists():
        return torch.load(path, weights_only=False)
    cached, seeds = [], count(1_000_000)
    for bucket in tqdm(BUCKETS, desc="latents"):
        parts, pictures, scenes, turns = [], [], [], []
        for _ in range(bucket.count // chunk):
            video, drawn, turned = bucket.clips(next(seeds), chunk)
            parts.append(encode(vae, video).half())
            lasts = video[:, :, ::LATENT_FRAME]
            alone = encode(vae, lasts.transpose(1, 2).flatten(0, 1)[:, :, None], 64)
            pictures.append(alone.squeeze(2).unflatten(0, (chunk, -1)).transpose(1, 2).half())
            scenes += drawn
            turns += turned
        cached.append(Latents(bucket, torch.cat(parts), torch.cat(pictures), scenes, turns))
    torch.save(cached, path)
    return cached


def draw_clip(scene: Scene, turn: Turn | None, frames: int, rng: random.Random) -> tuple[Scene, Tensor, int | None]:
    """What a caption says of a clip of so many latent frames, the mask [frames] of what it describes, and the turn."""
    part = torch.ones(frames)
    if not turn or turn.back:
        return scene, part, None
    at, second = latent_frame_of(turn.frame), rng.random() < 0.6
    part[slice(at) if second else slice(at, None)] = 0
    return (turn.scene if second else scene), part, at


def ends_of(turn: Turn, frames: int) -> Tensor:
    """The latent frames [frames] before and behind a swing's way back."""
    known = torch.ones(frames)
    known[latent_frame_of(turn.frame) : latent_frame_of(turn.back)] = 0
    return known


def draw_batch(cached: list[Latents], rng: random.Random, foreign: Plain | None = None) -> Batch:
    """The clips of a training step, each with a caption for it, or for one of its two parts if it turns.

    foreign: pictures of which some clips have one beside them, and in them.
    """
    chosen = rng.choices(cached, [part.bucket.share for part in cached])[0]
    swinging = chosen.bucket.swinging
    possible = [i for i, turn in enumerate(chosen.turns) if turn or not swinging]  # a shape that stands cannot swing
    indices, kind = rng.sample(possible, BATCH), rng.random()
    frames, captions, described, known = chosen.latents.shape[2], [], [], []
    for i in indices:
        scene, part, at = draw_clip(chosen.scenes[i], chosen.turns[i], frames, rng)
        grown = scene.motion == "grow" or (at and chosen.scenes[i].motion == "grow")
        nothing = rng.random() < shared_text.NO_CAPTION
        captions.append("" if nothing else training_caption(scene, rng, bool(grown and at)))
        described.append(part)
        if swinging:
            known.append(ends_of(chosen.turns[i], frames))
        else:
            known.append(draw_known(frames, at, rng) if kind < INSIDE else torch.zeros(frames))
    batch = Batch(
        chosen.latents[indices].float(), captions, chosen.bucket.fps, torch.stack(described), torch.stack(known)
    )
    if swinging or not INSIDE <= kind < INSIDE + BESIDE:
        return batch
    return with_pictures_beside(batch, chosen.pictures[indices].float(), rng, foreign)


def with_pictures_beside(batch: Batch, pictures: Tensor, rng: random.Random, foreign: Plain | None) -> Batch:
    """The batch with one or two of its clips' pictures [B, C, T, h, w] beside each."""
    frames = pictures.shape[2]
    number = rng.randint(1, BESIDE_MOST)
    at = torch.tensor([draw_places(frames, number, rng) for _ in pictures])
    beside = torch.stack([picture[:, where] for picture, where in zip(pictures, at, strict=True)])
    batch = replace(batch, beside=beside, at=LATENT_FRAME * at)
    if foreign and foreign.pictures.shape[2:] == pictures.shape[3:]:
        put_foreign(batch, foreign, rng)
    return batch


def put_foreign(batch: Batch, foreign: Plain, rng: random.Random) -> None:
    """Puts a plain picture in place of one beside a clip, at any frame of its latent frame, and that in the clip."""
    for clip, beside, at in zip(batch.latents, batch.beside, batch.at, strict=True):
        if rng.random() >= PLAIN:
            continue
        drawn, which = rng.randrange(len(foreign.pictures)), rng.randrange(len(at))
        latent = latent_frame_of(int(at[which]))
        beside[:, which] = foreign.pictures[drawn]
        clip[:, latent] = foreign.stills[drawn] if latent else foreign.pictures[drawn]
        at[which] -= rng.randrange(LATENT_FRAME) if latent else 0


def draw_places(frames: int, number: int, rng: random.Random) -> list[int]:
    """The latent frames that pictures beside a clip show: mostly its ends."""
    if rng.random() < 0.6:
        return [0, frames - 1] if number == 2 else [rng.choice((0, 0, frames - 1))]
    return rng.sample(range(frames), number)


def train(work: Path, minutes: float, release: Path | None = None) -> None:
    """Trains the transformer with the autoencoder in `work`, and saves the average in `work`/transformer."""
    vae = AutoencoderKLLTXVideo.from_pretrained(work / "vae").eval().requires_grad_(False)
    encoder, tokenizer = shared_text.load()
    cached, weights, foreign = cache_latents(work, vae), visibility(vae), plain(vae)
    net = build()
    factor = warm_start(net, release)
    mean = copy.deepcopy(net).requires_grad_(False)
    ends = [net.proj_in.weight, net.proj_out.weight]
    optimiser = Muon(net.parameters(), lr=0.014, adam_lr=2e-3, weight_decay=0.01, adam_only=ends, every=2)
    run = Run(work, "transformer", minutes, net=net, mean=mean, optimiser=optimiser)
    for step in run:
        optimiser.scale_lr(factor * learning_rate(run.fraction, step))
        batch = draw_batch(cached, run.rng, foreign)
        loss = loss_of(net, batch, shared_text.embed(encoder, tokenizer, batch.captions), weights)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        average(mean, net, step)
        kind = "_part" if not batch.described.all() else "_beside" if batch.beside is not None else ""
        run.record(**{"loss" + (kind or "_given" * bool(batch.known.any())): loss.item()})
    mean.save_pretrained(work / "transformer")
