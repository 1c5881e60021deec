"""GGUF and scaled fp8 files written from state dicts, as the converters for ComfyUI and llama.cpp do."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import comfy.model_management as memory
import gguf
import sentencepiece
import tiny
import tiny_cogvideox
import tiny_ltx2
import tiny_mochi
import tiny_pyramid
import torch
from atelier.models.bridge.weights import QuantisedLinear
from atelier.models.families.ltx_video import layouts
from benchmarks.layout import in_sat_layout
from safetensors.torch import save_file

BLOCK = {"Q8_0": 32, "Q4_0": 32, "Q5_1": 32, "F16": 1, "BF16": 1}
# transformers' names of a T5 encoder -> llama.cpp's.
T5_NAMES = (
    (r"^shared\.", "token_embd."),
    (r"^encoder\.final_layer_norm\.", "enc.output_norm."),
    (r"^encoder\.block\.(\d+)\.", r"enc.blk.\1."),
    (r"layer\.0\.SelfAttention\.([qkvo])\.", r"attn_\1."),
    (r"layer\.0\.SelfAttention\.relative_attention_bias\.", "attn_rel_b."),
    (r"layer\.0\.layer_norm\.", "attn_norm."),
    (r"layer\.1\.DenseReluDense\.wi_0\.", "ffn_gate."),
    (r"layer\.1\.DenseReluDense\.wi_1\.", "ffn_up."),
    (r"layer\.1\.DenseReluDense\.wo\.", "ffn_down."),
    (r"layer\.1\.layer_norm\.", "ffn_norm."),
)


# transformers' names of a Gemma 3 -> llama.cpp's.
GEMMA_NAMES = (
    (r"^model\.embed_tokens\.", "token_embd."),
    (r"^model\.norm\.", "output_norm."),
    (r"^model\.layers\.(\d+)\.", r"blk.\1."),
    (r"self_attn\.([qkv])_proj\.", r"attn_\1."),
    (r"self_attn\.o_proj\.", "attn_output."),
    (r"self_attn\.([qk])_norm\.", r"attn_\1_norm."),
    (r"input_layernorm\.", "attn_norm."),
    (r"post_attention_layernorm\.", "post_attention_norm."),
    (r"pre_feedforward_layernorm\.", "ffn_norm."),
    (r"post_feedforward_layernorm\.", "post_ffw_norm."),
    (r"mlp\.(gate|up|down)_proj\.", r"ffn_\1."),
)


def write_gemma(path: Path, state: dict[str, torch.Tensor], proto: bytes, kind: str = "Q8_0") -> Path:
    """A Gemma as llama.cpp converts it: norms with 1 added, and the tokenizer's pieces as fields."""
    pieces = sentencepiece.SentencePieceProcessor(model_proto=proto)
    kinds = {"IsUnknown": 2, "IsControl": 3, "IsUnused": 5, "IsByte": 6}

    def kind_of(number: int) -> int:
        return next((value for name, value in kinds.items() if getattr(pieces, name)(number)), 1)

    numbers = range(pieces.GetPieceSize())
    named = {}
    for key, weight in state.items():
        weight = weight + 1 if key.endswith("norm.weight") else weight
        for pattern, name in GEMMA_NAMES:
            key = re.sub(pattern, name, key)
        named[key] = weight

    def tokenizer(writer: gguf.GGUFWriter) -> None:
        writer.add_tokenizer_model("llama")
        writer.add_token_list([pieces.IdToPiece(number) for number in numbers])
        writer.add_token_scores([pieces.GetScore(number) for number in numbers])
        writer.add_token_types([kind_of(number) for number in numbers])
        writer.add_unk_token_id(pieces.unk_id())
        writer.add_bos_token_id(pieces.bos_id())
        writer.add_eos_token_id(pieces.eos_id())
        writer.add_pad_token_id(pieces.pad_id())

    return write(path, named, kind, "gemma3", tokenizer)


