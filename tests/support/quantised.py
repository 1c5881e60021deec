"""GGUF files written from state dicts, as the converters for ComfyUI and llama.cpp do."""

from __future__ import annotations

import re
from pathlib import Path

import gguf
import torch

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


def write(path: Path, state: dict[str, torch.Tensor], kind: str = "Q8_0", architecture: str = "ltxv") -> Path:
    """A GGUF file: matrices quantised where their rows divide into blocks, else float16; vectors as float32."""
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = gguf.GGUFWriter(str(path), architecture)
    for key, weight in state.items():
        values, chosen = weight.float().contiguous().numpy(), gguf.GGMLQuantizationType.F32
        if weight.ndim == 2 and weight.numel() > 512 and "table" not in key:
            chosen = gguf.GGMLQuantizationType[kind if weight.shape[1] % BLOCK[kind] == 0 else "F16"]
            values = gguf.quants.quantize(values, chosen)
        writer.add_tensor(key, values, raw_dtype=chosen)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
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
