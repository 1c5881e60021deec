"""LTX Video (Lightricks) 0.9.0 to 0.9.8, 2B and 13B, dev and distilled: diffusers' network, autoencoder, schedule.

Sources: arXiv 2501.00103; the model cards of Lightricks/LTX-Video, -0.9.5, -0.9.7-dev, -0.9.7-distilled and
-0.9.8-13B-distilled.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKLLTXVideo, FlowMatchEulerDiscreteScheduler, LTXVideoTransformer3DModel

from ...bridge.network_base import ComfyNetwork
from ...bridge.weights import load_weights, without_weights
from ...contract.family import Family, Recipe, Text, Variant
from ...contract.grid import Grid, Shape, State
from ...contract.schedule import shift_of_tokens
from ...streaming.passes import CodingPass, pieces
from ...weights.checkpoint import Checkpoint, Component
from ...weights.key_names import renamed
from ...weights.scaled_fp8 import dequantised
from .known_frames import PerToken
from .streamed_coder import LTXStream

GRID = Grid(channels=128, temporal=8, spatial=32)
NEGATIVE = "worst quality, inconsistent motion, blurry, jittery, distorted"
RECIPE_2B = Recipe(704, 480, 161, fps=25, steps=50, guidance=3.0, negative_prompt=NEGATIVE)
RECIPE_13B = Recipe(832, 480, 97, fps=25, steps=30, guidance=3.0, negative_prompt=NEGATIVE)
# The published scheduler_config.json: the shift grows with the token count, the tail is stretched to end at 0.1.
SCHEDULER = {
    "use_dynamic_shifting": True,
    "base_shift": 0.95,
    "max_shift": 2.05,
    "base_image_seq_len": 1024,
    "max_image_seq_len": 4096,
    "shift_terminal": 0.1,
}
# `allowed_inference_steps` of the distilled checkpoints.
DISTILLED_SIGMAS = (1.0, 0.9937, 0.9875, 0.9812, 0.975, 0.9094, 0.725, 0.4219)
# Decoders of 0.9.1 and later are conditioned on a timestep: model cards decode at 0.05, with 0.025 of noise added.
DECODE_TIMESTEP, DECODE_NOISE, DECODE_SEED = 0.05, 0.025, 0
PIECE = 2  # latent frames that are coded at a time


# ------------------------------------------------------------------------------------------------ network


class LTXVideoNetwork(ComfyNetwork, LTXVideoTransformer3DModel):
    """diffusers' LTX transformer under ComfyUI's calling convention. Parameter names are diffusers' own."""

    grid: Grid

    def denoise(
        self,
        x: torch.Tensor,
        timestep: torch.Tensor,
        context: torch.Tensor,
        *,
        attention_mask: torch.Tensor | None = None,
        frame_rate: float = 25.0,
        **_: Any,
    ) -> torch.Tensor:
        """Velocity [B, C, T, H, W] of the latent x [B, C, T, H, W].

        timestep: 0..1000, [B] or one per token [B, T * H * W]. context: text [B, tokens, width], of which
        attention_mask [B, tokens] marks (1) what is prompt. frame_rate: frames per second, which scales positions.
        """
        _, _, time, height, width = x.shape
        spatial = self.grid.spatial
        tokens = self.reference(
            hidden_states=x.flatten(2).transpose(1, 2),
            encoder_hidden_states=context,
            timestep=timestep,
            encoder_attention_mask=attention_mask,
            num_frames=time,
            height=height,
            width=width,
            rope_interpolation_scale=(self.grid.temporal / frame_rate, spatial, spatial),
            return_dict=False,
        )[0]
        return tokens.transpose(1, 2).unflatten(2, (time, height, width))


def build_network(variant: Variant) -> LTXVideoNetwork:
    with without_weights():
        network = LTXVideoNetwork(**variant.network)
    network.grid = variant.grid
    return network


def network_state(state: State) -> State:
    """Original (Lightricks) or diffusers key names -> diffusers key names."""
    names = {
        "patchify_proj.": "proj_in.",
        "adaln_single.": "time_embed.",
        ".q_norm.": ".norm_q.",
        ".k_norm.": ".norm_k.",
    }
    pattern = re.compile("|".join(map(re.escape, names)))
    return {pattern.sub(lambda found: names[found[0]], key): weight for key, weight in state.items()}


# ------------------------------------------------------------------------------------------------ recognising


def recognise(checkpoint: Checkpoint) -> Variant | None:
    """The LTX variant of a folder or file, from config and keys; None when it is another model."""
    network = checkpoint.network
    if "audio_patchify_proj.weight" in network.shapes:
        return None  # LTX-2: the same names, another network
    if network.config:
        if network.config.get("_class_name") != "LTXVideoTransformer3DModel":
            return None
        config = network.arguments
    elif "patchify_proj.weight" in network.shapes or "proj_in.weight" in network.shapes and _looks_like_ltx(network):
        config = _network_config(network, checkpoint.metadata.get("transformer", {}))
    else:
        return None
    return _variant(checkpoint, config)


