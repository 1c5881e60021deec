"""The tokenizer in a GGUF file of a Gemma as a sentencepiece model, the form in which safetensors files carry it.

llama.cpp stores a sentencepiece model's pieces, scores and types. Its settings are Gemma's own. The model is a protobuf
message, of which a few fields are needed: ComfyUI's environment has sentencepiece, but not the package protobuf.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

import torch

SPIECE = "spiece_model"
"""The tensor in which a Gemma's file carries its tokenizer."""
BPE = 2
VARINT, BYTES, FLOAT = 0, 2, 5
"""Protobuf's wire types."""


PARTS = ("tokens", "scores", "token_type")


def has_pieces(fields: Mapping[str, Any]) -> bool:
    """Whether a GGUF file's fields have a sentencepiece model's tokenizer."""
    return all(f"tokenizer.ggml.{name}" in fields for name in PARTS)


def sentence_pieces(fields: Mapping[str, Any]) -> torch.Tensor:
    """The bytes of the sentencepiece model [n], from the fields of a GGUF file that has its pieces."""
    parts = (fields[f"tokenizer.ggml.{name}"].contents() for name in PARTS)
    pieces = b"".join(
        _bytes(1, _bytes(1, piece.encode()) + _float(2, score) + _number(3, kind))
        for piece, score, kind in zip(*parts, strict=True)
    )
    ids = {40: "unknown_token_id", 41: "bos_token_id", 42: "eos_token_id", 43: "padding_token_id"}
    trainer = _number(3, BPE) + _number(35, 1)  # unknown words are read byte by byte
    for field, name in ids.items():
        given = fields.get(f"tokenizer.ggml.{name}")
        trainer += b"" if given is None else _number(field, int(given.contents()))
    # No space in front, none removed, and those that remain are written as pieces have them.
    normaliser = _bytes(1, b"identity") + _number(3, 0) + _number(4, 0) + _number(5, 1)
    model = pieces + _bytes(2, trainer) + _bytes(3, normaliser)
    return torch.frombuffer(bytearray(model), dtype=torch.uint8)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3 | VARINT) + _varint(value)


def _float(field: int, value: float) -> bytes:
    return _varint(field << 3 | FLOAT) + struct.pack("<f", value)


def _bytes(field: int, content: bytes) -> bytes:
    return _varint(field << 3 | BYTES) + _varint(len(content)) + content
