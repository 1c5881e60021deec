"""MochiWrapper's nodes, October to November 2024."""

from __future__ import annotations

from .cogvideox import OWN_ATTENTION, OWN_SCHEDULE, TILES
from .rules import Rule, names, same

PACK = "MochiWrapper"
IDS = {"comfyui-mochiwrapper", "kijai/comfyui-mochiwrapper"}
MODEL_TYPES = {"MOCHIMODEL"}
VAE_TYPES = {"MOCHIVAE"}

_TILED = "enable_vae_tiling:b num_tiles_w:i num_tiles_h:i overlap:i min_block_size:i"
_TILES = names("enable_vae_tiling num_tiles_w num_tiles_h overlap min_block_size per_batch")
_SIZES = "tile_sample_min_height:i tile_sample_min_width:i tile_overlap_factor_height:f tile_overlap_factor_width:f"
_UNNEEDED = names("trigger cublas_ops rms_norm_func")
_VAE = Rule(
    "vae",
    ("model_name:c precision:c", "model_name:c"),
    ("MOCHIVAE",),
    takes={"model_name": "vae"},
    unneeded=names("torch_compile_args precision"),
)

RULES = {
    "DownloadAndLoadMochiModel": Rule(
        "load",
        (
            "model:c vae:c precision:c attention_mode:c cublas_ops:b rms_norm_func:c",
            "model:c vae:c precision:c attention_mode:c cublas_ops:b",
            "model:c vae:c precision:c attention_mode:c",
            "model:c vae:c precision:c",
        ),
        ("MOCHIMODEL", "MOCHIVAE"),
        takes=same("model vae precision compile_args"),
        lost={"attention_mode": (("sdpa", "comfy"), OWN_ATTENTION)},
        unneeded=_UNNEEDED,
    ),
    "MochiModelLoader": Rule(
        "load",
        (
            "model_name:c precision:c attention_mode:c cublas_ops:b rms_norm_func:c",
            "model_name:c precision:c attention_mode:c cublas_ops:b",
            "model_name:c precision:c attention_mode:c",
        ),
        ("MOCHIMODEL",),
        takes={**same("precision compile_args"), "model_name": "model"},
        lost={"attention_mode": (("sdpa", "comfy"), OWN_ATTENTION)},
        unneeded=_UNNEEDED,
    ),
    "MochiVAELoader": _VAE,
    "MochiVAEEncoderLoader": _VAE,
    "MochiTextEncode": Rule(
        "text",
        ("prompt:s strength:f force_offload:b",),
        ("CONDITIONING", "CLIP"),
        takes=same("clip prompt strength"),
        unneeded=names("force_offload"),
    ),
    "MochiImageEncode": Rule(
        "frames",
        (f"{_TILED} normalize:b", _TILED, ""),
        ("LATENT",),
        takes={"encoder": "vae", "images": "images"},
        unneeded=_TILES | {"normalize"},
    ),
    "MochiSigmaSchedule": Rule(
        "schedule",
        (
            "num_steps:i threshold_noise:f linear_steps:i denoise:f",
            "num_steps:i threshold_noise:f linear_steps:i",
        ),
        ("SIGMAS",),
        takes={"num_steps": "steps", "denoise": "denoise"},
        lost={
            "threshold_noise": (0.025, "the schedule is that of Mochi's authors"),
            "linear_steps": (None, "half of the steps are linear, as in the schedule of Mochi's authors"),
        },
    ),
    "MochiSampler": Rule(
        "sample",
        (
            "width:i height:i num_frames:i steps:i cfg:f seed:i cfg_schedule:f",
            "width:i height:i num_frames:i steps:i cfg:f seed:i",
        ),
        ("LATENT",),
        takes={
            **same("model positive negative width height steps seed"),
            "num_frames": "frames",
            "cfg": "guidance",
            "opt_sigmas": "sigmas",
            "samples": "latent",
            "fastercache": "cache",
        },
        lost={"cfg_schedule": (0, f"{OWN_SCHEDULE}, with one guidance")},
    ),
    "MochiDecode": Rule(
        "decode",
        (
            f"enable_vae_tiling:b auto_tile_size:b frame_batch_size:i {_SIZES} unnormalize:b",
            f"enable_vae_tiling:b auto_tile_size:b frame_batch_size:i {_SIZES}",
            f"enable_vae_tiling:b {_SIZES} auto_tile_size:b",
        ),
        ("IMAGE",),
        takes={"vae": "vae", "samples": "latent"},
        unneeded=TILES | {"frame_batch_size", "unnormalize"},
    ),
    "MochiDecodeSpatialTiling": Rule(
        "decode",
        (f"{_TILED} per_batch:i unnormalize:b", f"{_TILED} per_batch:i", _TILED),
        ("IMAGE",),
        takes={"vae": "vae", "samples": "latent"},
        unneeded=_TILES | {"unnormalize"},
    ),
    "MochiFasterCache": Rule(
        "cache",
        ("start_step:i hf_step:i lf_step:i cache_device:c",),
        ("FASTERCACHEARGS",),
        lost={"start_step": (None, "EasyCache is in FasterCache's place, with settings of its own")},
        unneeded=names("hf_step lf_step cache_device"),
    ),
    "MochiTorchCompileSettings": Rule(
        "compile",
        (
            "backend:c fullgraph:b mode:c compile_dit:b compile_final_layer:b dynamic:b dynamo_cache_size_limit:i",
            "backend:c fullgraph:b mode:c compile_dit:b compile_final_layer:b dynamic:b",
            "backend:c fullgraph:b mode:c compile_dit:b compile_final_layer:b",
        ),
        ("MOCHICOMPILEARGS",),
        takes=same("backend"),
        lost={"mode": ("default", "TorchCompileModel has no mode")},
        unneeded=names("fullgraph compile_dit compile_final_layer dynamic dynamo_cache_size_limit"),
    ),
    "MochiLatentPreview": Rule("", ("",), ("IMAGE",), why="previews are ComfyUI's own (--preview-method auto)"),
}
