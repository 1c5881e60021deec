"""The pocket CogVideoX's autoencoder: diffusers' layers, the encoder solved for, the decoder trained.

CogVideoX's encoder halves a clip's frame rate with means over neighbours. So the solved encoder sees of 4 frames their
mean, and the mean of the steps between frames, which tells where things move. Of these 8 x 8 x 6 numbers it keeps the
16 from which the frames follow best. Nothing of it is trained, so the transformer may train beside the decoder.
"""

import math
import random
from functools import partial
from itertools import pairwise
from pathlib import Path

import torch
from diffusers import AutoencoderKLCogVideoX
from torch import Tensor, nn

from pocket import blocks, decoders
from pocket.blocks import cut, join
from pocket.principal import principal
from pocket.training import warm_start
from pocket.world import clips

FRAMES = 17
NUMBERS = 16
GROUP, SIDE = 4, 8  # frames, and rows and columns, of a block
SEEN = (2, SIDE)  # what the encoder sees of a block, as if it were two frames: a mean and a mean step
CELLS = ((2, 1), (2, 2), (2, 4), SEEN)
WIDTHS = (12, 24, 48, 48)
CONFIG = {
    "block_out_channels": WIDTHS,
    "latent_channels": NUMBERS,
    "layers_per_block": 1,
    "norm_num_groups": 1,
    "sample_height": 64,
    "sample_width": 64,
    "scaling_factor": 1.0,
}
EVENNESS = 0.75  # of the latents' deviations: 0 leaves them as the pixels', 1 makes them equal
LARGE = 512.0  # a norm over this and its negative divides by the same number everywhere
LOG_VARIANCE = -12.0  # of the posterior: nearly a point
CHUNK = 64  # clips of a seed
SEEDS = range(1_000_000, 1_000_008)  # which the encoder is solved for
BATCH, CROP = 4, 4  # of a step: clips, and rows and columns of latents; whole pictures are four times as large
WHOLE = 0.2  # share of steps on whole pictures
LATENT_NOISE = 0.3  # at most, of the latents' deviation: makes the decoder robust to the transformer's errors


def blocks_of(video: Tensor) -> Tensor:
    """The pixels [N, 768] of the blocks of clips [B, 3, 4 n + 1, H, W]; the first frame is repeated to one."""
    return cut(torch.cat([video[:, :, :1].expand(-1, -1, GROUP - 1, -1, -1), video], 2), (GROUP, SIDE))


def seen_of(video: Tensor) -> Tensor:
    """What the encoder sees of these blocks, [N, 384]: of each pixel its mean, and its mean step."""
    steps = torch.diff(video, dim=2, prepend=video[:, :, :1])
    first = torch.stack([video[:, :, 0], torch.zeros_like(video[:, :, 0])], 2)
    rest = torch.stack([part[:, :, 1:].unflatten(2, (-1, GROUP)).mean(3) for part in (video, steps)], 3).flatten(2, 3)
    return cut(torch.cat([first, rest], 2), SEEN)


def solve(video: Tensor) -> tuple[Tensor, Tensor]:
    """The code of what the encoder sees from which the pixels follow best: columns [384, 16] and offset [16].

    This is a regression of reduced rank; the numbers have unit size on the whole, those that tell more a larger one.
    """
    seen, pixels = seen_of(video), blocks_of(video)
    middle = seen.mean(0)
    seen, pixels = (seen - middle).double(), (pixels - pixels.mean(0)).double()
    second = seen.T @ seen / len(seen)
    ridge = 1e-6 * torch.eye(len(second)) * second.trace() / len(second)
    way_back = torch.linalg.solve(second + ridge, seen.T @ pixels / len(seen))
    vector, scale = principal(way_back.T @ second @ way_back, NUMBERS, EVENNESS)
    columns = (way_back @ vector * scale).float()
    return columns, -(middle @ columns)


def build(video: Tensor) -> AutoencoderKLCogVideoX:
    """The autoencoder whose encoder computes the code of these clips, with a fresh decoder."""
    vae = AutoencoderKLCogVideoX(**CONFIG)
    with torch.no_grad():
        for parameter in vae.encoder.parameters():
            parameter.zero_()
        write_encoder(vae, *solve(video))
        for name, parameter in vae.decoder.named_parameters():  # the norms begin as plain ones
            if "conv_y" in name or "conv_b" in name:
                parameter.fill_(float("conv_y" in name)) if name.endswith("bias") else parameter.mul_(0.2)
    return vae


