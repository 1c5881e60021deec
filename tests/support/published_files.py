"""Every published variant as its authors and packagers lay it out, at its real size, in files that take no disk.

Facts come from tests/published; names and shapes from implementations that are not ours: ComfyUI's for the original
layouts, diffusers' and transformers' for folders, recordings of the authors' code for Pyramid Flow.
"""

from __future__ import annotations

import json
import re
from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import comfy.ldm.lightricks.vae.causal_video_autoencoder as core_vae
import comfy.ops
import gguf
import sparse
import tiny
import tiny_ltx2
import tiny_mochi
import torch
from benchmarks.layout import genmo_network, in_sat_layout
from diffusers import (
    AutoencoderKLCogVideoX,
    AutoencoderKLLTX2Audio,
    AutoencoderKLLTX2Video,
    AutoencoderKLLTXVideo,
    AutoencoderKLMochi,
    CogVideoXTransformer3DModel,
    LTX2VideoTransformer3DModel,
    LTXVideoTransformer3DModel,
    MochiTransformer3DModel,
)
from diffusers.pipelines.ltx2 import LTX2TextConnectors, LTX2Vocoder
from diffusers.pipelines.ltx2.vocoder import LTX2VocoderWithBWE
from transformers import T5Config, T5EncoderModel

TESTS = Path(__file__).parents[1]
CLASSES = {
    kind.__name__: kind
    for kind in (
        AutoencoderKLCogVideoX,
        AutoencoderKLLTX2Audio,
        AutoencoderKLLTX2Video,
        AutoencoderKLLTXVideo,
        AutoencoderKLMochi,
        CogVideoXTransformer3DModel,
        LTX2TextConnectors,
        LTX2VideoTransformer3DModel,
        LTX2Vocoder,
        LTX2VocoderWithBWE,
        LTXVideoTransformer3DModel,
        MochiTransformer3DModel,
    )
}
CORE = "model.diffusion_model."
T5 = "text_encoders.t5xxl.transformer."
Shapes = dict[str, tuple[int, ...]]

