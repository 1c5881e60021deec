"""The pocket LTX's video autoencoder: LTX 0.9.5's layers, 32x in space, 4x in time, 64 channels.

The encoder is solved for: it keeps the mean colours of 8 x 8 pixels, in the best linear code of 32 x 32 pixels and 4
frames. The decoder finds these means again by solved layers, and learns to draw edges between them, a local task.
"""

import random
from collections.abc import Iterable
from pathlib import Path

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKLLTXVideo
from torch import Tensor, nn

from pocket import decoders
from pocket.principal import principal
from pocket.training import warm_start
from pocket.world import LATENT_FRAME, clips

SIDE = 128
PATCH = 8
SPATIAL = 32
NUMBERS = 64
WIDTHS = (48, 96)  # the decoder's, where a cell is 8 x 8 pixels, and before
LARGE = 32.0  # a constant beside which RMSNorm and SiLU do next to nothing
EVENNESS = 0.25  # of the latents' deviations: 0 leaves them as the pixels', 1 makes them equal
LOG_VARIANCE = -9.0  # of the posterior: nearly a point
SEEDS = range(1_000_000, 1_000_006)  # which the code is solved for
CHUNK = 64  # clips of a seed
CROP, BATCH, WHOLE = 3, 14, 0.2  # latents of a crop's side, crops of a step, and the share of steps on whole pictures
FRAMES = 5  # of a step
LATENT_NOISE = 0.02  # at most
TURNING, RICH = 0.25, 0.15  # shares of clips in which something changes, and with more than one shape
POOL = 2048  # clips in memory


def blank() -> AutoencoderKLLTXVideo:
    """The layers, with weights that mean nothing yet."""
    return AutoencoderKLLTXVideo(
        latent_channels=NUMBERS,
        block_out_channels=(4, 32, 256),  # three mean colours and a constant, which are put side by side, 8 at a time
        decoder_block_out_channels=WIDTHS,
        down_block_types=("LTXVideo095DownBlock3D",) * 2,
        layers_per_block=(0, 0, 0),
        decoder_layers_per_block=(2, 1, 0),  # from the pixels on
        spatio_temporal_scaling=(True, True),
        decoder_spatio_temporal_scaling=(True, True),
        decoder_inject_noise=(False,) * 3,
        downsample_type=("spatiotemporal",) * 2,
        upsample_residual=(True, True),
        upsample_factor=(1, 2),  # the channels are halved once; a block that changed its width would have a norm there
        patch_size=PATCH,
        encoder_causal=True,
        decoder_causal=False,
    )


def means_of(video: Tensor) -> Tensor:
    """The 192 mean colours [N, 192] that each latent behind a clip's first frame stands for."""
    small = F.avg_pool3d(video, (1, PATCH, PATCH))[:, :, 1:]
    small = small.unflatten(4, (-1, 4)).unflatten(3, (-1, 4)).unflatten(2, (-1, LATENT_FRAME))
    return small.permute(0, 2, 4, 6, 1, 3, 5, 7).flatten(4).flatten(0, 3)


@torch.no_grad()
def build(video: Tensor) -> AutoencoderKLLTXVideo:
    """The autoencoder with the best linear code of these clips; its decoder's trained blocks are idle."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        vae = blank()
    write_means(vae.encoder)
    seen = []
    hook = vae.encoder.conv_out.conv.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0][:, :, 3:]))
    for part in video.split(16):
        vae.encode(part)
    hook.remove()
    features = torch.cat(seen).permute(0, 2, 3, 4, 1).flatten(0, 3).double()
    write_code(vae, features, means_of(video).double())
    return vae.eval()


def write_means(encoder: nn.Module) -> None:
    """The mean colours of 8 x 8 pixels, and a constant; the downsamplers' residual ways alone put them side by side."""
    first = encoder.conv_in.conv
    nn.init.zeros_(first.weight)
    nn.init.zeros_(first.bias)
    for color, pixels in enumerate(torch.arange(3 * PATCH**2).chunk(3)):
        first.weight[color, pixels, -1, 1, 1] = 1 / PATCH**2  # causal: a kernel's last place is now
    first.bias[3] = LARGE
    for block in encoder.down_blocks:
        nn.init.zeros_(block.downsamplers[0].conv.conv.weight)
        nn.init.zeros_(block.downsamplers[0].conv.conv.bias)


