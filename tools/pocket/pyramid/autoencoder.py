"""The pocket Pyramid's autoencoder: Pyramid Flow's published layout, solved for, and two trained levels of the decoder.

For clips of flat shapes, the best linear code of 8 x 8 x 8 pixels in 16 numbers keeps nearly everything visible. It
follows from the pixels' second moments alone. In the published layers, those that change the size compute the code, and
all others pass it on. The decoder's residual blocks, where a cell is 4 frames x 4 x 4 pixels and 2 x 2 x 2, learn what
the linear code loses: edges.
"""

import math
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import torch
from atelier.models.families.pyramid_flow.causal_vae import STATISTICS, CausalVideoVAE, denormalised, normalised
from torch import Tensor, nn

from pocket import blocks, decoders
from pocket.blocks import Shape, cut, join, spread
from pocket.training import warm_start
from pocket.world import clips

NUMBERS, SIDE = 16, 8  # of a block: the numbers of its code, and its frames, rows and columns
# Blocks that the layers put together, and what they take them apart to: (frames, rows and columns).
INWARDS = ((1, 1), (1, 2), (2, 2), (2, 4), (4, 4), (4, 8), (8, 8))
OUTWARDS = ((8, 8), (8, 4), (4, 4), (4, 2), (2, 2), (2, 1), (1, 1))
NARROW, WIDTH = 24, 48  # numbers that a block is told in on the way: up to 2 x 2 x 2 pixels, and beyond
TRAINED = (1, 2)  # the decoder's levels whose residual blocks are trained, from blocks to pixels
STEADY = 16.0  # beside it and its negative a norm nearly keeps what numbers tell of each other's size
CONFIG = {  # residual blocks only where the width changes, and where they are trained
    "encoder_block_out_channels": (NARROW, WIDTH, WIDTH, WIDTH),
    "encoder_layers_per_block": (0, 1, 0, 0),
    "encoder_norm_num_groups": 1,
    "decoder_block_out_channels": (NARROW, NARROW, WIDTH, WIDTH),
    "decoder_layers_per_block": (0, 1, 1, 0),
    "decoder_norm_num_groups": 1,
}
LATENTS = STATISTICS["miniflux"]
SEEDS = range(1_000_000, 1_000_008)  # of 64 clips each
LOG_VARIANCE = -12.0  # of the posterior: nearly a point
LARGE = 1024.0  # a norm with a channel of this and one of its negative divides by the same number everywhere
EVENNESS = 0.75  # of the latents' deviations: 0 leaves them as the pixels', 1 makes them equal
BATCH = 4
LATENT_NOISE = 0.3  # at most, of the latents' deviation: makes the decoder robust to the transformer's errors


class Moments(NamedTuple):
    """Means and second moments of the pixels of first frames' blocks, 8 x 8, and of other blocks, 8 x 8 x 8.

    Blocks are vectors in the order frame, row, column, colour.
    """

    first_mean: Tensor
    first: Tensor
    mean: Tensor
    second: Tensor


class Code(NamedTuple):
    """latent = encode @ block + offset; block = decode @ (latent - offset).

    A clip's first frame is the last of eight in its block, after seven of zeros; only it is decoded.
    """

    encode: Tensor  # [16, 8 * 8 * 8 * 3]
    decode: Tensor
    offset: Tensor


# ------------------------------------------------------------------------------------------------ the best linear code


def moments(video: Tensor) -> Moments:
    """Of clips [B, 3, 1 + 8 n, H, W] in -1..1."""

    def of(part: Tensor, frames: int) -> tuple[Tensor, Tensor]:
        vectors = cut(part, (frames, SIDE))
        return vectors.mean(0), vectors.T @ vectors / len(vectors)

    return Moments(*of(video[:, :, :1], 1), *of(video[:, :, 1:], SIDE))


def error(encode: Tensor, decode: Tensor, second: Tensor) -> Tensor:
    """Mean squared error of coding vectors with these second moments."""
    coded = encode @ second
    kept = ((decode.T @ decode) * (coded @ encode.T)).sum() - 2 * (decode * coded.T).sum()
    return (second.trace() + kept) / len(second)