def _looks_like_ltx(network: Component) -> bool:
    block = "transformer_blocks.0."
    return "time_embed.linear.weight" in network.shapes and block + "attn2.norm_q.weight" in network.shapes


def _network_config(network: Component, metadata: dict[str, Any]) -> dict[str, Any]:
    """The network's arguments, read from the weights' shapes. All published sizes have 32 heads."""
    shapes = network.shapes
    stem = "patchify_proj" if "patchify_proj.weight" in shapes else "proj_in"
    width, channels = shapes[f"{stem}.weight"]
    heads = metadata.get("num_attention_heads", 32)
    return {
        "in_channels": channels,
        "out_channels": shapes["proj_out.weight"][0],
        "num_attention_heads": heads,
        "attention_head_dim": width // heads,
        "cross_attention_dim": shapes["transformer_blocks.0.attn2.to_k.weight"][1],
        "num_layers": 1 + max(int(k.split(".")[1]) for k in shapes if k.startswith("transformer_blocks.")),
        "caption_channels": shapes["caption_projection.linear_1.weight"][1],
    }


def _variant(checkpoint: Checkpoint, config: dict[str, Any]) -> Variant:
    width = config.get("num_attention_heads", 32) * config.get("attention_head_dim", 64)
    recipe, size = (RECIPE_13B, "13B") if width >= 4096 else (RECIPE_2B, "2B")
    scheduler = {**SCHEDULER, **checkpoint.scheduler}
    distilled = _is_distilled(checkpoint)
    if distilled:
        recipe = replace(recipe, steps=len(DISTILLED_SIGMAS), guidance=1.0, negative_prompt="")
        scheduler["distilled"] = True
    return Variant(
        name=f"LTX Video {size}{' distilled' if distilled else ''}",
        grid=_grid_of(checkpoint, config.get("in_channels", 128)),
        recipe=recipe,
        network=config,
        text=Text(tokens=128, channels=config.get("caption_channels", 4096)),
        known_frames=PerToken(),
        scheduler=scheduler,
    )


def _is_distilled(checkpoint: Checkpoint) -> bool:
    # Architecture and most configs are the same: Lightricks tells them apart by the steps in the file's metadata
    # and by name.
    steps = checkpoint.metadata.get("scheduler", {}).get("allowed_inference_steps")
    return bool(steps) or "distilled" in checkpoint.path.name.lower()


def _grid_of(checkpoint: Checkpoint, channels: int) -> Grid:
    config = checkpoint.vae.config if checkpoint.vae else {}
    return _grid(config) if config else replace(GRID, channels=channels)


def _grid(config: dict[str, Any]) -> Grid:
    halvings = sum(config.get("spatio_temporal_scaling", (True, True, True, False)))
    return Grid(
        channels=config.get("latent_channels", 128),
        temporal=config.get("temporal_compression_ratio") or config.get("patch_size_t", 1) * 2**halvings,
        spatial=config.get("spatial_compression_ratio") or config.get("patch_size", 4) * 2**halvings,
    )


# ------------------------------------------------------------------------------------------------ schedule


def schedule(variant: Variant, steps: int, latent_shape: Shape) -> torch.Tensor:
    """Sigmas [steps + 1] as LTXPipeline has them: shifted by the token count, tail stretched; distilled: a fixed list.

    latent_shape: [B, C, T, H, W]. Distilled models take at most 8 steps, spread over the list they were trained on.
    """
    if variant.scheduler.get("distilled"):
        chosen = np.linspace(0, len(DISTILLED_SIGMAS) - 1, min(steps, len(DISTILLED_SIGMAS))).round().astype(int)
        return torch.tensor([*(DISTILLED_SIGMAS[i] for i in chosen), 0.0])
    if steps == 1:  # there is no tail, and diffusers' stretching of it divides zero by zero
        return torch.tensor([1.0, 0.0])
    scheduler = FlowMatchEulerDiscreteScheduler.from_config(dict(variant.scheduler))
    mu = shift_of_tokens(scheduler.config, int(np.prod(latent_shape[2:])))
    scheduler.set_timesteps(sigmas=np.linspace(1.0, 1 / steps, steps), mu=mu)
    return scheduler.sigmas.float()


# ------------------------------------------------------------------------------------------------ autoencoder


