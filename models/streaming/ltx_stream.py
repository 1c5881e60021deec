"""Run diffusers' LTX Video and LTX-2 encoders and decoders piece by piece, with exactly the result of the whole clip.

The two generations have the same layers. LTX-2's say only per network whether they are causal, its norms are over
dimension 1, and its shortcuts are plain convolutions of one frame.

A convolution that reads one frame ahead completes a frame only when the next one arrives, so each such layer is one
frame later than the layer before it. Every layer here keeps the few frames that it still needs, and skip connections
wait for the main path.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch

Layer = Callable[[torch.Tensor], torch.Tensor]


class LTXStream:
    """The state of one clip's pass through an encoder or decoder. Features are [B, C, t, H, W]; t may be 0 at first."""

    def __init__(self) -> None:
        self.kept: dict[Any, torch.Tensor] = {}
        self.noise: dict[torch.nn.Parameter, torch.Tensor] = {}
        self.begun: set[torch.nn.Module] = set()
        self.last, self.causal = False, False

    def encode(self, net: torch.nn.Module, pixels: torch.Tensor, last: bool) -> torch.Tensor:
        """Pixels [B, 3, t, H, W] of a piece -> mean and log variance of the completed frames, [B, C + 1, t', h, w]."""
        self.last, self.causal = last, getattr(net, "is_causal", False)
        side = net.patch_size
        x = pixels.unflatten(4, (-1, side)).unflatten(3, (-1, side)).permute(0, 1, 6, 4, 2, 3, 5).flatten(1, 3)
        x = self.conv(net.conv_in, x)
        for block in net.down_blocks:
            x = self.down_block(block, x)
        for resnet in net.mid_block.resnets:
            x = self.resnet(resnet, x)
        return self.conv(net.conv_out, net.conv_act(over_channels(net.norm_out, x)))

    def decode(
        self, net: torch.nn.Module, latents: torch.Tensor, timestep: torch.Tensor | None, most: int, last: bool
    ) -> torch.Tensor:
        """Latents [B, C, t, h, w] of a piece, timestep [B] or None -> completed pixels [B, 3, t', H, W].

        most: how many latent frames a layer processes at a time. Without this limit, a clip's last piece would release
        all waiting frames at once.
        """
        self.causal = getattr(net, "is_causal", False)
        if net.timestep_scale_multiplier is not None:
            timestep = timestep * net.timestep_scale_multiplier
        return self.through(self.layers(net, timestep, latents), latents, most, last)

    def layers(
        self, net: torch.nn.Module, timestep: torch.Tensor | None, like: torch.Tensor
    ) -> list[tuple[int, Layer]]:
        """A decoder's layers, each with the factor by which it lengthens a clip. like: sets device and dtype."""
        temb = embedded(net.mid_block, timestep, like)
        layers = [(1, partial(self.conv, net.conv_in))]
        layers += [(1, partial(self.resnet, resnet, temb=temb)) for resnet in net.mid_block.resnets]
        for block in net.up_blocks:
            if block.conv_in is not None:
                layers.append((1, partial(self.resnet, block.conv_in, temb=timestep)))
            temb = embedded(block, timestep, like)
            layers += [(layer.stride[0], partial(self.upsample, layer)) for layer in block.upsamplers or ()]
            layers += [(1, partial(self.resnet, resnet, temb=temb)) for resnet in block.resnets]
        return [*layers, (1, partial(self.finish, net, timestep))]

    def through(self, layers: list[tuple[int, Layer]], x: torch.Tensor, most: int, last: bool) -> torch.Tensor:
        """x through all layers, at most `most` of its frames at a time."""
        if not layers:
            return x
        (factor, layer), *rest = layers
        outputs, parts = [], x.split(most, dim=2)
        for number, part in enumerate(parts, 1):
            self.last = ends = last and number == len(parts)
            outputs.append(self.through(rest, layer(part), most * factor, ends))
        return torch.cat(outputs, dim=2)

    def finish(self, net: torch.nn.Module, timestep: torch.Tensor | None, x: torch.Tensor) -> torch.Tensor:
        """The last features of a decoder -> pixels."""
        x = over_channels(net.norm_out, x)
        if net.time_embedder is not None:
            table = net.scale_shift_table[None, ..., None, None, None]
            shift, scale = (embedded(net, timestep, x).unflatten(1, (2, -1)) + table).unbind(1)
            x = x * (1 + scale) + shift
        x = self.conv(net.conv_out, net.conv_act(x))
        side = net.patch_size
        return x.unflatten(1, (-1, side, side)).permute(0, 1, 4, 5, 3, 6, 2).flatten(5, 6).flatten(3, 4)

    def conv(self, layer: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
        """The convolution over kept frames of earlier pieces and x. The clip's first and last frames are repeated."""
        if isinstance(layer, torch.nn.Conv3d):  # a shortcut: each frame by itself
            return layer(x) if x.shape[2] else nothing_of(layer, x)
        kernel, stride = layer.kernel_size[0], layer.conv.stride[0]
        behind = 0 if getattr(layer, "is_causal", self.causal) else (kernel - 1) // 2
        x = self.with_kept(layer, x)
        if self.begins(layer, x):
            x = torch.cat([x[:, :, :1].expand(-1, -1, kernel - 1 - behind, -1, -1), x], dim=2)
        if self.last:
            x = torch.cat([x, x[:, :, -1:].expand(-1, -1, behind, -1, -1)], dim=2)
        count = max(0, (x.shape[2] - kernel) // stride + 1)
        self.kept[layer] = x[:, :, count * stride :].clone()
        return layer.conv(x) if count else nothing_of(layer.conv, x)

    def with_kept(self, key: Any, x: torch.Tensor) -> torch.Tensor:
        """The frames kept under `key`, followed by x."""
        return torch.cat([self.kept.pop(key), x], dim=2) if key in self.kept else x

    def waiting(self, key: Any, x: torch.Tensor, count: int) -> torch.Tensor:
        """Add x to the queue `key` and take the next `count` frames from it; the rest is kept."""
        x = self.with_kept(key, x)
        self.kept[key] = x[:, :, count:].clone()  # a view would keep the whole piece in memory
        return x[:, :, :count]

    def begins(self, layer: torch.nn.Module, x: torch.Tensor) -> bool:
        """Whether x has the clip's first frames for this layer."""
        if layer in self.begun or not x.shape[2]:
            return False
        self.begun.add(layer)
        return True

    def resnet(self, block: torch.nn.Module, x: torch.Tensor, temb: torch.Tensor | None = None) -> torch.Tensor:
        """Norm, activation and convolution, twice, with a skip connection."""
        hidden, shifts = over_channels(block.norm1, x), None
        if block.scale_shift_table is not None:
            shifts = (temb.unflatten(1, (4, -1)) + block.scale_shift_table[None, ..., None, None, None]).unbind(1)
            hidden = hidden * (1 + shifts[1]) + shifts[0]
        hidden = self.conv(block.conv1, block.nonlinearity(hidden))
        hidden = over_channels(block.norm2, self.noisy(hidden, block.per_channel_scale1))
        if shifts:
            hidden = hidden * (1 + shifts[3]) + shifts[2]
        hidden = self.conv(block.conv2, block.nonlinearity(hidden))
        hidden = self.noisy(hidden, block.per_channel_scale2)
        around = self.waiting(block, x, hidden.shape[2])
        if block.norm3 is not None:
            around = over_channels(block.norm3, around)
        if block.conv_shortcut is not None:
            around = self.conv(block.conv_shortcut, around)
        return hidden + around

    def noisy(self, x: torch.Tensor, scale: torch.nn.Parameter | None) -> torch.Tensor:
        """x with the noise that some decoders add; it is the same for all frames."""
        if scale is None:
            return x
        if scale not in self.noise:
            self.noise[scale] = torch.randn(x.shape[3:], device=x.device, dtype=x.dtype)
        return x + (self.noise[scale] * scale)[None, :, None]

    def down_block(self, block: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
        """A block of either generation: residual blocks, then downsampling."""
        for resnet in block.resnets:
            x = self.resnet(resnet, x)
        for layer in block.downsamplers or ():
            x = self.downsample(layer, x) if hasattr(layer, "group_size") else self.conv(layer, x)
        conv_out = getattr(block, "conv_out", None)
        return x if conv_out is None else self.resnet(conv_out, x)

    def downsample(self, layer: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
        """Fold time, height and width into channels. The first frame is repeated, so that all groups are full."""
        together = layer.stride[0]
        if self.begins(layer, x):
            x = torch.cat([x[:, :, : together - 1], x], dim=2)
        key = (layer, "through")
        through = self.with_kept(key, self.conv(layer.conv, x))
        through = self.waiting(key, through, through.shape[2] // together * together)
        around = folded(self.waiting(layer, x, through.shape[2]), layer.stride)
        return folded(through, layer.stride) + around.unflatten(1, (-1, layer.group_size)).mean(dim=2)

    def upsample(self, layer: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
        """Unfold channels into time, height and width. A clip's first frame stays one frame."""
        hidden = self.conv(layer.conv, x)
        unfolded = spread(hidden, layer.stride)
        if layer.residual:
            around = spread(self.waiting(layer, x, hidden.shape[2]), layer.stride)
            unfolded = unfolded + around.repeat(1, unfolded.shape[1] // around.shape[1], 1, 1, 1)
        return unfolded[:, :, layer.stride[0] - 1 :] if self.begins(layer, unfolded) else unfolded


def over_channels(norm: Layer, x: torch.Tensor) -> torch.Tensor:
    """Apply a norm to the channels of features [B, C, T, H, W]: one over dimension 1, or over the last one."""
    if getattr(norm, "channel_dim", None) == 1:
        return norm(x)
    return norm(x.movedim(1, -1)).movedim(-1, 1)


def embedded(block: torch.nn.Module, timestep: torch.Tensor | None, x: torch.Tensor) -> torch.Tensor | None:
    """The block's embedding of the timestep, [B, width, 1, 1, 1]; None if it has none."""
    if block.time_embedder is None:
        return None
    embedding = block.time_embedder(
        timestep=timestep.flatten(), resolution=None, aspect_ratio=None, batch_size=len(x), hidden_dtype=x.dtype
    )
    return embedding.view(len(x), -1, 1, 1, 1)


def nothing_of(conv: torch.nn.Conv3d, x: torch.Tensor) -> torch.Tensor:
    """An output of the convolution with 0 frames, of the size and width that it has for x."""
    sides = zip(x.shape[3:], conv.padding[1:], conv.kernel_size[1:], conv.stride[1:], strict=True)
    size = [(side + 2 * padding - kernel) // stride + 1 for side, padding, kernel, stride in sides]
    return x.new_empty(len(x), conv.out_channels, 0, *size)


def folded(x: torch.Tensor, stride: tuple[int, int, int]) -> torch.Tensor:
    """[B, C, T, H, W] -> [B, C * s0 * s1 * s2, T / s0, H / s1, W / s2]."""
    x = x.unflatten(4, (-1, stride[2])).unflatten(3, (-1, stride[1]))
    x = x.unflatten(2, (x.shape[2] // stride[0], stride[0]))
    return x.permute(0, 1, 3, 5, 7, 2, 4, 6).flatten(1, 4)


def spread(x: torch.Tensor, stride: tuple[int, int, int]) -> torch.Tensor:
    """The inverse of `folded`."""
    x = x.unflatten(1, (-1, *stride)).permute(0, 1, 5, 2, 6, 3, 7, 4)
    return x.flatten(6, 7).flatten(4, 5).flatten(2, 3)
