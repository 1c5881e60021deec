"""CogVideoXWrapper's nodes, August 2024 to August 2025."""

from __future__ import annotations

from .rules import Rule, names, same

PACK = "CogVideoXWrapper"
IDS = {"comfyui-cogvideoxwrapper", "kijai/comfyui-cogvideoxwrapper"}
"""What the editor saves in a node's properties (cnr_id, aux_id) about its pack."""
MODEL_TYPES = {"COGVIDEOMODEL", "COGVIDEOPIPE"}
VAE_TYPES: set[str] = set()

OWN_SCHEDULE = "Sample Video runs the model's own schedule and sampler"
OWN_ATTENTION = "ComfyUI chooses the attention when it starts (--use-sage-attention)"
DDIM = ("CogVideoXDDIM", "DDIM", "DDIM_Origin")
NO_NOISE = "Place Frames adds no noise to a picture"
WHOLE_RUN = "frames and control clips count during the whole run"
TILES = names(
    "enable_vae_tiling tile_sample_min_height tile_sample_min_width tile_overlap_factor_height "
    "tile_overlap_factor_width auto_tile_size enable_vae_slicing"
)
PIPE = ("COGVIDEOPIPE", "LATENT")
_TILED = (
    "enable_vae_tiling:b tile_sample_min_height:i tile_sample_min_width:i tile_overlap_factor_height:f "
    "tile_overlap_factor_width:f"
)
_SAMPLER = {"pipeline": "model", **same("model positive negative seed steps width height"), "cfg": "guidance"}
_CONTROL = "seed:i steps:i cfg:f scheduler:c control_strength:f control_start_percent:f control_end_percent:f"
_LOST_CONTROL = {
    "control_strength": (1.0, "Control Video has no strength"),
    "control_start_percent": (0.0, WHOLE_RUN),
    "control_end_percent": (1.0, WHOLE_RUN),
}
_EDITED = {"block_edit": (None, "blocks of the network cannot be removed")}
_LORA = Rule(
    "lora",
    ("lora:c strength:f fuse_lora:b", "lora:c strength:f"),
    ("COGLORA",),
    takes={**same("lora strength"), "prev_lora": "chain"},
    unneeded=names("fuse_lora"),
)

