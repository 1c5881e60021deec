"""The pocket's audio VAE: LTX-2's layers between spectrograms and 25 latents a second, as narrow as they can be.

Its widths follow from one base channel, so its published statistics are one number. Of the eight channels of the
latents, two are used. So the network's sound stream may be narrow: what it need not tell, it need not carry.
"""

import random
from pathlib import Path

import torch
from diffusers import AutoencoderKLLTX2Audio
from torch import Tensor, nn

from pocket.ltx2 import sound
from pocket.optim import Muon
from pocket.training import Run, average, learning_rate, warm_start
from pocket.world import draw_scenes

CHANNELS, USED = 8, 2  # of the latents
LATENT_BINS = 16
SECONDS, LATENTS = 1.2, 13  # of a training clip before and after the cut
BATCH = 4
LATENT_NOISE = 0.25  # at most, of the latents' deviation: makes the decoder robust to the transformer's errors
CONFIG = {"base_channels": 1, "ch_mult": (12, 20, 24), "num_res_blocks": 1}


def build() -> AutoencoderKLLTX2Audio:
    """A fresh audio VAE, whose latents have two channels and six of zeros."""
    vae = AutoencoderKLLTX2Audio(**CONFIG)
    with torch.no_grad():
        ends = vae.encoder.conv_out.conv
        ends.weight[USED:] = 0
        ends.bias[USED:] = 0
        ends.bias[CHANNELS:] = -12  # the logarithm of the posterior's variance: nearly a point
        vae.decoder.conv_in.conv.weight[:, USED:] = 0
        vae.decoder.conv_out.conv.bias.fill_(-6)  # about the mean of a spectrogram
    for part, rows in ((ends.weight, slice(USED, None)), (ends.bias, slice(USED, None))):
        part.register_hook(lambda grad, rows=rows: without(grad, rows))
    vae.decoder.conv_in.conv.weight.register_hook(lambda grad: without(grad, (slice(None), slice(USED, None))))
    return vae


def without(grad: Tensor, rows: slice | tuple) -> Tensor:
    grad = grad.clone()
    grad[rows] = 0
    return grad


@torch.no_grad()
def encode(vae: AutoencoderKLLTX2Audio, spectrogram: Tensor) -> Tensor:
    """Spectrograms [B, 2, columns, 64] -> latents [B, 8, L, 16] as the network sees them."""
    return (vae.encode(spectrogram).latent_dist.mode() - vae.latents_mean) / vae.latents_std


@torch.no_grad()
def decode(vae: AutoencoderKLLTX2Audio, latents: Tensor) -> Tensor:
    """Latents as the network sees them -> spectrograms [B, 2, columns, 64]."""
    return vae.decode(latents * vae.latents_std + vae.latents_mean).sample


def draw(rng: random.Random, count: int = BATCH, latents: int = LATENTS) -> tuple[Tensor, Tensor, int]:
    """Waves [B, 1, samples] of random scenes at 16 kHz and at 24 kHz, cut at the same column, and that column.

    One in ten is silent; some fall silent or begin in the middle.
    """
    scenes = draw_scenes(count, rng, withheld=None)
    low = sound.waves(scenes, SECONDS)
    high = sound.waves(scenes, SECONDS, 24000)
    first = rng.randrange(int(SECONDS * 100) - sound.columns(latents) - 8)
    for i in range(count):
        kind, at = rng.random(), first + rng.randrange(sound.columns(latents))
        if kind < 0.26:
            silent = slice(0, None) if kind < 0.1 else slice(at, None) if kind < 0.18 else slice(0, at)
            low[i, :, _samples(silent, 160)], high[i, :, _samples(silent, 240)] = 0, 0
    return low, high, first


def _samples(columns: slice, hop: int) -> slice:
    return slice(columns.start * hop, None if columns.stop is None else columns.stop * hop)


def spectrograms(low: Tensor, first: int, latents: int = LATENTS) -> Tensor:
    """The spectrogram [B, 2, columns, 64] of a cut from the waves of `draw`."""
    return sound.spectrogram(low, first + sound.columns(latents))[:, :, first:].contiguous()


def loss_of(vae: AutoencoderKLLTX2Audio, spectrogram: Tensor) -> tuple[Tensor, Tensor]:
    """Training loss, and the mean error of the spectrogram's logarithm."""
    latents = vae.encode(spectrogram).latent_dist.mode()
    used = latents[:, :USED]
    noise = LATENT_NOISE * torch.rand(len(latents), 1, 1, 1) * torch.randn_like(used)
    noisy = torch.cat([used + noise, torch.zeros_like(latents[:, USED:])], 1)
    decoded = vae.decode(noisy).sample
    weight = spectrogram.exp().clamp(0, 1) * 4 + 1  # what is heard counts more
    error = (decoded - spectrogram).abs()
    spread = used.var((0, 2, 3)).clamp(min=1e-4)
    return (weight * error).mean() + 0.02 * (used.square().mean() + (1 / spread).mean()), error.detach().mean()


def train(work: Path, minutes: float, release: Path | None = None) -> None:
    """Trains the audio VAE and saves it in `work`/audio_vae in float32."""
    vae = build()
    factor = warm_start(vae, release)
    mean = build().requires_grad_(False)
    mean.load_state_dict(vae.state_dict())
    optimiser = Muon(vae.parameters(), lr=0.01, adam_lr=2e-3, adam_only=_ends(vae))
    run = Run(work, "audio_vae", minutes, vae=vae, mean=mean, optimiser=optimiser)
    for step in run:
        optimiser.scale_lr(factor * learning_rate(run.fraction, step))
        low, _, first = draw(run.rng)
        loss, error = loss_of(vae, spectrograms(low, first))
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(vae.parameters(), 5.0)
        optimiser.step()
        average(mean, vae, step, 0.995)
        run.record(loss=loss.item(), error=error.item())
    measure(mean)
    mean.eval().save_pretrained(work / "audio_vae")


def _ends(vae: AutoencoderKLLTX2Audio) -> list[Tensor]:
    coders = (vae.encoder, vae.decoder)
    return [layer.conv.weight for coder in coders for layer in (coder.conv_in, coder.conv_out)]


@torch.no_grad()
def measure(vae: AutoencoderKLLTX2Audio) -> None:
    """Stores the latents' mean, and their deviation about their place's mean: what tells sounds from each other."""
    low, _, first = draw(random.Random(1), 256)
    used = vae.encode(spectrograms(low, first)).latent_dist.mode()[:, :USED]
    vae.latents_mean.fill_(used.mean())
    vae.latents_std.fill_((used - used.mean((0, 2), keepdim=True)).square().mean((0, 2)).amax().sqrt())