FILES = """
ltx-2b-0.9.0                 single     ltx-video-2b-v0.9.safetensors
ltx-2b-0.9.0                 folder     LTX-Video
ltx-2b-0.9.0                 gguf       ltx-video-2b-v0.9-Q8_0.gguf
ltx-2b-0.9.1                 single     ltx-video-2b-v0.9.1.safetensors
ltx-2b-0.9.1                 folder     LTX-Video-0.9.1
ltx-2b-0.9.1                 gguf       ltx-video-2b-v0.9.1-Q4_0.gguf
ltx-2b-0.9.5                 single     ltx-video-2b-v0.9.5.safetensors
ltx-2b-0.9.5                 folder     LTX-Video-0.9.5
ltx-2b-0.9.5                 renamed    my-video-model.safetensors
ltx-2b-0.9.6-dev             single     ltxv-2b-0.9.6-dev-04-25.safetensors
ltx-2b-0.9.6-distilled       single     ltxv-2b-0.9.6-distilled-04-25.safetensors
ltx-2b-0.9.6-distilled       renamed    my-fast-model.safetensors
ltx-2b-0.9.6-distilled       gguf       ltxv-2b-0.9.6-distilled-04-25-Q8_0.gguf
ltx-2b-0.9.8-distilled       single     ltxv-2b-0.9.8-distilled.safetensors
ltx-2b-0.9.8-distilled       fp8        ltxv-2b-0.9.8-distilled-fp8.safetensors
ltx-13b-0.9.7-dev            single     ltxv-13b-0.9.7-dev.safetensors
ltx-13b-0.9.7-dev            fp8        ltxv-13b-0.9.7-dev-fp8.safetensors
ltx-13b-0.9.7-dev            folder     LTX-Video-0.9.7-dev
ltx-13b-0.9.7-dev            gguf       ltxv-13b-0.9.7-dev-Q4_K_M.gguf
ltx-13b-0.9.7-distilled      single     ltxv-13b-0.9.7-distilled.safetensors
ltx-13b-0.9.7-distilled      fp8        ltxv-13b-0.9.7-distilled-fp8.safetensors
ltx-13b-0.9.7-distilled      folder     LTX-Video-0.9.7-distilled
ltx-13b-0.9.8-dev            single     ltxv-13b-0.9.8-dev.safetensors
ltx-13b-0.9.8-dev            fp8        ltxv-13b-0.9.8-dev-fp8.safetensors
ltx-13b-0.9.8-distilled      single     ltxv-13b-0.9.8-distilled.safetensors
ltx-13b-0.9.8-distilled      fp8        ltxv-13b-0.9.8-distilled-fp8.safetensors
ltx-13b-0.9.8-distilled      folder     LTX-Video-0.9.8-13B-distilled
ltx-13b-0.9.8-distilled      renamed    my-large-fast-model.safetensors
ltx2-19b-dev                 single     ltx-2-19b-dev.safetensors
ltx2-19b-dev                 folder     LTX-2
ltx2-19b-distilled           fp8        ltx-2-19b-distilled-fp8.safetensors
ltx2-22b-dev                 single     ltx-2.3-22b-dev.safetensors
ltx2-22b-distilled           single     ltx-2.3-22b-distilled.safetensors
cogvideox-2b                 folder     CogVideoX-2b
cogvideox-2b                 bare       CogVideo2B
cogvideox-2b                 sat        cogvideox_2b_sat.safetensors
cogvideox-5b                 folder     CogVideoX-5b
cogvideox-5b                 single     CogVideoX_5b_bf16.safetensors
cogvideox-5b                 fp8        CogVideoX_5b_fp8_e4m3fn.safetensors
cogvideox-5b                 blocks     CogVideoX_5b_GGUF_Q4_0.safetensors
cogvideox-5b                 sat        cogvideox_5b_sat.safetensors
cogvideox-5b-i2v             folder     CogVideoX-5b-I2V
cogvideox-5b-i2v             single     CogVideoX_5b_I2V_bf16.safetensors
cogvideox-5b-i2v             sat        cogvideox_5b_i2v_sat.safetensors
cogvideox-1.5-5b             folder     CogVideoX1.5-5B
cogvideox-1.5-5b             single     CogVideoX_1_5_5b_T2V_bf16.safetensors
cogvideox-1.5-5b             beside     CogVideoX-5b-1.5/transformer_T2V
cogvideox-1.5-5b             sat        cogvideox1.5_5b_sat.safetensors
cogvideox-1.5-5b-i2v         folder     CogVideoX1.5-5B-I2V
cogvideox-1.5-5b-i2v         single     CogVideoX_1_5_5b_I2V_bf16.safetensors
cogvideox-1.5-5b-i2v         beside     CogVideoX-5b-1.5/transformer_I2V
cogvideox-1.5-5b-i2v         sat        cogvideox1.5_5b_i2v_sat.safetensors
cogvideox-fun-2b-inp         folder     CogVideoX-Fun-2b-InP
cogvideox-fun-5b-inp         folder     CogVideoX-Fun-5b-InP
cogvideox-fun-v1.1-2b-control folder    CogVideoX-Fun-V1.1-2b-Control
cogvideox-fun-v1.1-2b-inp    folder     CogVideoX-Fun-V1.1-2b-InP
cogvideox-fun-v1.1-2b-pose   folder     CogVideoX-Fun-V1.1-2b-Pose
cogvideox-fun-v1.1-5b-control folder    CogVideoX-Fun-V1.1-5b-Control
cogvideox-fun-v1.1-5b-inp    folder     CogVideoX-Fun-V1.1-5b-InP
cogvideox-fun-v1.1-5b-pose   folder     CogVideoX-Fun-V1.1-5b-Pose
cogvideox-fun-v1.5-5b-inp    folder     CogVideoX-Fun-V1.5-5b-InP
mochi-1-preview              folder     mochi-1-preview
mochi-1-preview              original   dit.safetensors
mochi-1-preview              core       mochi_preview_bf16.safetensors
mochi-1-preview              scaled     mochi_preview_fp8_scaled.safetensors
mochi-1-preview              blocks     mochi_preview_dit_GGUF_Q8_0.safetensors
mochi-1-preview              everything mochi_preview_fp8_scaled_checkpoint.safetensors
pyramid-miniflux-384p        sharing    pyramid-flow-miniflux/diffusion_transformer_384p
pyramid-miniflux-768p        sharing    pyramid-flow-miniflux/diffusion_transformer_768p
pyramid-miniflux-image       sharing    pyramid-flow-miniflux/diffusion_transformer_image
pyramid-miniflux-768p        single     pyramid_flow_miniflux_bf16_v2.safetensors
pyramid-sd3-384p             sharing    pyramid-flow-sd3/diffusion_transformer_384p
pyramid-sd3-768p             sharing    pyramid-flow-sd3/diffusion_transformer_768p
"""
ROWS = [tuple(line.split()) for line in FILES.strip().splitlines()]
"""(variant, layout, name of the file or folder)."""


