"""Matrices that stay quantised as in their file, and are dequantised when they are used."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any, Protocol

import torch

BLOCK = 32
"""How many numbers share a scale in EightBits."""


class Kind(Protocol):
    """A quantisation format: how stored rows decode to numbers."""

    def columns(self, width: int) -> int:
        """How many numbers a row of `width` stored elements has."""

    def numbers(self, rows: torch.Tensor, dtype: torch.dtype = torch.float32) -> torch.Tensor:
        """Rows [rows, width], of any dtype that holds their elements -> numbers [rows, columns]."""


@dataclass(frozen=True)
class Scaled:
    """Float8 numbers with one scale for the matrix ("scaled fp8")."""

    scale: float

    def columns(self, width: int) -> int:
        return width

    def numbers(self, rows: torch.Tensor, dtype: torch.dtype = torch.float32) -> torch.Tensor:
        return rows.to(dtype) * self.scale


class EightBits:
    """Blocks of 32 numbers, each a float16 scale and 32 int8. This is GGUF's Q8_0."""

    def columns(self, width: int) -> int:
        return width // (BLOCK + 2) * BLOCK

    def numbers(self, rows: torch.Tensor, dtype: torch.dtype = torch.float32) -> torch.Tensor:
        blocks = rows.to(torch.uint8).reshape(-1, BLOCK + 2)
        scale, steps = blocks[:, :2].contiguous().view(torch.float16), blocks[:, 2:].contiguous().view(torch.int8)
        return (scale.float() * steps).reshape(len(rows), -1).to(dtype)


def in_eight_bits(matrix: torch.Tensor) -> torch.Tensor:
    """Quantise a matrix [rows, columns], columns a multiple of 32 -> uint8 rows of EightBits."""
    blocks = matrix.float().reshape(-1, BLOCK)
    scale = blocks.abs().amax(dim=1, keepdim=True) / 127
    steps = torch.where(scale > 0, blocks / scale, 0).round().to(torch.int8)
    return torch.cat([scale.half().view(torch.uint8), steps.view(torch.uint8)], dim=1).reshape(len(matrix), -1)


class Quantised(torch.Tensor):
    """A matrix as stored rows [rows, width] in the format `kind`. Slicing or moving it keeps the format."""

    kind: Kind

    @staticmethod
    def of(rows: torch.Tensor, kind: Kind) -> Quantised:
        matrix = rows.as_subclass(Quantised)
        matrix.kind = kind
        return matrix

    @property
    def numbers_shape(self) -> tuple[int, int]:
        """Shape [rows, columns] of the dequantised matrix."""
        return self.shape[0], self.kind.columns(self.shape[1])

    def numbers(self, dtype: torch.dtype = torch.float32) -> torch.Tensor:
        return self.kind.numbers(self.rows(), dtype)

    def rows(self) -> torch.Tensor:
        return self.as_subclass(torch.Tensor)

    @classmethod
    def __torch_function__(cls, function: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        result = super().__torch_function__(function, types, args, kwargs or {})
        flat = itertools.chain.from_iterable(arg if isinstance(arg, (list, tuple)) else [arg] for arg in args)
        kind = next((arg.kind for arg in flat if isinstance(arg, cls) and hasattr(arg, "kind")), None)
        for output in result if isinstance(result, (list, tuple)) else [result]:
            if isinstance(output, cls):
                output.kind = kind
        return result


def shape_of(weight: torch.Tensor) -> tuple[int, ...]:
    """The shape of a weight as numbers, also if it is quantised."""
    return weight.numbers_shape if isinstance(weight, Quantised) else tuple(weight.shape)
