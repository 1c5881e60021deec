"""Key names of published LTX Video files: Lightricks' layouts -> diffusers', of the network and of the autoencoder."""

from __future__ import annotations

import re
from typing import Any

from ...contract.grid import Shape, State
from ...weights.checkpoint import Component
from ...weights.key_names import blocks_of, renamed


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


class VaeLayout:
    """The original key layout of one generation of LTX autoencoders, and the diffusers config it stands for.

    `encoder` and `decoder` list the diffusers block of each numbered original block. Widths and depths are read from
    the weights, so the config has only what shapes do not show. `widths` are the published ones, for an encoder that
    is 128 wide at its input.
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
        """Weights under the original names -> under diffusers' names; unused statistics are left out."""
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
    match = re.match(rf"({stem.split('.')[0]})\.{stem.split('.')[1]}\.(\d+)\.(.*)", key)
    return f"{match[1]}.{blocks[int(match[2])]}.{match[3]}" if match else None


def _resnet_blocks(stem: str, blocks: list[str]) -> list[str]:
    """The original prefixes of the blocks of residual layers (not those that resample or widen)."""
    return [f"{stem}.{n}.res_blocks" for n, name in enumerate(blocks) if "samplers" not in name and "conv_" not in name]


def _depths(shapes: dict[str, Shape], stem: str, blocks: list[str]) -> tuple[int, ...]:
    prefixes = _resnet_blocks(stem, blocks)
    return tuple(blocks_of(shapes, prefix) for prefix in prefixes)


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


LATE_BLOCK = "LTXVideo095DownBlock3D"
"""A block that autoencoders have from 0.9.5 on."""
VERSIONS = ("0.9.5", "0.9.1", "0.9.0")
"""The versions of the autoencoders in LAYOUTS."""
LAYOUTS = (
    VaeLayout(  # 0.9.5 and later
        # LTX-2's has the same names, and no timestep.
        (
            "encoder.down_blocks.1.conv.conv.weight",
            "decoder.up_blocks.1.conv.conv.weight",
            "decoder.last_scale_shift_table",
        ),
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


def vae_version(component: Component | None) -> str:
    """The version whose autoencoder this is: "0.9.0", "0.9.1" or "0.9.5" (and later); "" for none or another's."""
    if component is None:
        return ""
    config = component.arguments
    if component.config.get("_class_name", "AutoencoderKLLTXVideo") != "AutoencoderKLLTXVideo":
        return ""
    if not config:
        found = (version for version, layout in zip(VERSIONS, LAYOUTS, strict=True) if layout.recognises(component))
        return next(found, "")
    if LATE_BLOCK in config.get("down_block_types", ()):
        return VERSIONS[0]
    return VERSIONS[1] if config.get("timestep_conditioning") else VERSIONS[2]
