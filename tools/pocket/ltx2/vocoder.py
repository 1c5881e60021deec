"""The pocket's vocoder: LTX-2.0's, 24 kHz, with three narrow layers, trained on waves directly.

That is possible because every sound of this world begins at a column of the spectrogram and repeats in 10 ms, so a
spectrogram has one wave.
"""

from pathlib import Path

import torch
from diffusers import AutoencoderKLLTX2Audio
from diffusers.pipelines.ltx2.vocoder import LTX2Vocoder
from torch import Tensor

from pocket.ltx2 import audio
from pocket.optim import Muon
from pocket.training import Run, average, learning_rate, warm_start

RATE, HOP = 24000, 240
LATENTS = 11  # of a training clip
CONFIG = {
    "hidden_channels": 64,
    "upsample_factors": [10, 6, 4],
    "upsample_kernel_sizes": [20, 12, 8],
    "resnet_kernel_sizes": [5],
    "resnet_dilations": [[1]],
}


def loss_of(vocoder: LTX2Vocoder, spectrogram: Tensor, wave: Tensor) -> tuple[Tensor, Tensor]:
    """Training loss and squared error; wave: [B, 1, samples], of the spectrogram's columns."""
    error = vocoder(spectrogram) - wave
    spectrum = torch.stft(error.flatten(0, 1), 512, window=torch.hann_window(512), return_complex=True)
    square = error.square().mean()
    return 10 * square + error.abs().mean() + 0.05 * spectrum.abs().mean(), square.detach()


def train(work: Path, minutes: float, release: Path | None = None) -> None:
    """Trains the vocoder on spectrograms, clean ones and those of `work`/audio_vae, and saves `work`/vocoder."""
    vae = AutoencoderKLLTX2Audio.from_pretrained(work / "audio_vae").eval().requires_grad_(False)
    vocoder = LTX2Vocoder(**CONFIG)
    factor = warm_start(vocoder, release)
    mean = LTX2Vocoder(**CONFIG).requires_grad_(False)
    mean.load_state_dict(vocoder.state_dict())
    optimiser = Muon(vocoder.parameters(), lr=0.005, adam_lr=2e-3, adam_only=[vocoder.conv_out.weight])
    run = Run(work, "vocoder", minutes, vocoder=vocoder, mean=mean, optimiser=optimiser)
    for step in run:
        optimiser.scale_lr(factor * learning_rate(run.fraction, step))
        low, high, first = audio.draw(run.rng, latents=LATENTS)
        heard = audio.spectrograms(low, first, LATENTS)
        if run.rng.random() < 0.7:  # through the autoencoder, with errors such as the network's
            latents = audio.encode(vae, heard)
            noise = torch.randn_like(latents) * torch.rand(len(latents), 1, 1, 1) * 0.3
            heard = audio.decode(vae, latents + noise)
        wave = high[..., first * HOP :][..., : heard.shape[2] * HOP]
        loss, error = loss_of(vocoder, heard, wave)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        average(mean, vocoder, step, 0.995)
        run.record(loss=loss.item(), error=error.item())
    mean.eval().save_pretrained(work / "vocoder")
