"""Blocks of pixels as vectors, and linear maps between what a block and its parts are told in.

A block is frames x side x side pixels; its vector runs over frame, row, column and colour. Layers that put parts
together, or take a block apart, compute a linear code of a block exactly: nothing of it needs training.
"""

import torch
from torch import Tensor

Shape = tuple[int, int]
"""Frames, and rows and columns, of a block."""


def cut(video: Tensor, shape: Shape) -> Tensor:
    """The blocks [N, pixels] of clips [B, 3, T, H, W], whose sides are multiples of the block's."""
    frames, side = shape
    cubes = video.unfold(2, frames, frames).unfold(3, side, side).unfold(4, side, side)
    return cubes.permute(0, 2, 3, 4, 5, 6, 7, 1).flatten(4).flatten(0, 3)


def parts(matrix: Tensor, whole: Shape, part: Shape) -> Tensor:
    """Rows of a matrix [pixels of a block, N] that belong to parts: [parts, pixels of a part, N]; frames slowest."""
    (frames, side), (f, s) = whole, part
    pieces = matrix.view(frames // f, f, side // s, s, side // s, s, 3, -1)
    return pieces.permute(0, 2, 4, 1, 3, 5, 6, 7).flatten(3, 6).flatten(0, 2)


def basis(columns: Tensor, whole: Shape, part: Shape, width: int) -> Tensor:
    """What the pixels of parts are told in, [pixels, numbers]: the `width` numbers that `columns` ask most for.

    columns: [pixels of the whole, N], the code of the whole block. A pixel is told in its colour.
    """
    if part == (1, 1):
        return torch.eye(3)
    if part == whole:
        return columns
    asked = parts(columns, whole, part).movedim(0, 1).flatten(1)
    return torch.linalg.svd(asked, full_matrices=False).U[:, :width]


def join(small: Tensor, large: Tensor, shapes: tuple[Shape, Shape]) -> Tensor:
    """Between what parts are told in and what the whole is: [parts, numbers of a part, numbers of the whole]."""
    return small.T @ parts(large, shapes[1], shapes[0])


def spread(matrices: Tensor) -> Tensor:
    """[places, out, in] -> [out * places, in]: the layers count places faster than channels."""
    return matrices.transpose(0, 1).flatten(0, 1)
