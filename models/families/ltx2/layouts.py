"""Key names of published LTX-2 files: Lightricks' layout -> diffusers', of each of the model's parts."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from ...contract.family import Part
from ...contract.grid import State
from ...weights.checkpoint import Component
from ...weights.key_names import blocks_of, renamed

CONNECTORS, PROJECTION, AUDIO_VAE, VOCODER = "connectors", "projection", "audio_vae", "vocoder"
PARTS = {
    CONNECTORS: Part("video_embeddings_connector.", "", "text_encoders", "text connectors"),
    PROJECTION: Part("text_embedding_projection.", "", "text_encoders", "text projection"),
    AUDIO_VAE: Part("audio_vae.", "audio_vae.", "vae", "audio VAE"),
    VOCODER: Part("vocoder.", "vocoder.", "vae", "vocoder"),
}

_ATTENTION = ((r"\.q_norm\.", ".norm_q."), (r"\.k_norm\.", ".norm_k."))
NETWORK = (
    (r"^(audio_)?patchify_proj\.", r"\1proj_in."),
    (r"^av_ca_(video|audio)_scale_shift_adaln_single\.", r"av_cross_attn_\1_scale_shift."),
    (r"^av_ca_a2v_gate_adaln_single\.", "av_cross_attn_video_a2v_gate."),
    (r"^av_ca_v2a_gate_adaln_single\.", "av_cross_attn_audio_v2a_gate."),
    (r"^(audio_)?prompt_adaln_single\.", r"\1prompt_adaln."),
    (r"^(audio_)?adaln_single\.", r"\1time_embed."),
    (r"\.scale_shift_table_a2v_ca_(video|audio)$", r".\1_a2v_cross_attn_scale_shift_table"),
    *_ATTENTION,
)
CONNECTOR = (
    (r"^connectors\.", ""),
    (r"^model\.diffusion_model\.", ""),
    (r"^(video|audio)_embeddings_connector\.", r"\1_connector."),
    (r"\.transformer_1d_blocks\.", ".transformer_blocks."),
    *_ATTENTION,
)
TEXT = (
    (r"^text_embedding_projection\.", ""),
    (r"^aggregate_embed\.", "text_proj_in."),
    (r"^(video|audio)_aggregate_embed\.", r"\1_text_proj_in."),
)
STATISTICS = (
    (r"^per_channel_statistics\.mean-of-means$", "latents_mean"),
    (r"^per_channel_statistics\.std-of-means$", "latents_std"),
)
VOCODER_NAMES = (
    (r"(^|\.)ups\.", r"\1upsamplers."),
    (r"(^|\.)resblocks\.", r"\1resnets."),
    (r"(^|\.)conv_pre\.", r"\1conv_in."),
    (r"(^|\.)conv_post\.", r"\1conv_out."),
    (r"(^|\.)act_post\.", r"\1act_out."),
    (r"downsample\.lowpass\.", "downsample."),
)
VIDEO_VAE = (
    (r"\.res_blocks\.", ".resnets."),
    (r"\.last_time_embedder\.", ".time_embedder."),
    (r"\.last_scale_shift_table$", ".scale_shift_table"),
    *STATISTICS,
)


def is_connector(key: str) -> bool:
    """Whether a key of the network, or of the part "connectors", belongs to the connectors."""
    return bool(re.match(r"(connectors\.)?(model\.diffusion_model\.)?(video|audio)_(embeddings_)?connector\.", key))


def network_state(state: State) -> State:
    """The weights of the network and of its two connectors, in any published layout, under the network's own names."""
    out = {}
    for key, weight in state.items():
        if is_connector(key):
            out[renamed(key, CONNECTOR)] = weight
        elif not key.startswith(("connectors.", "text_embedding_projection.", "audio_vae.", "vocoder.")):
            out[renamed(key, NETWORK)] = weight
    return out


def projection_state(components: Iterable[Component | None]) -> State:
    """The weights of the text projection, from a folder's connectors or from a file."""
    out = {}
    for component in filter(None, components):
        for key, weight in component.state_dict().items():
            if re.search(r"(text_proj_in|aggregate_embed)\.(weight|bias)$", key):
                out[renamed(key, TEXT)] = weight
    return out


def vocoder_state(component: Component) -> State:
    return {renamed(key, VOCODER_NAMES): weight for key, weight in component.state_dict().items()}


def audio_vae_state(component: Component) -> State:
    return {renamed(key, STATISTICS): weight for key, weight in component.state_dict().items()}


OF_UPSCALERS = ("rational_resampler", "spatial_scale", "rational_spatial_scale")
"""Entries that the upscalers of LTX-2 have in their config, and those of LTX Video do not."""
WIDE = 1024
"""The features of LTX-2's upscalers. LTX Video's have 512 under the same names."""