def write_code(vae: AutoencoderKLLTXVideo, features: Tensor, means: Tensor) -> None:
    """The principal numbers of what the encoder's last layer sees [N, 256], and the way back to the means [N, 192]."""
    middle = features.mean(0)
    vector, scale = principal((features - middle).T @ (features - middle) / len(features), NUMBERS, EVENNESS)
    code = scale[:, None] * vector.T
    last = vae.encoder.conv_out.conv
    nn.init.zeros_(last.weight)
    last.weight[:NUMBERS, :, -1, 1, 1] = code.float()
    last.bias[:NUMBERS], last.bias[NUMBERS] = -(code @ middle).float(), LOG_VARIANCE
    told = torch.cat([(features - middle) @ code.T, torch.ones(len(features), 1)], 1)
    write_way_back(vae.decoder, torch.linalg.lstsq(told, means).solution.float())


def write_way_back(decoder: nn.Module, back: Tensor) -> None:
    """The linear way back from numbers and a 1 to mean colours, [NUMBERS + 1, 192]."""
    decoder.conv_in.conv.weight.mul_(0.02)
    decoder.conv_in.conv.weight[:NUMBERS, :NUMBERS] = 0
    decoder.conv_in.conv.weight[:NUMBERS, :NUMBERS, 1, 1, 1] = torch.eye(NUMBERS)
    nn.init.zeros_(decoder.conv_in.conv.bias)
    halves = torch.arange(192).view(3, 2, 2, 2, 2, 2, 2).permute(0, 2, 4, 6, 1, 3, 5).reshape(24, 8)
    first, second = (block.upsamplers[0] for block in decoder.up_blocks)
    write_upsampler(first, back[:-1].T[halves], back[-1][halves])
    write_upsampler(second, torch.eye(24).view(3, 8, 24), torch.zeros(3, 8))
    second.conv.conv.bias.view(-1, 8)[3] = 1  # a constant: the norms do not blow up dark and grey cells
    for name, value in decoder.named_parameters():
        if "conv2.conv" in name:  # blocks begin as nothing
            nn.init.zeros_(value)


def write_upsampler(upsampler: nn.Module, matrix: Tensor, bias: Tensor) -> None:
    """Makes its first channels a linear map, [out, 8 places, in] and [out, 8], against its residual way."""
    conv, (count, _, known) = upsampler.conv.conv, matrix.shape
    channels = conv.weight.shape[1]
    nn.init.zeros_(conv.weight)
    nn.init.zeros_(conv.bias)
    probe = torch.eye(channels).view(channels, channels, 1, 1, 1).expand(-1, -1, 2, -1, -1)
    residual = upsampler(probe)[:, :, 1:3].permute(1, 2, 3, 4, 0).reshape(-1, 8, channels)
    weight = conv.weight.view(-1, 8, channels, 3, 3, 3)
    weight[..., 1, 1, 1] = -residual
    weight[:count, :, :known, 1, 1, 1] += matrix
    conv.bias.view(-1, 8)[:count] = bias


# ------------------------------------------------------------------------------------------------ use


def normalise(vae: AutoencoderKLLTXVideo, latents: Tensor) -> Tensor:
    """Raw latents [B, C, T, H, W] -> as LTX's transformer sees them."""
    return (latents - vae.latents_mean.view(1, -1, 1, 1, 1)) / vae.latents_std.view(1, -1, 1, 1, 1)


def denormalise(vae: AutoencoderKLLTXVideo, latents: Tensor) -> Tensor:
    """The inverse of `normalise`."""
    return latents * vae.latents_std.view(1, -1, 1, 1, 1) + vae.latents_mean.view(1, -1, 1, 1, 1)


