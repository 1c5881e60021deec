"""GGUF files: weights quantised in blocks. They stay quantised in memory and are dequantised when they are used.

The package `gguf` reads the file, diffusers dequantises the blocks. Both are imported with the first GGUF file.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from .errors import CheckpointError
from .gguf_tokenizer import SPIECE, has_pieces, sentence_pieces
from .key_names import renamed
from .mapped import Described, Mapped
from .quantised import Quantised

# llama.cpp's names of a T5 encoder -> those of transformers.
T5_NAMES = (
    (r"^token_embd\.", "shared."),
    (r"^enc\.output_norm\.", "encoder.final_layer_norm."),
    (r"^enc\.blk\.(\d+)\.", r"encoder.block.\1."),
    (r"\.attn_([qkvo])\.", r".layer.0.SelfAttention.\1."),
    (r"\.attn_rel_b\.", ".layer.0.SelfAttention.relative_attention_bias."),
    (r"\.attn_norm\.", ".layer.0.layer_norm."),
    (r"\.ffn_gate\.", ".layer.1.DenseReluDense.wi_0."),
    (r"\.ffn_up\.", ".layer.1.DenseReluDense.wi_1."),
    (r"\.ffn_down\.", ".layer.1.DenseReluDense.wo."),
    (r"\.ffn_norm\.", ".layer.1.layer_norm."),
)
# llama.cpp's names of a Gemma 3 -> those of transformers.
GEMMA_NAMES = (
    (r"^token_embd\.", "model.embed_tokens."),
    (r"^output_norm\.", "model.norm."),
    (r"^blk\.(\d+)\.", r"model.layers.\1."),
    (r"\.attn_([qkv])\.", r".self_attn.\1_proj."),
    (r"\.attn_output\.", ".self_attn.o_proj."),
    (r"\.attn_([qk])_norm\.", r".self_attn.\1_norm."),
    (r"\.attn_norm\.", ".input_layernorm."),
    (r"\.post_attention_norm\.", ".post_attention_layernorm."),
    (r"\.ffn_norm\.", ".pre_feedforward_layernorm."),
    (r"\.post_ffw_norm\.", ".post_feedforward_layernorm."),
    (r"\.ffn_(gate|up|down)\.", r".mlp.\1_proj."),
)
GEMMA = "gemma3"
"""The architecture of a Gemma 3 in llama.cpp, which stores the weights of its norms with 1 added."""


@dataclass(frozen=True)
class Blocks:
    """Rows of GGUF blocks, as bytes. `name` is the quantisation type ("Q8_0", "Q4_K")."""

    name: str

    def columns(self, width: int) -> int:
        numbers, size = self._sizes()
        return width // size * numbers

    def numbers(self, rows: torch.Tensor, dtype: torch.dtype = torch.float32) -> torch.Tensor:
        from diffusers.quantizers.gguf.utils import dequantize_functions

        (block, size), blocks = self._sizes(), rows.to(torch.uint8)
        values = dequantize_functions[self._type()](blocks.reshape(-1, size), block, size, dtype=torch.float32)
        return values.reshape(len(rows), -1).to(dtype)

    def _type(self) -> Any:
        import gguf

        return gguf.GGMLQuantizationType[self.name]

    def _sizes(self) -> tuple[int, int]:
        """(numbers per block, bytes per block)."""
        import gguf

        return gguf.GGML_QUANT_SIZES[self._type()]


PLAIN = ("F32", "F16", "F64", "BF16")


def readable(path: Path, kinds: set[str]) -> None:
    """Raise CheckpointError if a file has blocks of an unsupported type."""
    _package(path)
    from diffusers.quantizers.gguf.utils import dequantize_functions

    unsupported = sorted(kinds - {kind.name for kind in dequantize_functions})
    if unsupported:
        raise CheckpointError(
            f"{path.name} is quantised as {', '.join(unsupported)}, which cannot be read here. Download the model as "
            "Q8_0, Q6_K, Q5_K, Q4_K or another common type."
        )


def _package(path: Path) -> Any:
    try:
        import gguf
    except ImportError as missing:
        raise CheckpointError(
            f"{path.name} has GGUF weights, which need the Python package 'gguf'. Install it with ComfyUI's Python: "
            "pip install gguf. Then restart ComfyUI."
        ) from missing
    return gguf


class GGUFTensors:
    """A GGUF file with the interface of SafetensorsFile. Quantised matrices are returned as Quantised.

    Raises CheckpointError if the file is damaged, or quantised in an unsupported type.
    """

    def __init__(self, path: Path) -> None:
        gguf = _package(path)
        try:
            reader = gguf.GGUFReader(path, "r")  # read-only: a writable mapping must fit into memory
        except (ValueError, IndexError, KeyError, OverflowError, OSError, MemoryError) as error:
            size = path.stat().st_size / 1e6
            raise CheckpointError(
                f"{path.name} ({size:.1f} MB) is a damaged or incomplete GGUF file ({error}). Download it again."
            ) from error
        readable(path, {tensor.tensor_type.name for tensor in reader.tensors} - set(PLAIN))
        self.fields = reader.fields
        self.gemma = self.metadata().get("general.architecture") == GEMMA
        names = T5_NAMES if any(tensor.name.startswith("enc.blk.") for tensor in reader.tensors) else ()
        names = GEMMA_NAMES if self.gemma else names
        self.tensors = {renamed(tensor.name, names): tensor for tensor in reader.tensors}
        ends = {
            name: (tensor.data_offset, tensor.data_offset + tensor.n_bytes) for name, tensor in self.tensors.items()
        }
        self._mapped = Mapped(path, {name: (int(begin), int(end)) for name, (begin, end) in ends.items()})

    def __enter__(self) -> GGUFTensors:
        return self

    def __exit__(self, *_: Any) -> None:
        """Closes nothing: the file's bytes are memory-mapped and stay mapped as long as a tensor uses them."""

    def keys(self) -> list[str]:
        return [*self.tensors, *([SPIECE] if self.gemma and has_pieces(self.fields) else [])]

    def metadata(self) -> dict[str, str]:
        return {name: field.contents() for name, field in self.fields.items() if field.types[:1] == [_strings()]}

    def stored_bytes(self, key: str) -> int:
        return 0 if key == SPIECE else self._mapped.bytes_of(key)

    def get_slice(self, key: str) -> Described:
        if key == SPIECE:
            return Described([0], "U8")  # how long it is shows when it is read, which takes seconds
        # GGUF allows at most four dimensions: ComfyUI's converter stores the shape of other tensors in a field.
        original = self.fields.get(f"comfy.gguf.orig_shape.{self.tensors[key].name}")
        shape = original.contents() if original else self.tensors[key].shape.tolist()[::-1]
        return Described(shape, self.tensors[key].tensor_type.name)

    def get_tensor(self, key: str) -> torch.Tensor:
        """The weight: plain, or a Quantised matrix. Other quantised weights are dequantised to float16.

        SPIECE of a Gemma is its tokenizer, as the bytes of a sentencepiece model.
        """
        if key == SPIECE:
            return sentence_pieces(self.fields)
        weight = self._weight(key)
        return weight - 1 if self.gemma and key.endswith("norm.weight") else weight

    def _weight(self, key: str) -> torch.Tensor:
        tensor, shape = self.tensors[key], self.get_slice(key).get_shape()
        kind, content = tensor.tensor_type.name, self._mapped.content(key).numpy()
        values = torch.from_numpy(content.view(tensor.data.dtype).reshape(tensor.data.shape))
        if kind == "BF16":
            return values.view(torch.bfloat16).reshape(shape)
        if kind in PLAIN:
            return values.reshape(shape)
        rows = values.reshape(-1, values.shape[-1])
        if len(shape) == 2:
            return Quantised.of(rows, Blocks(kind))
        return Blocks(kind).numbers(rows, torch.float16).reshape(shape)


def _strings() -> Any:
    import gguf

    return gguf.GGUFValueType.STRING