def is_upscaler(component: Component) -> bool:
    """Whether this is a latent upscaler of LTX-2. In a file without a config, only its width tells."""
    shapes, config = component.shapes, component.config
    if "post_upsample_res_blocks.0.conv2.bias" not in shapes or "initial_conv.weight" not in shapes:
        return False
    named = "LTX2" in str(config.get("_class_name")) or any(name in config for name in OF_UPSCALERS)
    return named or "upsampler.conv.weight" in shapes or shapes["initial_conv.weight"][0] >= WIDE


# ---------------------------------------------------------------------------------------------- the video VAE

ENCODER_STEPS = ((1, 2, 2), (2, 1, 1), (2, 2, 2), (2, 2, 2))
"""How each down block of the encoder shrinks time, height and width."""
DECODERS: dict[str, dict[str, Any]] = {
    "2.0": {
        "upsample_type": ("spatiotemporal",) * 3,
        "upsample_residual": (True,) * 3,
        "upsample_factor": (2, 2, 2),
        "decoder_spatial_padding_mode": "reflect",
    },
    "2.3": {
        "upsample_type": ("spatiotemporal", "spatiotemporal", "temporal", "spatial"),
        "upsample_residual": (False,) * 4,
        "upsample_factor": (2, 2, 1, 2),
        "decoder_spatial_padding_mode": "zeros",
    },
}
"""What the shapes of a decoder's weights do not show, by version. LTX-2.5's convolutional decoder is that of 2.3."""


def vae_version(component: Component | None) -> str:
    """The version whose video VAE this is: "2.0" or "2.3"; "" for none or another family's."""
    if component is None:
        return ""
    if component.config:
        if component.config.get("_class_name") != "AutoencoderKLLTX2Video":
            return ""
        return "2.3" if len(component.config.get("upsample_factor", (2, 2, 2))) == 4 else "2.0"
    shapes = component.shapes
    known = "encoder.down_blocks.7.conv.conv.weight" in shapes and "decoder.up_blocks.5.conv.conv.weight" in shapes
    if not known or "decoder.last_scale_shift_table" in shapes:  # LTX Video's from 0.9.5 on, which has a timestep
        return ""
    return "2.3" if "decoder.up_blocks.7.conv.conv.weight" in shapes else "2.0"


def video_vae_config(component: Component, version: str) -> dict[str, Any]:
    """The arguments of a single file's video VAE, from the shapes of its weights."""
    shapes, fixed = component.shapes, DECODERS[version]
    count = len(fixed["upsample_factor"])
    factors = fixed["upsample_factor"][::-1]
    widths = [
        shapes[f"encoder.down_blocks.{2 * n + 1}.conv.conv.weight"][0] * step[0] * step[1] * step[2]
        for n, step in enumerate(ENCODER_STEPS)
    ]
    decoder_widths = [
        shapes[f"decoder.up_blocks.{2 * n + 2}.res_blocks.0.conv1.conv.weight"][0] * factor
        for n, factor in enumerate(factors)
    ]
    return {
        "latent_channels": shapes["decoder.conv_in.conv.weight"][1],
        "block_out_channels": tuple(widths),
        "decoder_block_out_channels": tuple(decoder_widths[::-1]),
        "layers_per_block": tuple(blocks_of(shapes, f"encoder.down_blocks.{2 * n}.res_blocks") for n in range(5)),
        "decoder_layers_per_block": tuple(
            blocks_of(shapes, f"decoder.up_blocks.{2 * n}.res_blocks") for n in range(count + 1)
        )[::-1],
        "decoder_spatio_temporal_scaling": (True,) * count,
        "decoder_inject_noise": (False,) * (count + 1),
        "patch_size": round((shapes["encoder.conv_in.conv.weight"][1] / 3) ** 0.5),
        "encoder_causal": True,
        "decoder_causal": False,
        "spatial_compression_ratio": 32,
        "temporal_compression_ratio": 8,
        **fixed,
    }


def video_vae_state(component: Component) -> State:
    """A single file's video VAE under diffusers' names; statistics that are not used are left out."""
    out = {}
    for key, weight in component.state_dict().items():
        name = renamed(_block(key), VIDEO_VAE)
        if name in ("latents_mean", "latents_std") or name.startswith(("encoder.", "decoder.")):
            out[name] = weight
    return out


def _block(key: str) -> str:
    """Lightricks number the blocks of residual layers and those that resample in one row; the outermost is "mid"."""
    match = re.match(r"(encoder|decoder)\.(down|up)_blocks\.(\d+)\.(.*)", key)
    if not match:
        return key
    part, kind, number, rest = match[1], match[2], int(match[3]), match[4]
    if number == (8 if kind == "down" else 0):
        return f"{part}.mid_block.{rest}"
    block = number // 2 if kind == "down" else (number - 1) // 2
    resamples = number % 2 == 1
    samplers = "downsamplers" if kind == "down" else "upsamplers"
    return f"{part}.{kind}_blocks.{block}.{f'{samplers}.0.' if resamples else ''}{rest}"
