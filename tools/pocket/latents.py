"""The latents that a transformer trains on, encoded once and kept on disk."""

from collections.abc import Callable, Iterable
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from pocket.world import Scene, clips

CHUNK = 64  # clips of a seed


def cached_latents(
    work: Path, seeds: Iterable[int], encode: Callable[[Tensor], Tensor], **size: float
) -> tuple[Tensor, list[Scene]]:
    """Latents [N, C, T, h, w] in half precision and scenes of CHUNK clips a seed; later runs read `work`/latents.pt.

    size: the clips', as for `world.render`.
    """
    path = work / "latents.pt"
    if not path.exists():
        parts, scenes = [], []
        for seed in tqdm(seeds, desc="latents"):
            made = clips(CHUNK, seed, **size)
            parts.append(encode(made.video).half())
            scenes += made.scenes
        partial = path.with_suffix(".partial")
        torch.save((torch.cat(parts), scenes), partial)
        partial.replace(path)
    return torch.load(path, weights_only=False)
