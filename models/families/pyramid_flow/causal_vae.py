"""The causal video VAE of Pyramid Flow: 8 x 8 x 8 pixels per latent pixel; the first frame is coded by itself.

All layers read only earlier frames, so a clip can be coded chunk by chunk with an exact result: each convolution keeps
the end of its input. Keys are those of the published checkpoints. Sources: arXiv 2410.05954; MAGVIT-v2, arXiv
2310.05737.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from diffusers.models.attention_processor import Attention
from torch import nn
from torch.nn.functional import silu

from ...streaming.passes import Step

# What each convolution keeps of the chunks before; empty at the start of a clip.
Past = dict[nn.Module, torch.Tensor]

# ------------------------------------------------------------------------------------------------ latents


@dataclass(frozen=True)
class LatentStatistics:
    """(shift, scale) that bring latents to about unit variance: of a clip's first frame, and of the others."""

    first: tuple[float, float]
    others: tuple[float, float] = (-0.2343, 1 / 3.0986)


STATISTICS = {
    "miniflux": LatentStatistics(first=(-0.04, 1 / 1.8726)),
    "sd3": LatentStatistics(first=(0.1490, 1 / 1.8415)),
}


def normalised(latents: torch.Tensor, statistics: LatentStatistics) -> torch.Tensor:
    """The VAE's latents [B, C, T, h, w] of a whole clip -> as the transformer reads them."""
    shift, scale = _per_frame_statistics(latents, statistics)
    return (latents - shift) * scale


def denormalised(latents: torch.Tensor, statistics: LatentStatistics) -> torch.Tensor:
    """The transformer's latents [B, C, T, h, w] of a whole clip -> as the VAE reads them."""
    shift, scale = _per_frame_statistics(latents, statistics)
    return latents / scale + shift


def _per_frame_statistics(latents: torch.Tensor, statistics: LatentStatistics) -> tuple[torch.Tensor, torch.Tensor]:
    frames = [statistics.first, *[statistics.others] * (latents.shape[2] - 1)]
    shift, scale = torch.tensor(frames, dtype=latents.dtype, device=latents.device).T.reshape(2, 1, 1, -1, 1, 1)
    return shift, scale


# ------------------------------------------------------------------------------------------------ layers


