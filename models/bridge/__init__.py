"""A network -> MODEL, an autoencoder -> VAE, a T5 -> CLIP: ComfyUI's own objects, and sampling with them.

The only room that knows ComfyUI's internals and where its versions (0.3.75 and newer) differ. Its files, from the
ground: `running`, `network`, `video_model`, `wrappers`, `windows`, `previews`, `patcher`, `vae`, `introduce`,
`clip`, `sampling`; `guest` stands by itself.
"""

from __future__ import annotations

from .guest_model import guest
from .job import metadata, output_is_used, progress
from .pairing import introduce
from .patcher import make_model, make_static, weight_shapes, with_dynamic_guidance, with_lora
from .sampling import control, empty_latent, remarks, sample, with_frame_rate, with_options
from .text_encoder import encode_text, make_t5_clip, style_of, t5_config
from .vae import decode, decode_stream, encode, encode_stream, frames_of, make_vae, resized, vae_grid
from .video_model import video_model
from .weights import call_network, check_memory, choose_dtypes, load_weights, without_weights
from .wrappers.known_frames import noise_in_front

__all__ = [
    "call_network",
    "check_memory",
    "choose_dtypes",
    "control",
    "decode",
    "decode_stream",
    "empty_latent",
    "encode",
    "encode_stream",
    "encode_text",
    "frames_of",
    "guest",
    "introduce",
    "load_weights",
    "make_model",
    "make_static",
    "make_t5_clip",
    "make_vae",
    "metadata",
    "noise_in_front",
    "output_is_used",
    "progress",
    "remarks",
    "resized",
    "sample",
    "style_of",
    "t5_config",
    "vae_grid",
    "video_model",
    "weight_shapes",
    "with_dynamic_guidance",
    "with_frame_rate",
    "with_lora",
    "with_options",
    "without_weights",
]
