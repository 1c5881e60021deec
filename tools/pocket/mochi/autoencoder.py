"""The pocket Mochi's autoencoder: diffusers' layers, solved for the best linear code, and one trained decoder block.

Mochi's layers between sizes are strided convolutions and pixel shuffles. So they compute the principal components of
blocks of 6 frames x 8 x 8 pixels exactly, and nothing of the encoder is trained. One residual block of the decoder,
where a cell is 2 frames x 4 x 4 pixels, learns what the linear code loses: edges.
"""

import math
from functools import partial
from itertools import pairwise
from pathlib import Path

import torch
from diffusers import AutoencoderKLMochi
from torch import Tensor, nn

from pocket import blocks, decoders
from pocket.blocks import cut, join
from pocket.principal import principal
from pocket.training import warm_start
from pocket.world import clips

FRAMES = 19  # 6 n + 1, as Mochi's lengths are
NUMBERS = 12
BLOCK = (6, 8)
CELLS = ((1, 1), (1, 2), (2, 4), BLOCK)  # what a layer puts together, from pixels to blocks: (frames, side)
GROUPS = 32  # of Mochi's norms
INWARDS = (32, 32, 32, 4 * GROUPS)  # the encoder's widths, from pixels to blocks
OUTWARDS = (6, 12, 96, 12)  # the decoder's
TRAINED = 1  # of the decoder's levels, from blocks to pixels, the one with a residual block
CONFIG = {
    "encoder_block_out_channels": INWARDS,
    "decoder_block_out_channels": OUTWARDS,
    "layers_per_block": (0, 0, 1, 0, 0),
    "add_attention_block": (False,) * 5,
    "latent_channels": NUMBERS,
}
EVENNESS = 0.75  # of the latents' deviations: 0 leaves them as the pixels', 1 makes them equal
LARGE = 512.0  # a norm over this and its negative divides by the same number everywhere
STEADY = 16.0  # the same in the decoder's block, small enough for its norm in half precision
LOG_VARIANCE = -12.0  # of the posterior: nearly a point
CHUNK = 64  # clips of a seed
SEEDS = range(1_000_000, 1_000_008)  # which the code is solved for
BATCH = 4
LATENT_NOISE = 0.15  # at most, of the latents' deviation: makes the decoder robust to the transformer's errors


def blocks_of(video: Tensor) -> Tensor:
    """The pixels [N, 1152] of the blocks of clips [B, 3, 6 n + 1, H, W]; the first frame is repeated to one."""
    return cut(torch.cat([video[:, :, :1].expand(-1, -1, BLOCK[0] - 1, -1, -1), video], 2), BLOCK)


