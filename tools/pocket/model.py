"""The interface of a small model, whatever its architecture, for the score, the colours and the sheet."""

import importlib
import json
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Protocol, runtime_checkable

from torch import Tensor

from pocket.world import Scene

SYSTEMS = {"ltx": "LTX Video", "cogvideox": "CogVideoX", "mochi": "Mochi 1", "pyramid": "Pyramid Flow"}
"""Architecture -> the system's name, of those that make pictures alone."""
READERS = {  # class of a folder's pipeline -> module and class that read it here
    "LTXConditionPipeline": ("pocket.sample", "LTX"),
    "LTX2Pipeline": ("pocket.ltx2.sample", "LTX2"),
    "MochiPipeline": ("pocket.mochi.sample", "Mochi"),
    "CogVideoXPipeline": ("pocket.cogvideox.sample", "CogVideoX"),
}


class Model(Protocol):
    """A trained model.

    recipe: its recipe.json. sizes: the clip sizes of its training other than the recipe's, by name, as options of
    `sample`. longest: the most frames of all these sizes. begun: how many frames of a real clip `sample` continues.
    """

    recipe: dict[str, Any]
    sizes: ClassVar[dict[str, dict[str, float]]]
    longest: ClassVar[int]
    begun: ClassVar[int]

    def encode(self, video: Tensor) -> Tensor:
        """Clips [B, 3, T, H, W] in -1..1 -> latents as the network sees them."""

    def decode(self, latents: Tensor) -> Tensor:
        """Latents as the network sees them -> clips [B, 3, T, H, W] in -1..1."""

    def sample(self, prompts: list[str], guidance: float, steps: int, seed: int = 0, **options: Any) -> Tensor:
        """Prompts -> clips [B, 3, T, H, W] in -1..1.

        Options: a size (`frames` and others that the model takes), and `known`: latents [B, C, K, h, w] of the first K
        latent frames, which stay unchanged.
        """


@runtime_checkable
class Sounding(Model, Protocol):
    """A trained model that makes sound with its clips. rate: samples per second."""

    rate: int

    def sample_both(self, prompts: list[str], guidance: float, steps: int, seed: int = 0, **options: Any) -> NamedTuple:
        """As `sample`: a tuple of `video` and `sound`, waves [B, 2, samples] in -1..1.

        A further option, `known_sound`: latents of the sound's beginning, which stay unchanged.
        """

    def heard(self, wave: Tensor) -> str | None:
        """The colour that a wave [2, samples] sounds like; None if it is none's."""

    def real_sound(self, scenes: list[Scene], frames: int) -> tuple[Tensor, Tensor]:
        """Waves of scenes as the world makes them, and the same after the sound's autoencoder and the vocoder."""

    def encode_sound(self, scenes: list[Scene], frames: int) -> Tensor:
        """Latents of the sound of clips of so many frames."""


def load(folder: Path) -> Model:
    """The model in a folder: a pipeline of diffusers', or Pyramid Flow in its authors' layout.

    Raises OSError without one.
    """
    index = folder / "model_index.json"
    if not index.exists():
        from pocket.pyramid.sample import Pyramid

        return Pyramid.load(folder)
    module, name = READERS[json.loads(index.read_text())["_class_name"]]
    return getattr(importlib.import_module(module), name).load(folder)