@torch.no_grad()
def encode(vae: AutoencoderKLLTXVideo, video: Tensor, batch: int = 16) -> Tensor:
    """Clips [B, 3, T, H, W] in -1..1 -> normalised latents."""
    return torch.cat([normalise(vae, vae.encode(part).latent_dist.mode()) for part in video.split(batch)])


@torch.no_grad()
def decode(vae: AutoencoderKLLTXVideo, latents: Tensor, batch: int = 16) -> Tensor:
    """Normalised latents -> clips [B, 3, T, H, W] in -1..1."""
    parts = [vae.decode(denormalise(vae, part)).sample for part in latents.split(batch)]
    return torch.cat(parts).clamp(-1, 1)


# ------------------------------------------------------------------------------------------------ training


def rendered(seeds: Iterable[int]) -> Tensor:
    """CHUNK clips of a seed [B, 3, 17, 128, 128] in -1..1, some of which turn, or show more than one shape."""
    return torch.cat([clips(CHUNK, seed, turning=TURNING, rich=RICH, width=SIDE, height=SIDE).video for seed in seeds])


class Pool:
    """Clips as bytes, of which a step draws parts."""

    def __init__(self, vae: AutoencoderKLLTXVideo, count: int) -> None:
        self._video = torch.cat([((rendered([seed]) + 1) * 127.5).round().byte() for seed in range(count // CHUNK)])
        self._vae = vae

    def draw(self, rng: random.Random) -> decoders.Examples:
        """A few frames: of whole pictures, or of parts about what is there, mirrored and recoloured."""
        whole, side, shown = rng.random() < WHOLE, CROP * SPATIAL, []
        for _ in range(BATCH // 2 if whole else BATCH):
            first = rng.randint(0, self._video.shape[2] - FRAMES)
            clip = self._video[rng.randrange(len(self._video)), :, first : first + FRAMES]
            if not whole:
                there = (clip[:, 0] != clip[:, 0, :1, :1]).any(0)
                top, left = (place(there.any(axis), rng, side) for axis in (1, 0))
                clip = clip[..., top : top + side, left : left + side]
            if rng.random() < 0.3:
                clip = clip[rng.sample(range(3), 3)]
            shown.append(clip.flip(-1) if rng.random() < 0.5 else clip)
        video = torch.stack(shown).float() / 127.5 - 1
        return decoders.Examples(video, encode(self._vae, video), "" if whole else "_crop")


def place(there: Tensor, rng: random.Random, side: int) -> int:
    """Where a crop begins that shows as much as it can of what is at the places where `there` is true."""
    found = there.nonzero() if there.any() else torch.tensor([[SIDE // 2]])
    ends = max(0, min(int(found[-1]) + 5 - side, SIDE - side)), min(max(int(found[0]) - 4, 0), SIDE - side)
    return rng.randint(min(ends), max(ends))


def train(work: Path, minutes: float, release: Path | None = None) -> None:
    """Saves the autoencoder in `work`/vae in float32: its encoder solved for in seconds, its decoder trained.

    The finest layers alone are trained: the others would be undone by their first steps.
    """
    vae = build(rendered(SEEDS))
    factor = warm_start(vae, release)
    if minutes == 0:
        vae.save_pretrained(work / "vae")
        return
    vae = vae.to(memory_format=torch.channels_last_3d).requires_grad_(False)
    trained = nn.ModuleList([vae.decoder.up_blocks[-1].resnets, vae.decoder.conv_out]).requires_grad_()
    plan = decoders.Plan(LATENT_NOISE, lr=0.02 * factor, adam_lr=2e-3 * factor)
    draw = Pool(vae, POOL).draw
    decoders.train(work, minutes, trained, lambda latents: vae.decode(latents).sample, draw, plan)
    vae.eval().to(memory_format=torch.contiguous_format).save_pretrained(work / "vae")