class LTXVideoAutoencoder(torch.nn.Module):
    """diffusers' LTX autoencoder between pixels and the normalised latents the network sees."""

    decode_values = 2420.0  # counted, see tools/benchmarks/decode.py

    def __init__(self, vae: AutoencoderKLLTXVideo) -> None:
        super().__init__()
        self.vae, self.grid = vae, _grid(vae.config)

    def encode_values(self, frames: int) -> float:
        return 1420.0  # counted, too

    def encoding(self, frames: int) -> CodingPass:
        """Pixels -> mode of the posterior."""
        stream, channels = LTXStream(), self.grid.channels
        size = PIECE * self.grid.temporal
        return CodingPass(
            pieces(size + 1, size, frames),
            lambda piece, last: stream.encode(self.vae.encoder, piece, last)[:, :channels],
        )

    def decoding(self, frames: int) -> CodingPass:
        """The decoder's latents -> pixels."""
        stream = LTXStream()

        def step(piece: torch.Tensor, last: bool) -> torch.Tensor:
            conditioned = self.vae.config.timestep_conditioning
            timestep = piece.new_full((len(piece),), DECODE_TIMESTEP) if conditioned else None
            return stream.decode(self.vae.decoder, piece, timestep, PIECE, last)

        return CodingPass(pieces(PIECE, PIECE, frames), step)

    def normal(self, latents: torch.Tensor) -> torch.Tensor:
        mean, std = self._statistics(latents)
        return (latents - mean) / std

    def raw(self, latents: torch.Tensor) -> torch.Tensor:
        """As the decoder takes them; conditioned on a timestep, it takes noise, the same each time, so that a latent
        always decodes to the same clip.
        """
        mean, std = self._statistics(latents)
        latents = latents * std + mean
        if self.vae.config.timestep_conditioning:
            generator = torch.Generator("cpu").manual_seed(DECODE_SEED)
            noise = torch.randn(latents.shape, generator=generator, dtype=latents.dtype).to(latents.device)
            latents = (1 - DECODE_NOISE) * latents + DECODE_NOISE * noise
        return latents

    def _statistics(self, like: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        shape = (1, -1, 1, 1, 1)
        return self.vae.latents_mean.to(like).view(shape), self.vae.latents_std.to(like).view(shape)


def build_autoencoder(component: Component, variant: Variant) -> LTXVideoAutoencoder | None:
    """A VAE of any LTX version, in diffusers' or the original layout, with its weights; None when it is another's."""
    config = component.arguments
    state = None
    if not config:
        layout = next((layout for layout in LAYOUTS if layout.recognises(component)), None)
        if layout is None:
            return None
        config, state = layout.config(component), layout.renamed(dequantised(component.state_dict()))
    elif component.config.get("_class_name") != "AutoencoderKLLTXVideo":
        return None
    with without_weights():
        vae = AutoencoderKLLTXVideo(**config)
    load_weights(vae, state or dequantised(component.state_dict()), torch.float32, torch.float32)
    return LTXVideoAutoencoder(vae)


class VaeLayout:
    """The original key layout of one generation of LTX autoencoders, and the diffusers config it stands for.

    `encoder` and `decoder` say which diffusers block each numbered original block is. Widths and depths come from the
    weights, so the config holds only what shapes cannot tell. `widths` are the published ones, for an encoder that is
    128 wide at its input.
    """

    def __init__(
        self, marks: tuple[str, ...], encoder: str, decoder: str, widths: tuple, decoder_widths: tuple, **config: Any
    ):
        self.marks, self.fixed = marks, config
        self.encoder, self.decoder = encoder.split(), decoder.split()
        self.widths, self.decoder_widths = widths, decoder_widths

    def recognises(self, component: Component) -> bool:
        return all(mark in component.shapes for mark in self.marks)

    def config(self, component: Component) -> dict[str, Any]:
        shapes = component.shapes
        width, patched = shapes["encoder.conv_in.conv.weight"][:2]
        scale = width / 128
        return {
            "latent_channels": shapes["decoder.conv_in.conv.weight"][1],
            "patch_size": round((patched / 3) ** 0.5),
            "block_out_channels": tuple(round(w * scale) for w in self.widths),
            "decoder_block_out_channels": tuple(round(w * scale) for w in self.decoder_widths),
            "layers_per_block": _depths(shapes, "encoder.down_blocks", self.encoder),
            "decoder_layers_per_block": _depths(shapes, "decoder.up_blocks", self.decoder)[::-1],
            "decoder_inject_noise": _noisy(shapes, self.decoder)[::-1],
            "timestep_conditioning": "decoder.last_scale_shift_table" in shapes,
            **self.fixed,
        }

    def renamed(self, state: State) -> State:
        """Weights under the original names -> under diffusers' names; statistics nobody reads are left out."""
        out = {}
        for key, weight in state.items():
            block = _numbered(key, "encoder.down_blocks", self.encoder) or _numbered(
                key, "decoder.up_blocks", self.decoder
            )
            name = renamed(block or key, RENAMED)
            if name in ("latents_mean", "latents_std") or name.startswith(("encoder.", "decoder.")):
                out[name] = weight
        return out


RENAMED = (
    (r"\.res_blocks\.", ".resnets."),
    (r"\.conv_shortcut\.(?!conv\.)", ".conv_shortcut.conv."),
    (r"\.norm3\.norm\.", ".norm3."),
    (r"\.last_time_embedder\.", ".time_embedder."),
    (r"\.last_scale_shift_table$", ".scale_shift_table"),
    (r"^per_channel_statistics\.mean-of-means$", "latents_mean"),
    (r"^per_channel_statistics\.std-of-means$", "latents_std"),
)


def _numbered(key: str, stem: str, blocks: list[str]) -> str | None:
    """`stem.N.rest` -> the diffusers name of block N."""
    found = re.match(rf"({stem.split('.')[0]})\.{stem.split('.')[1]}\.(\d+)\.(.*)", key)
    return f"{found[1]}.{blocks[int(found[2])]}.{found[3]}" if found else None


def _resnet_blocks(stem: str, blocks: list[str]) -> list[str]:
    """The original prefixes of the blocks made of residual layers (not those that resample or widen)."""
    return [f"{stem}.{n}.res_blocks" for n, name in enumerate(blocks) if "samplers" not in name and "conv_" not in name]


def _depths(shapes: dict[str, Shape], stem: str, blocks: list[str]) -> tuple[int, ...]:
    prefixes = _resnet_blocks(stem, blocks)
    return tuple(sum(f"{p}.{n}.conv1.conv.weight" in shapes for n in range(64)) for p in prefixes)


def _noisy(shapes: dict[str, Shape], blocks: list[str]) -> tuple[bool, ...]:
    return tuple(f"{p}.0.per_channel_scale1" in shapes for p in _resnet_blocks("decoder.up_blocks", blocks))


ENCODER_090 = """down_blocks.0 down_blocks.0.downsamplers.0 down_blocks.0.conv_out down_blocks.1
    down_blocks.1.downsamplers.0 down_blocks.1.conv_out down_blocks.2 down_blocks.2.downsamplers.0 down_blocks.3
    mid_block"""
DECODER_090 = """mid_block up_blocks.0 up_blocks.1.upsamplers.0 up_blocks.1 up_blocks.2.conv_in up_blocks.2.upsamplers.0
    up_blocks.2 up_blocks.3.conv_in up_blocks.3.upsamplers.0 up_blocks.3"""
ENCODER_095 = """down_blocks.0 down_blocks.0.downsamplers.0 down_blocks.1 down_blocks.1.downsamplers.0 down_blocks.2
    down_blocks.2.downsamplers.0 down_blocks.3 down_blocks.3.downsamplers.0 mid_block"""
DECODER_091 = """mid_block up_blocks.0.upsamplers.0 up_blocks.0 up_blocks.1.upsamplers.0 up_blocks.1
    up_blocks.2.upsamplers.0 up_blocks.2"""

LAYOUTS = (
    VaeLayout(  # 0.9.5 and later
        ("encoder.down_blocks.1.conv.conv.weight", "decoder.up_blocks.1.conv.conv.weight"),
        ENCODER_095,
        DECODER_091,
        (128, 256, 512, 1024, 2048),
        (256, 512, 1024),
        down_block_types=("LTXVideo095DownBlock3D",) * 4,
        spatio_temporal_scaling=(True,) * 4,
        downsample_type=("spatial", "temporal", "spatiotemporal", "spatiotemporal"),
        decoder_spatio_temporal_scaling=(True,) * 3,
        upsample_residual=(True,) * 3,
        upsample_factor=(2,) * 3,
        spatial_compression_ratio=32,
        temporal_compression_ratio=8,
    ),
    VaeLayout(  # 0.9.1
        ("encoder.down_blocks.9.res_blocks.0.conv1.conv.weight", "decoder.last_scale_shift_table"),
        ENCODER_090,
        DECODER_091,
        (128, 256, 512, 512),
        (256, 512, 1024),
        spatio_temporal_scaling=(True, True, True, False),
        decoder_spatio_temporal_scaling=(True,) * 3,
        upsample_residual=(True,) * 3,
        upsample_factor=(2,) * 3,
    ),
    VaeLayout(  # 0.9.0
        ("encoder.down_blocks.9.res_blocks.0.conv1.conv.weight", "decoder.up_blocks.9.res_blocks.0.conv1.conv.weight"),
        ENCODER_090,
        DECODER_090,
        (128, 256, 512, 512),
        (128, 256, 512, 512),
        spatio_temporal_scaling=(True, True, True, False),
        decoder_spatio_temporal_scaling=(True, True, True, False),
    ),
)

FAMILY = Family(
    name="LTX Video",
    recognise=recognise,
    network=build_network,
    network_state=network_state,
    autoencoder=build_autoencoder,
    schedule=schedule,
    preview="LTXV",
)