class CausalConv(nn.Module):
    """A convolution that pads space on both sides and time in front only: with zeros, or with the chunk before."""

    def __init__(self, channels: int, out_channels: int, kernel: int = 3, stride: tuple[int, int, int] = (1, 1, 1)):
        super().__init__()
        self.conv = nn.Conv3d(channels, out_channels, kernel, stride, padding=(0, kernel // 2, kernel // 2))

    def forward(self, x: torch.Tensor, past: Past) -> torch.Tensor:
        """Features [B, C, T, H, W] of the next chunk -> [B, C', T / stride, H / stride, W / stride]."""
        kernel, stride = self.conv.kernel_size[0], self.conv.stride[0]
        if kernel == 1:
            return self.conv(x)
        before = past[self] if self in past else x.new_zeros(*x.shape[:2], kernel - 1, *x.shape[3:])
        x = torch.cat([before, x], dim=2)
        past[self] = x[:, :, stride - kernel :].clone()  # a view would keep the whole chunk in memory
        return self.conv(x)


def frame_by_frame(layer: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """A layer for pictures [B, C, H, W] on each frame of features [B, C, T, H, W]: statistics never mix frames."""
    out = torch.empty_like(x)
    for frame in range(x.shape[2]):
        out[:, :, frame] = layer(x[:, :, frame])
    return out


class ResnetBlock(nn.Module):
    """Norm, SiLU and convolution, twice, with a skip connection."""

    def __init__(self, channels: int, out_channels: int, groups: int) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(groups, channels, eps=1e-6)
        self.conv1 = CausalConv(channels, out_channels)
        self.norm2 = nn.GroupNorm(groups, out_channels, eps=1e-6)
        self.conv2 = CausalConv(out_channels, out_channels)
        self.conv_shortcut = CausalConv(channels, out_channels, kernel=1) if channels != out_channels else None

    def forward(self, x: torch.Tensor, past: Past) -> torch.Tensor:
        hidden = self.conv1(silu(frame_by_frame(self.norm1, x), inplace=True), past)
        hidden = self.conv2(silu(frame_by_frame(self.norm2, hidden), inplace=True), past)
        return hidden + (self.conv_shortcut(x, past) if self.conv_shortcut else x)


class MidBlock(nn.Module):
    """Residual block, attention within each frame, residual block."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.resnets = nn.ModuleList(ResnetBlock(channels, channels, groups) for _ in range(2))
        attention = Attention(
            channels,
            heads=1,
            dim_head=channels,
            norm_num_groups=groups,
            eps=1e-6,
            bias=True,
            residual_connection=True,
        )
        self.attentions = nn.ModuleList([attention])

    def forward(self, x: torch.Tensor, past: Past) -> torch.Tensor:
        x = self.resnets[0](x, past)
        x = frame_by_frame(self.attentions[0], x)
        return self.resnets[1](x, past)


class Downsampler(nn.Module):
    """Halves time, or height and width (by `stride`), with a strided convolution."""

    def __init__(self, channels: int, stride: tuple[int, int, int]) -> None:
        super().__init__()
        self.conv = CausalConv(channels, channels, stride=stride)

    def forward(self, x: torch.Tensor, past: Past) -> torch.Tensor:
        return self.conv(x, past)


class SpatialUpsampler(nn.Module):
    """Doubles height and width: [B, C, T, H, W] -> [B, C, T, 2 H, 2 W]."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = CausalConv(channels, 4 * channels)

    def forward(self, x: torch.Tensor, past: Past) -> torch.Tensor:
        x = self.conv(x, past).unflatten(1, (-1, 2, 2))
        return x.permute(0, 1, 4, 5, 2, 6, 3).flatten(5, 6).flatten(3, 4)


class TemporalUpsampler(nn.Module):
    """Doubles time: [B, C, T, H, W] -> [B, C, 2 T, H, W]; the first frame of a clip stays one frame."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = CausalConv(channels, 2 * channels)

    def forward(self, x: torch.Tensor, past: Past) -> torch.Tensor:
        starts_clip = self.conv not in past
        x = self.conv(x, past).unflatten(1, (-1, 2))
        x = x.movedim(2, 3).flatten(2, 3)
        return x[:, :, 1:] if starts_clip else x


class Level(nn.Module):
    """Residual blocks at one resolution, then `samplers` that change it, by their names in checkpoints."""

    def __init__(
        self, channels: int, out_channels: int, layers: int, groups: int, samplers: dict[str, nn.Module]
    ) -> None:
        super().__init__()
        widths = [channels, *[out_channels] * layers]
        self.resnets = nn.ModuleList(ResnetBlock(a, b, groups) for a, b in zip(widths, widths[1:], strict=False))
        self.samplers = list(samplers)
        for name, sampler in samplers.items():
            self.add_module(name, nn.ModuleList([sampler]))

    def forward(self, x: torch.Tensor, past: Past) -> torch.Tensor:
        for resnet in self.resnets:
            x = resnet(x, past)
        for name in self.samplers:
            x = self.get_submodule(name)[0](x, past)
        return x


class Half(nn.Module):
    """What encoder and decoder share: a convolution, blocks, norm and SiLU, a convolution. widths: of the levels."""

    def __init__(self, channels: int, out_channels: int, widths: Sequence[int], groups: int) -> None:
        super().__init__()
        self.conv_in = CausalConv(channels, widths[0])
        self.conv_norm_out = nn.GroupNorm(groups, widths[-1], eps=1e-6)
        self.conv_out = CausalConv(widths[-1], out_channels)

    @property
    def blocks(self) -> Sequence[nn.Module]:
        """The blocks in the order in which features pass through them."""
        raise NotImplementedError

    def forward(self, x: torch.Tensor, past: Past) -> torch.Tensor:
        x = self.conv_in(x, past)
        for block in self.blocks:
            x = block(x, past)
        return self.conv_out(silu(frame_by_frame(self.conv_norm_out, x), inplace=True), past)


class Encoder(Half):
    """Pixels [B, 3, F, H, W] -> moments [B, 2 C, T, h, w]."""

    def __init__(
        self,
        channels: int,
        latent_channels: int,
        widths: Sequence[int],
        layers: Sequence[int],
        spatial: Sequence[bool],
        temporal: Sequence[bool],
        groups: int,
    ) -> None:
        super().__init__(channels, 2 * latent_channels, widths, groups)
        self.down_blocks = nn.ModuleList()
        for n, (before, width) in enumerate(zip([widths[0], *widths], widths, strict=False)):
            samplers = {"downsamplers": Downsampler(width, (1, 2, 2))} if spatial[n] else {}
            samplers |= {"temporal_downsamplers": Downsampler(width, (2, 1, 1))} if temporal[n] else {}
            self.down_blocks.append(Level(before, width, layers[n], groups, samplers))
        self.mid_block = MidBlock(widths[-1], groups)

    @property
    def blocks(self) -> Sequence[nn.Module]:
        return *self.down_blocks, self.mid_block


class Decoder(Half):
    """Latents [B, C, T, h, w] -> pixels [B, 3, F, H, W]. `widths` count from the pixels' side, as the encoder's do."""

    def __init__(
        self,
        latent_channels: int,
        channels: int,
        widths: Sequence[int],
        layers: Sequence[int],
        spatial: Sequence[bool],
        temporal: Sequence[bool],
        groups: int,
    ) -> None:
        widths = list(reversed(widths))
        super().__init__(latent_channels, channels, widths, groups)
        self.mid_block = MidBlock(widths[0], groups)
        self.up_blocks = nn.ModuleList()
        for n, (before, width) in enumerate(zip([widths[0], *widths], widths, strict=False)):
            samplers = {"upsamplers": SpatialUpsampler(width)} if spatial[n] else {}
            samplers |= {"temporal_upsamplers": TemporalUpsampler(width)} if temporal[n] else {}
            self.up_blocks.append(Level(before, width, layers[n], groups, samplers))

    @property
    def blocks(self) -> Sequence[nn.Module]:
        return self.mid_block, *self.up_blocks


# ------------------------------------------------------------------------------------------------ autoencoder


class CausalVideoVAE(ModelMixin, ConfigMixin):
    """The autoencoder, a piece of a clip at a time. The defaults are the published checkpoint."""

    @register_to_config
    def __init__(
        self,
        encoder_in_channels: int = 3,
        encoder_out_channels: int = 16,
        encoder_layers_per_block: Sequence[int] = (2, 2, 2, 2),
        encoder_block_out_channels: Sequence[int] = (128, 256, 512, 512),
        encoder_spatial_down_sample: Sequence[bool] = (True, True, True, False),
        encoder_temporal_down_sample: Sequence[bool] = (True, True, True, False),
        encoder_norm_num_groups: int = 32,
        decoder_in_channels: int = 16,
        decoder_out_channels: int = 3,
        decoder_layers_per_block: Sequence[int] = (3, 3, 3, 3),
        decoder_block_out_channels: Sequence[int] = (128, 256, 512, 512),
        decoder_spatial_up_sample: Sequence[bool] = (True, True, True, False),
        decoder_temporal_up_sample: Sequence[bool] = (True, True, True, False),
        decoder_norm_num_groups: int = 32,
    ) -> None:
        super().__init__()
        self.encoder = Encoder(
            encoder_in_channels,
            encoder_out_channels,
            encoder_block_out_channels,
            encoder_layers_per_block,
            encoder_spatial_down_sample,
            encoder_temporal_down_sample,
            encoder_norm_num_groups,
        )
        self.decoder = Decoder(
            decoder_in_channels,
            decoder_out_channels,
            decoder_block_out_channels,
            decoder_layers_per_block,
            decoder_spatial_up_sample,
            decoder_temporal_up_sample,
            decoder_norm_num_groups,
        )
        self.quant_conv = CausalConv(2 * encoder_out_channels, 2 * encoder_out_channels, kernel=1)
        self.post_quant_conv = CausalConv(decoder_in_channels, decoder_in_channels, kernel=1)
        self.spatial = 2 ** sum(encoder_spatial_down_sample)
        self.temporal = 2 ** sum(encoder_temporal_down_sample)

    def encoder_step(self) -> Step:
        """A pass over a clip: pixels [B, 3, f, H, W] in -1..1 -> moments [B, 2 C, t, H/8, W/8]: mean, log variance.

        Pieces of 1 + 8 n frames, then of 8 n.
        """
        past: Past = {}
        return lambda piece, last: self.quant_conv(self.encoder(piece, past), past)

    def decoder_step(self) -> Step:
        """A pass over a clip: latents [B, C, t, h, w] -> pixels [B, 3, f, 8 h, 8 w] in about -1..1; any pieces."""
        past: Past = {}
        return lambda piece, last: self.decoder(self.post_quant_conv(piece, past), past)