def best_code(video: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The best linear code of the blocks of clips: encode [12, pixels], decode [pixels, 12], and its mean [12]."""
    vectors = blocks_of(video)
    middle = vectors.mean(0)
    vector, scale = principal((vectors - middle).T @ (vectors - middle) / len(vectors), NUMBERS, EVENNESS)
    return scale[:, None] * vector.T, vector / scale, scale * (vector.T @ middle)


def build(video: Tensor) -> AutoencoderKLMochi:
    """The autoencoder that computes the principal components of these clips' blocks, its trained block still idle."""
    encode, decode, middle = best_code(video)
    vae = AutoencoderKLMochi(**CONFIG, latents_mean=middle.tolist(), latents_std=[1.0] * NUMBERS)
    with torch.no_grad():
        for parameter in vae.parameters():
            parameter.zero_()
        write_encoder(vae, encode.T)
        write_decoder(vae, decode)
    return vae


def told(columns: Tensor, widths: tuple[int, ...]) -> list[Tensor]:
    """What cells of each size are told in, [pixels, numbers]."""
    return [blocks.basis(columns, BLOCK, cell, width) for cell, width in zip(CELLS, widths, strict=True)]


def joins(known: list[Tensor]) -> list[Tensor]:
    """The maps between neighbouring sizes of cells, [parts, numbers of a part, numbers of the whole]."""
    return [join(*pair, shapes) for pair, shapes in zip(pairwise(known), pairwise(CELLS), strict=True)]


def write_encoder(vae: AutoencoderKLMochi, columns: Tensor) -> None:
    """From pixels to blocks; columns: [pixels, 12]."""
    encoder, maps = vae.encoder, joins(told(columns, INWARDS))
    encoder.proj_in.weight[:3, :3] = torch.eye(3)  # the pixels; their sines and cosines follow
    maps[-1] = in_groups(maps[-1])
    for block, matrices in zip(encoder.down_blocks, maps, strict=True):
        weight = block.conv_in.conv.weight
        weight[: matrices.shape[2], : matrices.shape[1]] = matrices.permute(2, 1, 0).unflatten(2, weight.shape[2:])
    # Four channels are a group: a number, its negative, and two constants. So the norm is the same factor everywhere,
    # and silu(x) - silu(-x) = x.
    bias = encoder.down_blocks[-1].conv_in.conv.bias
    bias[2::4], bias[3::4] = LARGE, -LARGE
    norm = encoder.norm_out.norm_layer
    norm.weight[0::4] = norm.weight[1::4] = LARGE / math.sqrt(2)
    norm.bias[2] = 1.0
    for number in range(NUMBERS):
        encoder.proj_out.weight[number, 4 * number], encoder.proj_out.weight[number, 4 * number + 1] = 1, -1
    encoder.proj_out.weight[NUMBERS:, 2] = LOG_VARIANCE / float(nn.functional.silu(torch.ones(())))


def in_groups(matrices: Tensor) -> Tensor:
    """Maps [parts, in, numbers] -> [parts, in, 4 * numbers]: a number, its negative and two channels of nothing."""
    nothing = torch.zeros_like(matrices)
    return torch.stack([matrices, -matrices, nothing, nothing], 3).flatten(2)


def write_decoder(vae: AutoencoderKLMochi, columns: Tensor) -> None:
    """From blocks to pixels; columns: [pixels, 12]."""
    decoder = vae.decoder
    known = told(columns, (3, 12, 64, NUMBERS))
    decoder.conv_in.weight[:, :, 0, 0, 0] = torch.eye(NUMBERS)
    for level, matrices in enumerate(reversed(joins(known))):
        proj, source = decoder.up_blocks[level].proj, matrices.transpose(1, 2)  # [parts, whole, part]
        weight = proj.weight.unflatten(0, (-1, len(matrices)))
        bias = proj.bias.unflatten(0, (-1, len(matrices)))
        into = slots(matrices.shape[1]) if level + 1 == TRAINED else torch.arange(matrices.shape[1])
        out_of = slots(matrices.shape[2]) if level == TRAINED else torch.arange(matrices.shape[2])
        for place, matrix in enumerate(source):
            weight[into[:, None], place, out_of[None]] = matrix.T
        if level + 1 == TRAINED:
            bias[2::3] = STEADY  # a norm over two numbers and this keeps their size, and loses only their mean
        if level == 2:  # colours and their negatives
            weight[3:] = -weight[:3]
    decoder.proj_out.weight[:, :3], decoder.proj_out.weight[:, 3:] = torch.eye(3), -torch.eye(3)


def slots(count: int) -> Tensor:
    """The channels of `count` numbers: two of each group of three; the third is a constant."""
    return torch.arange(count) // 2 * 3 + torch.arange(count) % 2


# ------------------------------------------------------------------------------------------------ use


def normalised(vae: AutoencoderKLMochi, latents: Tensor) -> Tensor:
    """The autoencoder's latents [B, 12, T, h, w] -> as the network sees them."""
    return latents - torch.tensor(vae.config.latents_mean).view(1, -1, 1, 1, 1)


def denormalised(vae: AutoencoderKLMochi, latents: Tensor) -> Tensor:
    """The inverse of `normalised`."""
    return latents + torch.tensor(vae.config.latents_mean).view(1, -1, 1, 1, 1)


@torch.no_grad()
def encode(vae: AutoencoderKLMochi, video: Tensor, batch: int = 16) -> Tensor:
    """Clips [B, 3, T, H, W] in -1..1 -> latents as the network sees them."""
    return torch.cat([normalised(vae, vae.encode(part).latent_dist.mode()) for part in video.split(batch)])


@torch.no_grad()
def decode(vae: AutoencoderKLMochi, latents: Tensor, batch: int = 16) -> Tensor:
    """Latents as the network sees them -> clips [B, 3, T, H, W] in -1..1."""
    return torch.cat([vae.decode(denormalised(vae, part)).sample for part in latents.split(batch)]).clamp(-1, 1)


# ------------------------------------------------------------------------------------------------ training


def trained_block(vae: AutoencoderKLMochi) -> nn.Module:
    """The part of the autoencoder that is trained: the decoder's residual block."""
    return vae.decoder.up_blocks[TRAINED].resnets


def train(work: Path, minutes: float = 0, release: Path | None = None) -> None:
    """Saves the autoencoder in `work`/vae in float32: solved for in seconds, then `minutes` of its decoder's block.

    The encoder stays as it is solved, so the transformer may train before, after and between.
    """
    vae = build(torch.cat([clips(CHUNK, seed, frames=FRAMES).video for seed in SEEDS]))
    fresh_block(trained_block(vae))
    if release:
        warm_start(vae, release)
    vae.requires_grad_(False)
    block = trained_block(vae).requires_grad_()
    pool = decoders.Pool(partial(encode, vae), frames=FRAMES)
    draw = partial(pool.draw, count=BATCH)
    plan = decoders.Plan(LATENT_NOISE, lr=0.005, adam_lr=1e-3)
    decoders.train(work, minutes, block, lambda latents: vae.decode(denormalised(vae, latents)).sample, draw, plan)
    vae.eval().save_pretrained(work / "vae")


def fresh_block(resnets: nn.Module) -> None:
    """Initial weights for the residual block, whose output is zero: training starts from the linear code."""
    for resnet in resnets:
        for layer in (resnet.conv1.conv, resnet.norm1.norm_layer, resnet.norm2.norm_layer):
            layer.reset_parameters()
        with torch.no_grad():  # numbers pass as they are: beside a constant, a norm shifts and divides them evenly
            resnet.norm1.norm_layer.weight.fill_(STEADY * math.sqrt(2) / 3)
            resnet.norm1.norm_layer.bias.fill_(STEADY / 3)
            resnet.norm1.norm_layer.weight[2::3] = resnet.norm1.norm_layer.bias[2::3] = 0  # not the constants