def solve(found: Moments, iterations: int = 500) -> Code:
    """The code with the least squared error, with equal weight for first frames and for all others."""
    frame = len(found.first)
    encode = torch.linalg.eigh(found.second).eigenvectors[:, -NUMBERS:].T.contiguous()
    decode = encode.T.contiguous()
    parameters = [part.requires_grad_() for part in (encode, decode)]
    optimiser = torch.optim.LBFGS(parameters, max_iter=iterations, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimiser.zero_grad()
        of_first = error(encode[:, -frame:], decode[-frame:], found.first)
        loss = of_first + error(encode, decode, found.second)
        loss.backward()
        return loss

    optimiser.step(closure)
    return balanced(Code(encode.detach(), decode.detach(), torch.zeros(NUMBERS)), found)


def balanced(code: Code, found: Moments) -> Code:
    """The same code in axes of falling weight in the picture, scaled and shifted to what the network expects.

    First frames and others use the numbers differently. Where both together have the same spread in every direction,
    an error of the network's costs either about as much as it costs in a code of its own.
    """
    frame = len(found.first)
    kinds = (
        (code.encode[:, -frame:], found.first_mean, found.first, *LATENTS.first),
        (code.encode, found.mean, found.second, *LATENTS.others),
    )
    centres = [part @ mean for part, mean, *_ in kinds]
    spread = sum(
        factor**2 * (part @ second @ part.T - centre.outer(centre))
        for centre, (part, _, second, _, factor) in zip(centres, kinds, strict=True)
    )
    root = torch.linalg.cholesky(spread / len(kinds))
    _, weights, axes = torch.linalg.svd(code.decode @ root, full_matrices=False)
    scale = weights ** (1 - EVENNESS)
    scale = scale / scale.square().mean().sqrt()
    turn = scale[:, None] * axes @ torch.linalg.inv(root)
    offsets = [shift - turn @ centre for centre, (*_, shift, _) in zip(centres, kinds, strict=True)]
    return Code(turn @ code.encode, code.decode @ torch.linalg.inv(turn), sum(offsets) / len(kinds))


# ------------------------------------------------------------------------------------------------ as published layers


def basis(columns: Tensor, shape: Shape, room: int = 0) -> Tensor:
    """What the pixels of blocks of a shape are told in, [pixels, numbers]: all that `columns` [1536, 16] ask.

    room: channels to leave for constants where there are WIDTH.
    """
    return blocks.basis(columns, (SIDE, SIDE), shape, WIDTH - room if shape[1] > 2 else NARROW)


def build(code: Code) -> CausalVideoVAE:
    """The autoencoder that computes this code; the trained blocks are idle yet."""
    vae = CausalVideoVAE(**CONFIG)
    with torch.no_grad():
        for parameter in vae.parameters():
            parameter.zero_()
        write_encoder(vae, code)
        write_decoder(vae, code)
    return vae


def place(conv: nn.Conv3d, matrix: Tensor, frame: int = 2, row: int = 1, column: int = 1) -> None:
    """Sets a convolution's weights [out, in] at one place of its window; the default passes the pixel through."""
    conv.weight[: matrix.shape[0], : matrix.shape[1], frame, row, column] = matrix


def pass_on(level: nn.Module) -> None:
    """Makes a level's residual blocks change the width only."""
    for resnet in level.resnets:
        if resnet.conv_shortcut:
            nn.init.dirac_(resnet.conv_shortcut.conv.weight)


def write_encoder(vae: CausalVideoVAE, code: Code) -> None:
    """From pixels to blocks of 8 x 8 x 8, doubling the sides and the frames of what each layer knows in turn."""
    encoder, told = vae.encoder, [basis(code.encode.T, shape) for shape in INWARDS]
    place(encoder.conv_in.conv, told[0].T)
    joins = [join(*pair, shapes) for pair, shapes in zip(pairwise(told), pairwise(INWARDS), strict=True)]
    joins[-1] = torch.cat([joins[-1], -joins[-1]], dim=2)
    for level, spatial, temporal in zip(encoder.down_blocks, joins[::2], joins[1::2], strict=False):
        pass_on(level)
        for matrix, (row, column) in zip(spatial, ((1, 1), (1, 2), (2, 1), (2, 2)), strict=True):
            place(level.downsamplers[0].conv.conv, matrix.T, row=row, column=column)
        last = level.temporal_downsamplers[0].conv.conv
        for matrix, frame in zip(temporal, (1, 2), strict=True):
            place(last, matrix.T, frame=frame)
    through_norm(encoder, last.bias, NUMBERS)
    vae.quant_conv.conv.weight[:NUMBERS, :NUMBERS, 0, 0, 0] = torch.eye(NUMBERS)
    vae.quant_conv.conv.bias[:NUMBERS] = code.offset
    vae.quant_conv.conv.bias[NUMBERS:] = LOG_VARIANCE


def write_decoder(vae: CausalVideoVAE, code: Code) -> None:
    """From blocks of 8 x 8 x 8 to pixels, halving the sides and the frames of what each layer knows in turn."""
    decoder, told = vae.decoder, [basis(code.decode, shape, room=2) for shape in OUTWARDS]
    nn.init.dirac_(vae.post_quant_conv.conv.weight)
    vae.post_quant_conv.conv.bias[:] = -code.offset
    place(decoder.conv_in.conv, torch.eye(NUMBERS))
    joins = [join(b, a, (y, x)) for (a, b), (x, y) in zip(pairwise(told), pairwise(OUTWARDS), strict=True)]
    joins[-1] = torch.cat([joins[-1], -joins[-1]], dim=1)
    for level, spatial, temporal in zip(decoder.up_blocks, joins[::2], joins[1::2], strict=False):
        pass_on(level)
        place(level.upsamplers[0].conv.conv, spread(spatial))
        last = level.temporal_upsamplers[0].conv.conv
        place(last, spread(temporal))
    for number in TRAINED:
        constants(decoder.up_blocks[number - 1].temporal_upsamplers[0].conv.conv.bias.view(-1, 2), STEADY)
        fresh_block(decoder.up_blocks[number].resnets[0])
    through_norm(decoder, last.bias.view(-1, 2), 3)


def constants(bias: Tensor, value: float) -> None:
    """Makes the last two channels of these biases of a convolution a value and its negative."""
    bias[-2], bias[-1] = value, -value


def fresh_block(resnet: nn.Module) -> None:
    """Initial weights for a trained block beside constants. Its output is zero: training starts from the code."""
    width = len(resnet.norm1.weight)
    resnet.norm1.weight[: width - 2] = STEADY * math.sqrt(2 / width)  # numbers pass as they are, constants do not
    resnet.norm2.reset_parameters()
    resnet.conv1.conv.reset_parameters()


def through_norm(half: nn.Module, bias: Tensor, count: int) -> None:
    """Passes `count` channels through a half's last norm, SiLU and convolution: silu(x) - silu(-x) = x.

    The channels are followed by their negatives. bias: of the convolution that makes all these channels.
    """
    constants(bias[: 2 * count + 2], LARGE)
    half.conv_norm_out.weight[:] = LARGE * math.sqrt(2 / len(half.conv_norm_out.weight))
    place(half.conv_out.conv, torch.cat([torch.eye(count), -torch.eye(count)], dim=1))


# ------------------------------------------------------------------------------------------------ use


@torch.no_grad()
def encode(vae: CausalVideoVAE, video: Tensor, batch: int = 16) -> Tensor:
    """Clips [B, 3, T, H, W] in -1..1 -> latents as the network sees them."""
    parts = [vae.encoder_step()(part, True).chunk(2, dim=1)[0] for part in video.split(batch)]
    return normalised(torch.cat(parts), LATENTS)


@torch.no_grad()
def decode(vae: CausalVideoVAE, latents: Tensor, batch: int = 16) -> Tensor:
    """Latents as the network sees them -> clips [B, 3, T, H, W] in -1..1."""
    return torch.cat([decoded(vae, part) for part in latents.split(batch)]).clamp(-1, 1)


def decoded(vae: CausalVideoVAE, latents: Tensor) -> Tensor:
    """As `decode`, at once, neither clamped nor cut off from training."""
    return vae.decoder_step()(denormalised(latents, LATENTS), True)


# ------------------------------------------------------------------------------------------------ training


def train(work: Path, minutes: float = 0, release: Path | None = None) -> None:
    """Saves the autoencoder in `work`/causal_video_vae in float32: solved for, then `minutes` of its decoder's blocks.

    The encoder stays as it is solved, so the transformer may train before, after and between.
    """
    vae = build(solve(moments(torch.cat([clips(64, seed).video for seed in SEEDS]))))
    if release:
        warm_start(vae, release)
    vae.requires_grad_(False)
    part = nn.ModuleList(vae.decoder.up_blocks[level].resnets for level in TRAINED).requires_grad_()
    pool = decoders.Pool(partial(encode, vae))
    draw = partial(pool.draw, count=BATCH)
    plan = decoders.Plan(LATENT_NOISE, lr=0.005, adam_lr=1e-3)
    decoders.train(work, minutes, part, lambda latents: decoded(vae, latents), draw, plan)
    vae.save_pretrained(work / "causal_video_vae")
