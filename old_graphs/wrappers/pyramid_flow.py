"""PyramidFlowWrapper's nodes, October to November 2024."""

from __future__ import annotations

from typing import Any

from .rules import Rule, names, same

PACK = "PyramidFlowWrapper"
IDS = {"comfyui-pyramidflowwrapper", "kijai/comfyui-pyramidflowwrapper"}
MODEL_TYPES = {"PYRAMIDFLOWMODEL"}
VAE_TYPES = {"PYRAMIDFLOWVAE"}

_NUMBERS = "video_steps:i temp:i guidance_scale:f video_guidance_scale:f seed:i keep_model_loaded:b"


def steps_of(text: Any) -> int | None:
    """The steps of a stage, from "10, 10, 10" or 10; None if they cannot be read or the stages differ."""
    numbers = {part.strip() for part in str(text).split(",")}
    number = numbers.pop() if len(numbers) == 1 else ""
    return int(number) if number.isdecimal() and len(number) < 6 else None


def _twice(values: dict[str, Any]) -> Any:
    """The first frame's steps that the video's imply, in the form that the node has them."""
    given, steps = values.get("first_frame_steps", values.get("steps")), steps_of(values.get("video_steps"))
    return given if steps and steps_of(given) == 2 * steps else None


def _own_first_guidance(values: dict[str, Any]) -> Any:
    guidance = values.get("video_guidance_scale")
    return 1 + 1.5 * (guidance - 1) if isinstance(guidance, int | float) else None


RULES = {
    "PyramidFlowTransformerLoader": Rule(
        "load",
        ("model:c precision:c enable_sequential_cpu_offload:b", "model:c precision:c"),
        ("PYRAMIDFLOWMODEL",),
        takes=same("model precision compile_args"),
        unneeded=names("enable_sequential_cpu_offload"),
    ),
    "DownloadAndLoadPyramidFlowModel": Rule(
        "load",
        (
            "model:c variant:c model_dtype:c text_encoder_dtype:c vae_dtype:c fp8_fastmode:b",
            "model:c variant:c model_dtype:c text_encoder_dtype:c vae_dtype:c use_flash_attn:b fp8_fastmode:b",
            "model:c variant:c model_dtype:c text_encoder_dtype:c vae_dtype:c",
            "model:c variant:c precision:c",
            "model:c variant:c precision:c fp8_transformer:c",
        ),
        ("PYRAMIDFLOWMODEL",),
        takes={
            **same("model variant precision"),
            "model_dtype": "precision",
            "fp8_transformer": "quantization",
        },
        unneeded=names("text_encoder_dtype vae_dtype fp8_fastmode use_flash_attn"),
    ),
    "PyramidFlowVAELoader": Rule(
        "vae",
        ("vae:c precision:c",),
        ("PYRAMIDFLOWVAE",),
        takes=same("vae"),
        unneeded=names("precision compile_args"),
    ),
    "PyramidFlowTextEncode": Rule(
        "text",
        ("positive_prompt:s negative_prompt:s force_offload:b",),
        ("PYRAMIDFLOWPROMPT",),
        takes={**same("clip model"), "positive_prompt": "prompt", "negative_prompt": "negative"},
        lost={"prev_prompt": (None, "prompts that follow each other are Storyboard's: set its cards there")},
        unneeded=names("force_offload keep_model_loaded"),
    ),
    "PyramidFlowTextEncodeComfy": Rule(
        "text",
        ("positive_prompt:s negative_prompt:s force_offload:b", "positive_prompt:s negative_prompt:s"),
        ("PYRAMIDFLOWPROMPT",),
        takes={"clip": "clip", "positive_prompt": "prompt", "negative_prompt": "negative"},
        unneeded=names("force_offload"),
    ),
    "PyramidFlowVAEEncode": Rule(
        "frames",
        ("enable_tiling:b overlap_factor:f", "enable_tiling:b", ""),
        ("LATENT",),
        takes={**same("vae model"), "image": "images"},
        unneeded=names("enable_tiling overlap_factor"),
    ),
    "PyramidFlowSampler": Rule(
        "sample",
        (
            "width:i height:i first_frame_steps:s video_steps:s temp:i guidance_scale:f video_guidance_scale:f seed:i "
            "keep_model_loaded:b",
            f"width:i height:i first_frame_steps:i {_NUMBERS}",
            "height:i width:i steps:i video_steps:i temp:i guidance_scale:f video_guidance_scale:f seed:i prompt:s "
            "keep_model_loaded:b",
        ),
        ("LATENT",),
        ("PYRAMIDFLOWMODEL", "LATENT"),
        takes={
            **same("model width height temp seed prompt"),
            "prompt_embeds": "texts",
            "video_steps": "video_steps",
            "video_guidance_scale": "guidance",
            "input_latent": "known",
        },
        lost={
            "guidance_scale": (
                _own_first_guidance,
                "the first frame's guidance follows from the clip's: 1 + 1.5 (guidance - 1)",
            ),
            "first_frame_steps": (_twice, "the first frame has twice the steps of the others"),
            "steps": (_twice, "the first frame has twice the steps of the others"),
        },
        unneeded=names("keep_model_loaded"),
    ),
    "PyramidFlowVAEDecode": Rule(
        "decode",
        (
            "tile_sample_min_size:i overlap_factor:f window_size:i enable_tiling:b",
            "tile_sample_min_size:i window_size:i enable_tiling:b",
            "tile_sample_min_size:i window_size:i",
        ),
        ("IMAGE",),
        takes={**same("vae model"), "samples": "latent"},
        unneeded=names("tile_sample_min_size overlap_factor window_size enable_tiling"),
    ),
    "PyramidFlowTorchCompileSettings": Rule(
        "compile",
        (
            "backend:c fullgraph:b mode:c compile_whole_model:b single_blocks:b double_blocks:b embedders:b "
            "compile_rest:b dynamo_cache_size_limit:i",
            "backend:c fullgraph:b mode:c compile_whole_model:b single_blocks:b double_blocks:b embedders:b "
            "compile_rest:b",
        ),
        ("PYRAMIDFLOW_COMPILEARGS",),
        takes=same("backend"),
        lost={"mode": ("default", "TorchCompileModel has no mode")},
        unneeded=names(
            "fullgraph compile_whole_model single_blocks double_blocks embedders compile_rest dynamo_cache_size_limit"
        ),
    ),
    "PyramidFlowLatentPreview": Rule(
        "", ("",), ("IMAGE", "STRING"), why="previews are ComfyUI's own (--preview-method auto)"
    ),
}