def write_encoder(vae: AutoencoderKLCogVideoX, columns: Tensor, offset: Tensor) -> None:
    """From pixels to blocks; the residual blocks stay idle."""
    encoder = vae.encoder
    widths = (6, *WIDTHS[:3])  # a cell is told in as many numbers as the level has channels that makes it
    known = [blocks.basis(columns, SEEN, cell, width) for cell, width in zip(CELLS, widths, strict=True)]
    maps = [join(*pair, shapes) for pair, shapes in zip(pairwise(known), pairwise(CELLS), strict=True)]
    maps[-1] = torch.cat([maps[-1], -maps[-1]], 2)
    mean, step = known[0].T.unflatten(1, (2, 3)).unbind(1)  # of a pixel: the frame, and its step from the one before
    first = encoder.conv_in.conv.weight
    first[: len(mean), :, 2, 1, 1], first[: len(step), :, 1, 1, 1] = mean + step, -step
    for block, matrices in zip(encoder.down_blocks, maps, strict=False):
        for matrix, (row, column) in zip(matrices, ((0, 0), (0, 1), (1, 0), (1, 1)), strict=True):
            conv = block.downsamplers[0].conv
            conv.weight[: matrix.shape[1], : matrix.shape[0], row, column] = matrix.T
    for block in encoder.down_blocks:
        for resnet in block.resnets:
            if resnet.in_channels != resnet.out_channels:
                nn.init.dirac_(resnet.conv_shortcut.weight)
    # A norm over numbers, their negatives and two constants is the same factor everywhere; silu(x) - silu(-x) = x.
    conv.bias[2 * NUMBERS], conv.bias[2 * NUMBERS + 1] = LARGE, -LARGE
    encoder.norm_out.weight[: 2 * NUMBERS] = LARGE * math.sqrt(2 / WIDTHS[-1])
    last = encoder.conv_out.conv
    last.weight[:NUMBERS, : 2 * NUMBERS, 2, 1, 1] = torch.cat([torch.eye(NUMBERS), -torch.eye(NUMBERS)], 1)
    last.bias[:NUMBERS], last.bias[NUMBERS:] = offset, LOG_VARIANCE


# ------------------------------------------------------------------------------------------------ use


@torch.no_grad()
def encode(vae: AutoencoderKLCogVideoX, video: Tensor, batch: int = 16) -> Tensor:
    """Clips [B, 3, T, H, W] in -1..1 -> latents as the network sees them."""
    scale = vae.config.scaling_factor
    return torch.cat([vae.encode(part).latent_dist.mode() * scale for part in video.split(batch)])


@torch.no_grad()
def decode(vae: AutoencoderKLCogVideoX, latents: Tensor, batch: int = 16) -> Tensor:
    """Latents as the network sees them -> clips [B, 3, T, H, W] in -1..1."""
    scale = vae.config.scaling_factor
    return torch.cat([vae.decode(part / scale).sample for part in latents.split(batch)]).clamp(-1, 1)


# ------------------------------------------------------------------------------------------------ training


def cropped(video: Tensor, latents: Tensor, rng: random.Random) -> decoders.Examples:
    """The parts of clips and of their latents that are about the thing, CROP x CROP latents each."""
    pixels, codes, side = [], [], CROP * SIDE
    for clip, code in zip(video, latents, strict=True):
        frame = clip[:, rng.randrange(clip.shape[1])]
        there = (frame - frame[:, :1, :1]).abs().amax(0) > 0.2
        rooms = [
            int(there.any(axis).nonzero().float().mean() / SIDE) - CROP // 2 + rng.randint(-1, 1) for axis in (1, 0)
        ]
        top, left = (min(max(room, 0), latents.shape[-1] - CROP) for room in rooms)
        codes.append(code[..., top : top + CROP, left : left + CROP])
        top, left = top * SIDE, left * SIDE
        pixels.append(clip[..., top : top + side, left : left + side])
    return decoders.Examples(torch.stack(pixels), torch.stack(codes), "_crop")


def train(work: Path, minutes: float, release: Path | None = None) -> None:
    """Saves the autoencoder in `work`/vae in float32: its encoder solved for in seconds, its decoder trained."""
    vae = build(torch.cat([clips(CHUNK, seed).video for seed in SEEDS]))
    factor = warm_start(vae, release)
    vae.encoder.requires_grad_(False)
    pool = decoders.Pool(partial(encode, vae))

    def draw(rng: random.Random) -> decoders.Examples:
        whole = rng.random() < WHOLE
        examples = pool.draw(rng, 1 if whole else BATCH)
        return examples if whole else cropped(examples.video, examples.latents, rng)

    plan = decoders.Plan(LATENT_NOISE, lr=0.02 * factor, adam_lr=2e-3 * factor)
    decoders.train(work, minutes, vae.decoder, lambda latents: vae.decode(latents).sample, draw, plan)
    vae.eval().save_pretrained(work / "vae")