def write(
    path: Path,
    state: dict[str, torch.Tensor],
    kind: str = "Q8_0",
    architecture: str = "ltxv",
    add: Callable[[gguf.GGUFWriter], None] = lambda writer: None,
) -> Path:
    """A GGUF file: matrices quantised where their rows divide into blocks, else float16; vectors as float32."""
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = gguf.GGUFWriter(str(path), architecture)
    for key, weight in state.items():
        values, chosen = weight.float().contiguous().numpy(), gguf.GGMLQuantizationType.F32
        if weight.ndim == 2 and weight.numel() > 512 and "table" not in key:
            chosen = gguf.GGMLQuantizationType[kind if weight.shape[1] % BLOCK[kind] == 0 else "F16"]
            values = gguf.quants.quantize(values, chosen)
        writer.add_tensor(key, values, raw_dtype=chosen)
    add(writer)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def write_blocks(path: Path, state: dict[str, torch.Tensor], kind: str = "Q4_0", named: bool = False) -> Path:
    """GGUF blocks as plain bytes in a safetensors file. named: whether their names have the type."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rest, blocks = dict(state), {}
    for key, weight in state.items():
        if weight.ndim == 2 and weight.shape[1] % BLOCK[kind] == 0 and "table" not in key:
            rows = gguf.quants.quantize(rest.pop(key).float().numpy(), gguf.GGMLQuantizationType[kind])
            name = f"{key.removesuffix('weight')}{kind}_qweight" if named and key.endswith(".weight") else key
            blocks[name] = torch.from_numpy(rows)
    save_file({key: weight.contiguous() for key, weight in (rest | blocks).items()}, path)
    return path


def rounded(state: dict[str, torch.Tensor], path: Path) -> dict[str, torch.Tensor]:
    """The numbers that the package gguf itself reads from a file, under the names and in the shapes of `state`."""
    out = {}
    for tensor in gguf.GGUFReader(path).tensors:
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        out[tensor.name] = torch.from_numpy(values.copy()).reshape(state[tensor.name].shape)
    return out


def t5_names(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    out = {}
    for key, weight in state.items():
        for pattern, name in T5_NAMES:
            key = re.sub(pattern, name, key)
        out[key] = weight
    return out


def write_scaled(path: Path, state: dict[str, torch.Tensor]) -> Path:
    """A "scaled fp8" file: matrices as wide as published ones (32 and more) in float8, the rest in 32 bits."""
    matrices = [key for key, weight in state.items() if weight.ndim == 2 and weight.shape[1] % 32 == 0]
    state = tiny.in_scaled_fp8(state, [key for key in matrices if "table" not in key and "embed" not in key])
    save_file({key: weight.contiguous() for key, weight in state.items()}, path)
    return path


# A function that makes a network's weights, and the shape of a latent for it.
NETWORKS = {
    "ltx original": (lambda: tiny.core_network().state_dict(), (1, 128, 2, 2, 3)),
    "ltx diffusers": (lambda: layouts.network_state(tiny.core_network().state_dict()), (1, 128, 2, 2, 3)),
    "cogvideox": (lambda: tiny_cogvideox.network("5B").state_dict(), (1, 16, 2, 4, 6)),
    "cogvideox sat": (lambda: in_sat_layout(tiny_cogvideox.network("5B").state_dict()), (1, 16, 2, 4, 6)),
    "mochi original": (
        lambda: tiny_mochi.original(tiny_mochi.network(attention_head_dim=16).state_dict()),
        (1, 12, 2, 4, 4),
    ),
    "pyramid": (lambda: tiny_pyramid.network("sd3").state_dict(), None),
    "ltx2 original": (lambda: tiny_ltx2.network_file_state("2.3"), None),
}


def loaded(model) -> torch.nn.Module:
    memory.load_models_gpu([model], force_full_load=True)
    return model.model.diffusion_model


def kept(network: torch.nn.Module) -> list[str]:
    """Names of the weights that are quantised in memory."""
    return [f"{name}.weight" for name, layer in network.named_modules() if isinstance(layer, QuantisedLinear)]


def numbers(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    """A network's weights as numbers."""
    layers = {name: network.get_submodule(name.removesuffix(".weight")) for name in kept(network)}
    return {
        key: layers[key].convert_weight(weight) if key in layers else weight
        for key, weight in network.state_dict().items()
    }
