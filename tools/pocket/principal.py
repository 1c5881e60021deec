"""The directions along which numbers vary most: what a solved encoder keeps of a clip."""

import torch
from torch import Tensor


def principal(covariance: Tensor, numbers: int, evenness: float) -> tuple[Tensor, Tensor]:
    """The first `numbers` principal directions [N, numbers] of a covariance [N, N], and a factor for each, [numbers].

    evenness: of the deviations along them: 0 leaves them as they are, 1 makes them equal. After the factors they have
    unit size on the whole.
    """
    value, vector = torch.linalg.eigh(covariance)
    value, vector = value.flip(0)[:numbers], vector.flip(1)[:, :numbers]
    scale = value.pow(-evenness / 2)
    return vector, scale / (value.sqrt() * scale).square().mean().sqrt()
