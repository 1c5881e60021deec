"""The picture of the pocket with sound: the pocket model's own autoencoder and transformer, in LTX-2's layout.

LTX-2's layers compute what LTX Video's do, so the weights are the same numbers under the same names. A first latent
frame that counts as long as the others (`causal_offset`) leaves the positions as the pocket model knows them.
"""

from pathlib import Path

import torch
from diffusers import (
    AutoencoderKLLTX2Video,
    AutoencoderKLLTXVideo,
    LTX2VideoTransformer3DModel,
    LTXVideoTransformer3DModel,
)
from transformers import T5EncoderModel

from pocket.shared_text import POCKET

TEMPORAL, SPATIAL = 4, 16
SOUND_HEADS, SOUND_HEAD = 3, 16
KEPT = (
    "latent_channels decoder_block_out_channels layers_per_block decoder_layers_per_block spatio_temporal_scaling "
    "decoder_spatio_temporal_scaling decoder_inject_noise downsample_type upsample_residual upsample_factor patch_size "
    "encoder_causal decoder_causal"
).split()


def autoencoder() -> AutoencoderKLLTX2Video:
    """The pocket model's video autoencoder as LTX-2's."""
    own = AutoencoderKLLTXVideo.from_pretrained(POCKET / "vae", dtype=torch.float32)
    vae = AutoencoderKLLTX2Video(
        **{name: own.config[name] for name in KEPT},
        block_out_channels=own.config.block_out_channels[1:],  # the first is what LTX-2's begins with, the latents'
        down_block_types=("LTX2VideoDownBlock3D",) * 2,
        upsample_type=("spatiotemporal",) * 2,
        decoder_spatial_padding_mode="zeros",
        spatial_compression_ratio=SPATIAL,
        temporal_compression_ratio=TEMPORAL,
    )
    vae.load_state_dict({key.replace("shortcut.conv.", "shortcut."): value for key, value in own.state_dict().items()})
    return vae.eval()


def network() -> LTX2VideoTransformer3DModel:
    """LTX-2's network, whose picture stream is the pocket model's; its sound stream is fresh, and not heard by it."""
    own = LTXVideoTransformer3DModel.from_pretrained(POCKET / "transformer", dtype=torch.float32)
    config, sound = own.config, SOUND_HEADS * SOUND_HEAD
    net = LTX2VideoTransformer3DModel(
        in_channels=config.in_channels,
        out_channels=config.out_channels,
        num_attention_heads=config.num_attention_heads,
        attention_head_dim=config.attention_head_dim,
        cross_attention_dim=config.cross_attention_dim,
        vae_scale_factors=(TEMPORAL, SPATIAL, SPATIAL),
        causal_offset=TEMPORAL,
        audio_num_attention_heads=SOUND_HEADS,
        audio_attention_head_dim=SOUND_HEAD,
        audio_cross_attention_dim=sound,
        num_layers=config.num_layers,
        caption_channels=config.caption_channels,
        rope_type="interleaved",
    )
    state = own.state_dict()
    # The connectors give the text without the scale of T5's last layer.
    scale = T5EncoderModel.from_pretrained(POCKET / "text_encoder", dtype=torch.float32).encoder.final_layer_norm.weight
    state["caption_projection.linear_1.weight"] = state["caption_projection.linear_1.weight"] * scale
    net.load_state_dict(state, strict=False)
    return net


def train(work: Path, minutes: float, release: Path | None = None) -> None:
    """Saves the video autoencoder in `work`/vae: nothing of it is trained."""
    autoencoder().save_pretrained(work / "vae")
