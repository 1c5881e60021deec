"""LTX-2's sound: waves -> spectrogram -> latents, and latents -> spectrogram -> waves (the vocoder)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from diffusers import AutoencoderKLLTX2Audio
from diffusers.pipelines.ltx2.vocoder import LTX2Vocoder, LTX2VocoderWithBWE, UpSample1d

from ...bridge.weights import load_weights, without_weights
from ...contract.family import Variant
from ...contract.grid import SoundGrid, State
from ...weights.checkpoint import Component
from ...weights.errors import CheckpointError
from ...weights.key_names import blocks_of
from ...weights.scaled_fp8 import dequantised
from .layouts import AUDIO_VAE, PARTS, VOCODER, audio_vae_state, vocoder_state

PIECE, CONTEXT = 400, 64
"""Spectrogram columns that the vocoder turns into sound at a time, and how many it reads on either side."""
WINDOW = 1024
"""Samples of which a column of the spectrogram is computed."""
QUIET = 1e-5
"""The least energy of a spectrogram, which is a logarithm."""


class Sound(torch.nn.Module):
    """Sound between waves [B, 2, samples] and the latents [B, C, L, bins] that the network reads.

    `rate` is the samples per second of decoded waves. The vocoder works in pieces with context on both sides, so a long
    clip takes no more memory than a short one; the result is that of one go.
    """

    def __init__(self, vae: AutoencoderKLLTX2Audio, vocoder: LTX2Vocoder | LTX2VocoderWithBWE, grid: SoundGrid) -> None:
        super().__init__()
        self.vae, self.vocoder, self.grid = vae, vocoder, grid
        self.rate = vocoder.config.output_sampling_rate

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """Latents [B, C, L, bins] -> waves [B, 2, samples] in -1..1."""
        mean, std = self._statistics(latents)
        spectrogram = self.vae.decode(latents * std + mean, return_dict=False)[0]
        config = self.vae.config
        samples = self.rate * config.mel_hop_length // config.sample_rate  # of a column
        total, waves = spectrogram.shape[2], []
        for start in range(0, total, PIECE):
            first, last = max(0, start - CONTEXT), min(total, start + PIECE + CONTEXT)
            wave = self.vocoder(spectrogram[:, :, first:last])
            begin = (start - first) * samples
            waves.append(wave[..., begin : begin + min(PIECE, total - start) * samples])
        return torch.cat(waves, dim=-1)

    def encode(self, waves: torch.Tensor, rate: int, length: int) -> torch.Tensor:
        """Waves [B, 1 or more channels, samples] in -1..1 -> `length` latents [B, C, L, bins].

        They are resampled, mixed to the channels of the spectrogram, and cut, or followed by silence.
        """
        columns = (length - 1) * self.vae.temporal_compression_ratio + 1  # the first latent is one column
        spectrogram = self.spectrogram(waves, rate, columns)
        mean, std = self._statistics(spectrogram)
        latents = self.vae.encode(spectrogram).latent_dist.mode()
        return (latents - mean) / std

    def spectrogram(self, waves: torch.Tensor, rate: int, columns: int) -> torch.Tensor:
        """The logarithm of the mel spectrogram [B, channels, columns, bins], as Lightricks compute it."""
        import torchaudio

        config = self.vae.config
        channels = config.in_channels
        if waves.shape[1] != channels:
            waves = waves.mean(dim=1, keepdim=True).expand(-1, channels, -1)
        waves = torchaudio.functional.resample(waves.float(), rate, config.sample_rate)
        # The last column's window reaches that far: sound behind a cut is read, as in Lightricks' code.
        count = max(WINDOW, (columns - 1) * config.mel_hop_length + WINDOW // 2)
        waves = torch.nn.functional.pad(waves[..., :count], (0, max(0, count - waves.shape[-1])))
        to_mel = torchaudio.transforms.MelSpectrogram(
            sample_rate=config.sample_rate,
            n_fft=WINDOW,
            win_length=WINDOW,
            hop_length=config.mel_hop_length,
            f_min=0.0,
            f_max=config.sample_rate / 2,
            n_mels=config.mel_bins,
            power=1.0,
            mel_scale="slaney",
            norm="slaney",
        ).to(waves.device)
        return to_mel(waves)[..., :columns].clamp(min=QUIET).log().transpose(2, 3)

    def _statistics(self, like: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and standard deviation of raw latents, [1, C, 1, bins]: those of a token's numbers, in their order.

        A VAE has as many of them as base channels. One that has a single one means it for all numbers.
        """
        channels, bins = self.grid.channels, self.grid.bins
        both = (self.vae.latents_mean, self.vae.latents_std)
        mean, std = (values.to(like).expand(channels * bins).view(1, channels, 1, bins) for values in both)
        return mean, std


def build_sound(parts: Mapping[str, Component], variant: Variant) -> Sound:
    """The sound's coder of a model, with its weights. Raises CheckpointError if a part is missing or does not fit."""
    for name in (AUDIO_VAE, VOCODER):
        if name not in parts:
            raise CheckpointError(
                f"{variant.name} has no {PARTS[name].noun} inside, and models/vae has no file with one. Put the audio "
                "VAE of this model there (a file whose keys begin with audio_vae. and vocoder.)."
            )
    return Sound(_vae(parts[AUDIO_VAE]), _vocoder(parts[VOCODER]), variant.sound)


def _vae(component: Component) -> AutoencoderKLLTX2Audio:
    state = dequantised(audio_vae_state(component))
    with without_weights():
        vae = AutoencoderKLLTX2Audio(**(component.arguments or _vae_config(state)))
    load_weights(vae, state, torch.float32, torch.float32)
    return vae


def _vae_config(state: State) -> dict[str, Any]:
    """The arguments of a single file's audio VAE, from the shapes of its weights."""
    levels = [f"decoder.up.{n}.block.0.conv1.conv.weight" for n in range(8)]
    widths = [state[name].shape[0] for name in levels if name in state]
    base = state["encoder.conv_in.conv.weight"].shape[0]
    return {
        "base_channels": base,
        "ch_mult": tuple(width // base for width in widths),
        "num_res_blocks": blocks_of(state, "encoder.down.0.block"),
        "latent_channels": state["decoder.conv_in.conv.weight"].shape[1],
        "in_channels": state["encoder.conv_in.conv.weight"].shape[1],
        "output_channels": state["decoder.conv_out.conv.weight"].shape[0],
    }


def _vocoder(component: Component) -> LTX2Vocoder | LTX2VocoderWithBWE:
    """The vocoder of 2.0 (24 kHz), or that of 2.3, which a second network extends to 48 kHz."""
    state = dequantised(vocoder_state(component))
    extended = any(key.startswith("bwe_generator.") for key in state)
    kind = LTX2VocoderWithBWE if extended else LTX2Vocoder
    config = component.arguments or _vocoder_config(state, extended)
    with without_weights():
        vocoder = kind(**config)
    if extended:  # its filter is computed when it is made, and no file has it
        vocoder.resampler = UpSample1d(vocoder.resampler.ratio, window_type="hann", persistent=False)
    load_weights(vocoder, state, torch.float32, torch.float32)
    return vocoder


def _vocoder_config(state: State, extended: bool) -> dict[str, Any]:
    """The arguments of a single file's vocoder: the published ones, with the widths of its weights."""
    if not extended:
        return {"hidden_channels": state["conv_in.weight"].shape[0]}
    return {
        "hidden_channels": state["vocoder.conv_in.weight"].shape[0],
        "bwe_hidden_channels": state["bwe_generator.conv_in.weight"].shape[0],
    }