RULES = {
    "DownloadAndLoadCogVideoModel": Rule(
        "load",
        (
            "model:c precision:c quantization:c enable_sequential_cpu_offload:b attention_mode:c load_device:c",
            "model:c precision:c fp8_transformer:c compile:c enable_sequential_cpu_offload:b attention_mode:c "
            "load_device:c",
            "model:c precision:c fp8_transformer:c compile:c enable_sequential_cpu_offload:b load_device:c",
            "model:c precision:c fp8_transformer:c compile:c enable_sequential_cpu_offload:b",
            "model:c precision:c fp8_transformer:b compile:c enable_sequential_cpu_offload:b",
            "model:c precision:c fp8_transformer:b compile:c",
            "model:c precision:c fp8_transformer:b torch_compile:b onediff:b",
            "model:c precision:c fp8_transformer:b torch_compile:b",
            "model:c precision:c fp8_transformer:b",
            "model:c precision:c",
            "precision:c",
        ),
        ("COGVIDEOMODEL", "VAE"),
        takes={
            **same("model precision quantization lora compile"),
            "fp8_transformer": "quantization",
            "torch_compile": "compile",
            "compile_args": "compile_args",
        },
        lost={
            "attention_mode": (("sdpa", "comfy"), OWN_ATTENTION),
            "onediff": (False, "OneDiff is not supported"),
            "pab_config": (None, "pyramid attention broadcast has no counterpart"),
            **_EDITED,
        },
        unneeded=names("enable_sequential_cpu_offload load_device"),
    ),
    "DownloadAndLoadCogVideoGGUFModel": Rule(
        "load",
        (
            "model:c vae_precision:c fp8_fastmode:b load_device:c enable_sequential_cpu_offload:b attention_mode:c",
            "model:c vae_precision:c fp8_fastmode:b load_device:c enable_sequential_cpu_offload:b compile:c "
            "attention_mode:c",
            "model:c vae_precision:c fp8_fastmode:b load_device:c enable_sequential_cpu_offload:b compile:c",
            "model:c vae_precision:c fp8_fastmode:b load_device:c enable_sequential_cpu_offload:b",
            "model:c vae_precision:c fp8_fastmode:b load_device:c",
            "model:c vae_precision:c fp8_fastmode:b compile:c",
        ),
        ("COGVIDEOMODEL", "VAE"),
        takes=same("model compile compile_args"),
        lost={
            "attention_mode": (("sdpa", "comfy"), OWN_ATTENTION),
            "pab_config": (None, "pyramid attention broadcast has no counterpart"),
            **_EDITED,
        },
        unneeded=names("vae_precision fp8_fastmode load_device enable_sequential_cpu_offload"),
    ),
    "CogVideoXModelLoader": Rule(
        "load",
        ("model:c base_precision:c quantization:c load_device:c enable_sequential_cpu_offload:b attention_mode:c",),
        ("COGVIDEOMODEL",),
        takes={**same("model quantization lora compile_args"), "base_precision": "precision"},
        lost={"attention_mode": (("sdpa", "comfy"), OWN_ATTENTION), **_EDITED},
        unneeded=names("load_device enable_sequential_cpu_offload"),
    ),
    "CogVideoXVAELoader": Rule(
        "vae",
        ("model_name:c precision:c",),
        ("VAE",),
        takes={"model_name": "vae"},
        unneeded=names("precision compile_args"),
    ),
    "CogVideoLoraSelect": _LORA,
    "CogVideoLoraSelectComfy": _LORA,
    "CogVideoTextEncode": Rule(
        "text",
        ("prompt:s strength:f force_offload:b", "prompt:s strength:f", "prompt:s"),
        ("CONDITIONING", "CLIP"),
        takes=same("clip prompt strength"),
        unneeded=names("force_offload"),
    ),
    "CogVideoEncodePrompt": Rule(
        "text",
        ("prompt:s negative_prompt:s",),
        ("CONDITIONING", "CONDITIONING"),
        takes={"pipeline": "model", "prompt": "prompt", "negative_prompt": "negative"},
    ),
    "CogVideoDualTextEncode_311": Rule(
        "text",
        ("clip_l:s t5xxl:s clip_l_strength:f t5xxl_strength:f",),
        ("CONDITIONING",),
        takes={"clip": "clip", "t5xxl": "prompt", "t5xxl_strength": "strength"},
        lost={"clip_l": ("", "CogVideoX reads T5 alone")},
        unneeded=names("clip_l_strength"),
    ),
    "CogVideoTextEncodeCombine": Rule(
        "blend",
        ("combination_mode:c weighted_average_ratio:f",),
        ("CONDITIONING",),
        takes={
            "conditioning_1": "first",
            "conditioning_2": "second",
            "combination_mode": "mode",
            "weighted_average_ratio": "ratio",
        },
    ),
    "CogVideoImageEncode": Rule(
        "frames",
        (
            "enable_tiling:b noise_aug_strength:f strength:f start_percent:f end_percent:f",
            "enable_tiling:b noise_aug_strength:f strength:f",
            "enable_tiling:b noise_aug_strength:f",
            "chunk_size:i enable_tiling:b noise_aug_strength:f",
            "chunk_size:i enable_tiling:b",
            "chunk_size:i enable_vae_slicing:b",
            "chunk_size:i",
            "",
        ),
        ("LATENT",),
        takes={
            "pipeline": "model",
            "vae": "vae",
            "vae_override": "vae",
            "image": "images",
            "start_image": "images",
            "end_image": "last",
            "strength": "strength",
        },
        lost={
            "noise_aug_strength": (0.0, NO_NOISE),
            "start_percent": (0.0, WHOLE_RUN),
            "end_percent": (1.0, WHOLE_RUN),
            "mask": (None, "connect it to Inpaint Shot"),
        },
        unneeded=names("chunk_size enable_tiling enable_vae_slicing"),
    ),
    "CogVideoImageInterpolationEncode": Rule(
        "frames",
        ("enable_tiling:b",),
        ("LATENT",),
        takes={"pipeline": "model", "vae_override": "vae", "start_image": "images", "end_image": "last"},
        lost={"mask": (None, "connect it to Inpaint Shot")},
        unneeded=names("enable_tiling"),
    ),
    "CogVideoImageEncodeFunInP": Rule(
        "frames",
        ("num_frames:i enable_tiling:b noise_aug_strength:f",),
        ("LATENT",),
        takes={"vae": "vae", "start_image": "images", "end_image": "last"},
        lost={"noise_aug_strength": (0.0, NO_NOISE)},
        unneeded=names("enable_tiling num_frames"),
    ),
    "CogVideoControlImageEncode": Rule(
        "control",
        ("base_resolution:i enable_tiling:b noise_aug_strength:f", "base_resolution:i enable_tiling:b"),
        ("COGCONTROL_LATENTS", "INT", "INT"),
        takes={"pipeline": "model", "control_video": "images", "base_resolution": "side"},
        lost={"noise_aug_strength": (0.0, NO_NOISE)},
        unneeded=names("enable_tiling"),
    ),
    "CogVideoSampler": Rule(
        "sample",
        (
            "num_frames:i steps:i cfg:f seed:i scheduler:c denoise_strength:f",
            "width:i height:i num_frames:i steps:i cfg:f seed:i scheduler:c denoise_strength:f",
            "height:i width:i num_frames:i steps:i cfg:f seed:i scheduler:c denoise_strength:f",
            "height:i width:i num_frames:i steps:i cfg:f seed:i scheduler:c t_tile_length:i t_tile_overlap:i "
            "denoise_strength:f",
            "height:i width:i num_frames:i fps:i steps:i cfg:f seed:i scheduler:c t_tile_length:i t_tile_overlap:i "
            "denoise_strength:f",
            "height:i width:i num_frames:i fps:i steps:i cfg:f seed:i scheduler:c denoise_strength:f",
            "height:i width:i num_frames:i fps:i steps:i cfg:f seed:i denoise_strength:f",
            "height:i width:i num_frames:i fps:i steps:i cfg:f seed:i",
        ),
        ("LATENT",),
        PIPE,
        takes={
            **_SAMPLER,
            "embeds": "texts",
            "num_frames": "frames",
            "samples": "latent",
            "image_cond_latents": "known",
            "denoise_strength": "denoise",
            "context_options": "context",
            "teacache_args": "cache",
            "fastercache": "cache",
        },
        lost={
            "scheduler": (DDIM, OWN_SCHEDULE),
            "controlnet": (None, "CogVideoX's ControlNets are not supported"),
            "tora_trajectory": (None, "Tora is not supported"),
            "feta_args": (None, "Enhance-A-Video is not supported"),
        },
        unneeded=names("fps t_tile_length t_tile_overlap"),
    ),
    "CogVideoXFunSampler": Rule(
        "sample",
        (
            "video_length:i width:i height:i seed:i steps:i cfg:f scheduler:c noise_aug_strength:f vid2vid_denoise:f",
            "video_length:i base_resolution:i seed:i steps:i cfg:f scheduler:c noise_aug_strength:f vid2vid_denoise:f",
            "video_length:i base_resolution:i seed:i steps:i cfg:f scheduler:c noise_aug_strength:f",
            "video_length:i base_resolution:i seed:i steps:i cfg:f scheduler:c",
        ),
        ("COGVIDEOPIPE", "LATENT"),
        PIPE,
        takes={
            **_SAMPLER,
            "video_length": "frames",
            "base_resolution": "side",
            "start_img": "images",
            "end_img": "last",
            "opt_empty_latent": "latent",
            "vid2vid_images": "footage",
            "vid2vid_denoise": "denoise",
            "context_options": "context",
            "fastercache": "cache",
        },
        lost={
            "scheduler": (DDIM, OWN_SCHEDULE),
            "noise_aug_strength": (0.0563, NO_NOISE),
            "tora_trajectory": (None, "Tora is not supported"),
        },
    ),
    "CogVideoXFunVid2VidSampler": Rule(
        "sample",
        (
            "video_length:i base_resolution:i seed:i steps:i cfg:f scheduler:c denoise_strength:f",
            "video_length:i base_resolution:i seed:i steps:i cfg:f scheduler:c denoise_strength:f control_strength:f "
            "control_start_percent:f control_end_percent:f",
            "note:s",
        ),
        ("COGVIDEOPIPE", "LATENT"),
        PIPE,
        takes={
            **_SAMPLER,
            "video_length": "frames",
            "base_resolution": "side",
            "validation_video": "footage",
            "control_video": "control",
            "denoise_strength": "denoise",
        },
        lost={"scheduler": (DDIM, OWN_SCHEDULE), **_LOST_CONTROL},
        unneeded=names("note"),
    ),
    "CogVideoXFunControlSampler": Rule(
        "sample",
        (
            f"{_CONTROL} denoise_strength:f",
            f"{_CONTROL} t_tile_length:i t_tile_overlap:i denoise_strength:f",
            f"{_CONTROL} t_tile_length:i t_tile_overlap:i",
            _CONTROL,
            f"video_length:i base_resolution:i {_CONTROL}",
        ),
        ("COGVIDEOPIPE", "LATENT"),
        PIPE,
        takes={
            **_SAMPLER,
            "video_length": "frames",
            "base_resolution": "side",
            "control_video": "control",
            "control_latents": "control",
            "samples": "latent",
            "denoise_strength": "denoise",
            "context_options": "context",
        },
        lost={"scheduler": (DDIM, OWN_SCHEDULE), **_LOST_CONTROL},
        unneeded=names("t_tile_length t_tile_overlap"),
    ),
    "CogVideoDecode": Rule(
        "decode",
        (f"{_TILED} auto_tile_size:b", f"{_TILED} enable_vae_slicing:b", _TILED, "enable_vae_tiling:b", ""),
        ("IMAGE",),
        takes={"pipeline": "model", "vae": "vae", "vae_override": "vae", "samples": "latent"},
        unneeded=TILES,
    ),
    "CogVideoContextOptions": Rule(
        "context",
        (
            "context_schedule:c context_frames:i context_stride:i context_overlap:i freenoise:b",
            "context_schedule:c context_frames:i context_stride:i context_overlap:i",
        ),
        ("COGCONTEXT",),
        takes={
            "context_schedule": "schedule",
            "context_frames": "frames",
            "context_stride": "stride",
            "context_overlap": "overlap",
        },
        lost={"freenoise": (False, "Context Windows (Manual) of this ComfyUI shuffles no noise")},
    ),
    "CogVideoXTeaCache": Rule(
        "cache",
        ("rel_l1_thresh:f",),
        ("TEACACHEARGS",),
        lost={"rel_l1_thresh": (None, "EasyCache is in its place, with its own threshold")},
    ),
    "CogVideoXFasterCache": Rule(
        "cache",
        (
            "start_step:i hf_step:i lf_step:i cache_device:c num_blocks_to_cache:i",
            "start_step:i hf_step:i lf_step:i cache_device:c",
        ),
        ("FASTERCACHEARGS",),
        lost={"start_step": (None, "EasyCache is in FasterCache's place, with settings of its own")},
        unneeded=names("hf_step lf_step cache_device num_blocks_to_cache"),
    ),
    "CogVideoXTorchCompileSettings": Rule(
        "compile",
        ("backend:c fullgraph:b mode:c dynamic:b dynamo_cache_size_limit:i",),
        ("COMPILEARGS",),
        takes=same("backend"),
        lost={"mode": ("default", "TorchCompileModel has no mode")},
        unneeded=names("fullgraph dynamic dynamo_cache_size_limit"),
    ),
    "CogVideoXFunResizeToClosestBucket": Rule(
        "resize",
        ("base_resolution:i upscale_method:c crop:c",),
        ("IMAGE", "INT", "INT"),
        takes={"images": "images", "base_resolution": "side", "upscale_method": "method"},
        unneeded=names("crop"),
    ),
    "CogVideoTransformerEdit": Rule(
        "", ("remove_blocks:s",), ("TRANSFORMERBLOCKS",), why="blocks of the network cannot be removed"
    ),
    "CogVideoPABConfig": Rule(
        "",
        (
            "spatial_broadcast:b spatial_threshold_start:i spatial_threshold_end:i spatial_range:i "
            "temporal_broadcast:b temporal_threshold_start:i temporal_threshold_end:i temporal_range:i "
            "cross_broadcast:b cross_threshold_start:i cross_threshold_end:i cross_range:i steps:i",
        ),
        ("PAB_CONFIG",),
        why="pyramid attention broadcast has no counterpart",
    ),
    "CogVideoEnhanceAVideo": Rule(
        "", ("weight:f start_percent:f end_percent:f",), ("FETAARGS",), why="Enhance-A-Video is not supported"
    ),
    "DownloadAndLoadCogVideoControlNet": Rule(
        "", ("model:c",), ("COGVIDECONTROLNETMODEL",), why="CogVideoX's ControlNets are not supported"
    ),
    "CogVideoControlNet": Rule(
        "",
        ("control_strength:f control_start_percent:f control_end_percent:f",),
        ("COGVIDECONTROLNET",),
        why="CogVideoX's ControlNets are not supported. CogVideoX-Fun Control follows a clip through Control Video",
    ),
    "DownloadAndLoadToraModel": Rule("", ("model:c",), ("TORAMODEL",), why="Tora is not supported"),
    "ToraEncodeTrajectory": Rule(
        "",
        ("coordinates:s width:i height:i num_frames:i strength:f start_percent:f end_percent:f enable_tiling:b",),
        ("TORAFEATURES", "IMAGE"),
        why="Tora is not supported",
    ),
    "ToraEncodeOpticalFlow": Rule(
        "", ("strength:f start_percent:f end_percent:f",), ("TORAFEATURES",), why="Tora is not supported"
    ),
    "CogVideoLatentPreview": Rule(
        "",
        ("seed:i min_val:f max_val:f r_bias:f g_bias:f b_bias:f",),
        ("IMAGE", "STRING"),
        why="previews are ComfyUI's own (--preview-method auto)",
    ),
}