@lru_cache
def facts(variant: str) -> dict[str, Any]:
    return json.loads((TESTS / "published" / f"{variant}.json").read_text(encoding="utf-8"))


def write(folder: Path, variant: str, layout: str, name: str) -> Path:
    """Write the file or folder `name` into `folder`, with the files that are published beside it."""
    family = variant.split("-")[0]
    return globals()[f"_{family}_{layout}"](folder / name, facts(variant))


# ------------------------------------------------------------------------------------------------ names and shapes


def shapes_of(module: torch.nn.Module) -> Shapes:
    return {key: tuple(weight.shape) for key, weight in module.state_dict().items()}


@lru_cache
def _diffusers(config: str) -> Shapes:
    arguments = json.loads(config)
    kind = CLASSES[arguments.pop("_class_name")]
    known = kind.__init__.__wrapped__.__code__.co_varnames
    with torch.device("meta"):
        return shapes_of(kind(**{name: value for name, value in arguments.items() if name in known}))


def diffusers(config: dict[str, Any]) -> Shapes:
    """Names and shapes that diffusers saves for a published config.json."""
    return _diffusers(json.dumps(config))


@lru_cache
def ltx_network(width: int, layers: int) -> Shapes:
    sizes = dict(cross_attention_dim=width, attention_head_dim=width // 32, num_attention_heads=32, num_layers=layers)
    with torch.device("meta"):
        return shapes_of(tiny.LTXVModel(**sizes, operations=comfy.ops.disable_weight_init))


@lru_cache
def ltx_vae(version: str) -> Shapes:
    with torch.device("meta"):
        return shapes_of(core_vae.VideoVAE(version=tiny.VERSIONS[version]))


@lru_cache
def mochi_network() -> Shapes:
    return {key: tuple(weight.shape) for key, weight in genmo_network().items()}


@lru_cache
def mochi_vae(half: str = "") -> Shapes:
    whole = {key: tuple(weight.shape) for key, weight in tiny_mochi.core_autoencoder().items()}
    return {key.removeprefix(half): shape for key, shape in whole.items() if key.startswith(half)}


@lru_cache
def t5(words: int = 32_128) -> Shapes:
    config = T5Config(
        vocab_size=words, d_model=4096, d_kv=64, d_ff=10240, num_layers=24, num_heads=64, feed_forward_proj="gated-gelu"
    )
    with torch.device("meta"):
        shapes = shapes_of(T5EncoderModel(config))
    return {key: shape for key, shape in shapes.items() if "embed_tokens" not in key}


@lru_cache
def recorded(name: str) -> Shapes:
    """Names and shapes that Pyramid Flow's own code saves at full size."""
    keys = json.loads((TESTS / "models/families/pyramid_flow/goldens" / f"keys_{name}.json").read_text())["keys"]
    return {key: tuple(entry["shape"]) for key, entry in keys.items()}


def stored(shapes: Shapes, dtype: str, prefix: str = "") -> sparse.Tensors:
    return {prefix + key: (dtype, shape) for key, shape in shapes.items()}


def in_float8(shapes: Shapes, dtype: str = "BF16", prefix: str = "") -> sparse.Tensors:
    """Matrices of the blocks in float8, the rest in `dtype`."""
    return {prefix + key: ("F8_E4M3" if _is_matrix(key, shape) else dtype, shape) for key, shape in shapes.items()}


def scaled(shapes: Shapes, prefix: str = "") -> sparse.Tensors:
    """ "Scaled fp8": matrices of the blocks in float8 with a scale each, and the mark that says so."""
    marks = {f"{prefix}scaled_fp8": ("F8_E4M3", (0,))}
    scales = {
        prefix + key.removesuffix("weight") + "scale_weight": ("F32", ())
        for key, shape in shapes.items()
        if _is_matrix(key, shape)
    }
    return in_float8(shapes, "BF16", prefix) | scales | marks


def in_blocks(shapes: Shapes, kind: str) -> sparse.Tensors:
    """Matrices of the blocks as rows of GGUF blocks, with their type in the name; the rest in 16 bits."""
    numbers, size = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[kind]]
    blocks = {key: shape for key, shape in shapes.items() if _is_matrix(key, shape)}
    rows = {
        f"{key.removesuffix('weight')}{kind}_qweight": ("U8", (shape[0], shape[1] // numbers * size))
        for key, shape in blocks.items()
    }
    return stored({key: shape for key, shape in shapes.items() if key not in blocks}, "F16") | rows


def _is_matrix(key: str, shape: tuple[int, ...]) -> bool:
    return len(shape) == 2 and key.endswith(".weight") and ("block" in key or "layers" in key)


# ------------------------------------------------------------------------------------------------ LTX Video


def _ltx_single(path: Path, told: dict[str, Any], dtype: str = "") -> Path:
    network, vae = _ltx_names(told), ltx_vae(told["vae_kind"])
    weights = in_float8(network, prefix=CORE) if dtype else stored(network, told["dtype"], CORE)
    metadata = {"config": json.dumps(told["metadata_config"])}
    return sparse.safetensors_file(path, weights | stored(vae, told["dtype"], "vae."), metadata)


def _ltx_names(told: dict[str, Any]) -> Shapes:
    config = told["transformer"]
    return ltx_network(config["num_attention_heads"] * config["attention_head_dim"], config["num_layers"])


_ltx_renamed = _ltx_single


def _ltx_fp8(path: Path, told: dict[str, Any]) -> Path:
    return _ltx_single(path, told, "F8_E4M3")


def _ltx_gguf(path: Path, told: dict[str, Any]) -> Path:
    kind = re.search(r"Q\d_(0|K)", path.name)[0]
    weights = {key: (kind if _is_matrix(key, shape) else "F32", shape) for key, shape in _ltx_names(told).items()}
    return sparse.gguf_file(path, weights, "ltxv")


def _folder(path: Path, told: dict[str, Any], parts: tuple[str, ...] = ("transformer", "vae")) -> Path:
    """A repository in diffusers' layout, without its text encoder."""
    path.mkdir(parents=True)
    (path / "model_index.json").write_text("{}")
    for part in parts:
        sparse.sharded(path / part, stored(diffusers(told[part]), told["dtype"]))
        (path / part / "config.json").write_text(json.dumps(told[part]))
    (path / "scheduler").mkdir()
    (path / "scheduler" / "scheduler_config.json").write_text(json.dumps(told["scheduler"]))
    return path


def _cogvideox_bare(path: Path, told: dict[str, Any]) -> Path:
    """As the wrapper nodes of ComfyUI download it: the parts' folders alone."""
    (_folder(path, told) / "model_index.json").unlink()
    return path


_ltx_folder = _cogvideox_folder = _mochi_folder = _folder


# ------------------------------------------------------------------------------------------------ LTX-2

LTX2_PARTS = ("transformer", "connectors", "vae", "audio_vae", "vocoder")


def _ltx2_single(path: Path, told: dict[str, Any], dtype: str = "") -> Path:
    """Everything but Gemma, under Lightricks' names. Their metadata were not seen: the file has none."""
    whole = SimpleNamespace(**{part: _of_shapes(diffusers(told[part])) for part in LTX2_PARTS})
    network = shapes_of(_named(tiny_ltx2.network_state(whole)))
    others = tiny_ltx2.text_state(whole) | tiny_ltx2.video_vae_state(whole) | tiny_ltx2.sound_state(whole)
    weights = in_float8(network) if dtype else stored(network, told["dtype"])
    return sparse.safetensors_file(path, weights | stored(shapes_of(_named(others)), told["dtype"]))


def _of_shapes(shapes: Shapes) -> SimpleNamespace:
    """What looks like a module with weights of these shapes."""
    return _named({key: torch.empty(shape, device="meta") for key, shape in shapes.items()})


def _named(state: dict[str, torch.Tensor]) -> SimpleNamespace:
    return SimpleNamespace(state_dict=lambda: state)


def _ltx2_fp8(path: Path, told: dict[str, Any]) -> Path:
    return _ltx2_single(path, told, "F8_E4M3")


def _ltx2_folder(path: Path, told: dict[str, Any]) -> Path:
    return _folder(path, told, LTX2_PARTS)


# ------------------------------------------------------------------------------------------------ CogVideoX


def _cogvideox_single(path: Path, told: dict[str, Any]) -> Path:
    return sparse.safetensors_file(path, stored(diffusers(told["transformer"]), told["dtype"]))


def _cogvideox_fp8(path: Path, told: dict[str, Any]) -> Path:
    return sparse.safetensors_file(path, in_float8(diffusers(told["transformer"])))


def _cogvideox_sat(path: Path, told: dict[str, Any]) -> Path:
    shapes = diffusers(told["transformer"])
    state = in_sat_layout({key: torch.empty(shape, device="meta") for key, shape in shapes.items()})
    return sparse.safetensors_file(path, {key: (told["dtype"], tuple(w.shape)) for key, w in state.items()})


def _cogvideox_blocks(path: Path, told: dict[str, Any]) -> Path:
    return sparse.safetensors_file(path, in_blocks(diffusers(told["transformer"]), "Q4_0"))


def _cogvideox_beside(path: Path, told: dict[str, Any]) -> Path:
    """Networks with their config beside one VAE, and no model_index.json."""
    root = path.parent
    for folder, part in ((path, "transformer"), (root / "vae", "vae")):
        sparse.sharded(folder, stored(diffusers(told[part]), told["dtype"]))
        (folder / "config.json").write_text(json.dumps(told[part]))
    (root / "scheduler").mkdir()
    (root / "scheduler" / "scheduler_config.json").write_text(json.dumps(told["scheduler"]))
    return path


# ------------------------------------------------------------------------------------------------ Mochi 1


def _mochi_original(path: Path, told: dict[str, Any]) -> Path:
    return sparse.safetensors_file(path, stored(mochi_network(), "BF16"))


def _mochi_core(path: Path, told: dict[str, Any]) -> Path:
    return sparse.safetensors_file(path, stored(mochi_network(), "BF16"))


def _mochi_scaled(path: Path, told: dict[str, Any]) -> Path:
    return sparse.safetensors_file(path, scaled(mochi_network()))


def _mochi_blocks(path: Path, told: dict[str, Any]) -> Path:
    return sparse.safetensors_file(path, in_blocks(mochi_network(), "Q8_0"))


def _mochi_everything(path: Path, told: dict[str, Any]) -> Path:
    parts = scaled(mochi_network(), CORE) | scaled(t5(), T5) | stored(mochi_vae(), "BF16", "vae.")
    return sparse.safetensors_file(path, parts)


# ------------------------------------------------------------------------------------------------ Pyramid Flow


def _pyramid_sharing(path: Path, told: dict[str, Any]) -> Path:
    """One network of a repository beside the VAE that all of them share."""
    name = "miniflux_transformer" if "miniflux" in path.parent.name else "sd3_transformer"
    vae = path.parent / "causal_video_vae"
    for folder, shapes, config in (
        (path, recorded(name), told["transformer"]),
        (vae, recorded("causal_video_vae"), told["vae"]),
    ):
        sparse.sharded(folder, stored(shapes, told["dtype"]))
        (folder / "config.json").write_text(json.dumps(config))
    return path


def _pyramid_single(path: Path, told: dict[str, Any]) -> Path:
    return sparse.safetensors_file(path, stored(recorded("miniflux_transformer"), "BF16"))


# ------------------------------------------------------------------------------------------------ files beside these

VAES = {
    "ltx-2b-0.9.0": lambda path: sparse.safetensors_file(path, stored(ltx_vae("0.9.0"), "BF16")),
    "ltx-2b-0.9.1": lambda path: sparse.safetensors_file(path, stored(ltx_vae("0.9.1"), "BF16")),
    "ltx-2b-0.9.5": lambda path: sparse.safetensors_file(path, stored(ltx_vae("0.9.5"), "BF16")),
    "cogvideox": lambda path: sparse.safetensors_file(path, stored(diffusers(facts("cogvideox-5b")["vae"]), "BF16")),
    "mochi": lambda path: sparse.safetensors_file(path, stored(mochi_vae(), "BF16")),
    "pyramid": lambda path: sparse.safetensors_file(path, stored(recorded("causal_video_vae"), "BF16")),
}
