"""Model files of published size that take no disk and no memory: a header, and a hole where the weights would be."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path

import gguf
import numpy

Tensors = Mapping[str, tuple[str, tuple[int, ...]]]
"""Name -> (dtype as safetensors or GGUF has it, shape)."""
BYTES = {"F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "U8": 1, "I8": 1}


def safetensors_file(path: Path, tensors: Tensors, metadata: Mapping[str, str] | None = None) -> Path:
    """A safetensors file whose weights all read as zero."""
    header: dict = {"__metadata__": dict(metadata)} if metadata else {}
    end = 0
    for name, (dtype, shape) in tensors.items():
        begin, end = end, end + math.prod(shape) * BYTES[dtype]
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + end)
    return path


def sharded(folder: Path, tensors: Tensors, stem: str = "diffusion_pytorch_model", most: int = 10**10) -> Path:
    """The weights of a diffusers folder, in shards of at most `most` bytes with their index where there are several."""
    shards: list[dict] = [{}]
    size = 0
    for name, (dtype, shape) in tensors.items():
        count = math.prod(shape) * BYTES[dtype]
        if shards[-1] and size + count > most:
            shards.append({})
            size = 0
        shards[-1][name], size = (dtype, shape), size + count
    if len(shards) == 1:
        return safetensors_file(folder / f"{stem}.safetensors", tensors)
    names = [f"{stem}-{n + 1:05d}-of-{len(shards):05d}.safetensors" for n in range(len(shards))]
    for name, shard in zip(names, shards, strict=True):
        safetensors_file(folder / name, shard)
    placed = {key: name for name, shard in zip(names, shards, strict=True) for key in shard}
    (folder / f"{stem}.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": placed}))
    return folder


def gguf_file(path: Path, tensors: Tensors, architecture: str) -> Path:
    """A GGUF file whose blocks all read as zero."""
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = gguf.GGUFWriter(str(path), architecture)
    for name, (dtype, shape) in tensors.items():
        kind = gguf.GGMLQuantizationType[dtype]
        block, size = gguf.GGML_QUANT_SIZES[kind]
        writer.add_tensor_info(
            name, list(shape), numpy.dtype("float32"), math.prod(shape) // block * size, raw_dtype=kind
        )
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    end = sum(tensor.nbytes + -tensor.nbytes % 32 for part in writer.tensors for tensor in part.values())
    at = writer.fout[0].tell()
    writer.fout[0].truncate(at + -at % 32 + end)
    writer.close()
    return path
