"""The pocket model's video autoencoder: LTX 0.9.5's residual blocks, 16x in space, 4x in time, 32 channels.

16x in space instead of 8x makes a quarter of the tokens. On a CPU that decides how many clips the transformer trains on
in an hour.
"""

import math
from pathlib import Path

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKLLTXVideo
from torch import Tensor

from pocket.optim import Muon
from pocket.training import Run, learning_rate, warm_start
from pocket.world import clips

POOL = 4096  # clips in memory, as bytes
TURNING = 0.25  # share of clips in which something changes half-way
KL_WEIGHT = 1e-4
LATENT_NOISE = 0.1  # at most, of the latents' deviation: makes the decoder robust to the transformer's errors


def build() -> AutoencoderKLLTXVideo:
    """A fresh autoencoder with a small posterior variance."""
    vae = AutoencoderKLLTXVideo(
        latent_channels=32,
        block_out_channels=(32, 64, 64),
        decoder_block_out_channels=(40, 80),
        down_block_types=("LTXVideo095DownBlock3D",) * 2,
        layers_per_block=(1, 1, 1),
        decoder_layers_per_block=(1, 1, 1),
        spatio_temporal_scaling=(True, True),
        decoder_spatio_temporal_scaling=(True, True),
        decoder_inject_noise=(False, False, False),
        downsample_type=("spatiotemporal",) * 2,
        upsample_residual=(True, True),
        upsample_factor=(2, 2),
        patch_size=4,
        encoder_causal=True,
        decoder_causal=False,
    )
    with torch.no_grad():
        vae.encoder.conv_out.conv.bias[-1] = -6
        vae.encoder.conv_out.conv.weight[-1].mul_(0.1)
    return vae


def normalise(vae: AutoencoderKLLTXVideo, latents: Tensor) -> Tensor:
    """Raw latents [B, C, T, H, W] -> zero mean, unit deviation, as LTX's transformer sees them."""
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


def draw_batch(pool: Tensor, generator: torch.Generator) -> Tensor:
    """Clips [B, 3, T, H, W] from the pool: 17 frames mostly; some mirrored, some with the colour channels permuted."""
    count, frames = (32, 1) if torch.rand((), generator=generator) < 0.1 else (8, 17)
    chosen = torch.randint(len(pool), (count,), generator=generator)
    first = int(torch.randint(pool.shape[2] - frames + 1, (), generator=generator))
    video = pool[chosen, :, first : first + frames].float() / 127.5 - 1
    for i in range(count):
        if torch.rand((), generator=generator) < 0.25:
            video[i] = video[i, torch.randperm(3, generator=generator)]
    return video.flip(-1) if torch.rand((), generator=generator) < 0.5 else video


def loss_of(vae: AutoencoderKLLTXVideo, video: Tensor) -> tuple[Tensor, Tensor]:
    """Training loss and squared error of a batch. Edges have up to five times the weight of flat areas."""
    with torch.autocast("cpu", torch.bfloat16):
        posterior = vae.encode(video).latent_dist
        latents = posterior.sample()
        strength = LATENT_NOISE * torch.rand(len(video), 1, 1, 1, 1) * latents.detach().std()
        decoded = vae.decode(latents + strength * torch.randn_like(latents)).sample.float()
    across = F.pad((video[..., 1:] - video[..., :-1]).abs().amax(1, keepdim=True), (0, 1))
    along = F.pad((video[..., 1:, :] - video[..., :-1, :]).abs().amax(1, keepdim=True), (0, 0, 0, 1))
    weight = 1 + 2 * (across + along).clamp(0, 2)
    error = decoded - video
    mean, logvar = posterior.mean.float(), posterior.logvar.float()
    kl = 0.5 * (mean**2 + logvar.exp() - 1 - logvar).mean()
    return (weight * (error.abs() + error * error)).mean() + KL_WEIGHT * kl, error.detach().pow(2).mean()


@torch.no_grad()
def measure_statistics(vae: AutoencoderKLLTXVideo, count: int = 256) -> None:
    """Stores mean and deviation of each latent channel in the autoencoder, where LTX's pipelines look for them."""
    video = clips(count, seed=20_000_001).video
    latents = torch.cat([vae.encode(part).latent_dist.mode() for part in video.split(16)])
    vae.latents_mean.copy_(latents.mean((0, 2, 3, 4)))
    vae.latents_std.copy_(latents.std((0, 2, 3, 4)))


def train(work: Path, minutes: float, release: Path | None = None) -> None:
    """Trains the autoencoder, or continues an earlier run, and saves it in `work`/vae."""
    vae = build()
    factor = warm_start(vae, release)
    vae = vae.to(memory_format=torch.channels_last_3d)
    optimiser = Muon(vae.parameters(), lr=0.02, adam_lr=2e-3)
    run = Run(work, "vae", minutes, vae=vae, optimiser=optimiser)
    videos = (clips(64, seed, turning=TURNING).video for seed in range(POOL // 64))
    pool = torch.cat([((video + 1) * 127.5).round().byte() for video in videos])
    for step in run:
        optimiser.scale_lr(factor * learning_rate(run.fraction, step))
        video = draw_batch(pool, torch.default_generator).contiguous(memory_format=torch.channels_last_3d)
        loss, error = loss_of(vae, video)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        name = "psnr" if video.shape[2] > 1 else "psnr_image"
        run.record(loss=loss.item(), **{name: 10 * math.log10(4 / error.item())})
    finish(vae, work)


def finish(vae: AutoencoderKLLTXVideo, work: Path) -> None:
    """Measures the latents' statistics and writes `work`/vae in float32."""
    vae = vae.eval().to(memory_format=torch.contiguous_format)
    measure_statistics(vae)
    vae.save_pretrained(work / "vae")
