"""The nodes, one file per step of a graph. A node is a schema and one call into another room."""

from __future__ import annotations

import os

from comfy_api.latest import ComfyExtension, io

from .control import ControlVideo
from .decode import DecodeVideo
from .encode import EncodeVideo
from .expand import ExpandPrompt
from .guidance import DynamicGuidance, VideoGuidance
from .join import JoinVideos
from .latent import EmptyVideoLatent, PlaceFrames, PlaceKeyframes
from .load import LoadVideoModel
from .lora import LoadVideoLoRA
from .recut import RecutVideo
from .remix import InpaintShot, RemixShot
from .sample import SampleVideo, VideoSchedule
from .save import SaveVideoAs
from .shots import BlendShots, ExtendShot, JoinShot, LoopShot, RecutShot
from .sound import PlaceSound
from .speed import SpeedUpVideo
from .storyboard import Storyboard
from .text import EncodeVideoPrompt
from .trim import TrimVideo
from .upscale import LoadVideoUpscaleModel, UpscaleVideoLatent
from .variations import ContactSheet, PickVariation, VariationSeeds

WORKERS_FOLDER = "ATELIER_FARM_BASE"
"""A variable in the environment of a worker's ComfyUI (farm/worker.py)."""


def _on_a_worker() -> list[type[io.ComfyNode]]:
    """The node that only a worker of a farm has."""
    if WORKERS_FOLDER not in os.environ:
        return []
    from .farm import SamplePiece

    return [SamplePiece]


class Atelier(ComfyExtension):
    """The pack's nodes, in the order of a graph."""

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return [
            LoadVideoModel,
            LoadVideoLoRA,
            EncodeVideoPrompt,
            EmptyVideoLatent,
            PlaceFrames,
            ControlVideo,
            DynamicGuidance,
            VideoSchedule,
            SampleVideo,
            DecodeVideo,
            EncodeVideo,
            TrimVideo,
            SaveVideoAs,
            PlaceKeyframes,
            ExtendShot,
            LoopShot,
            BlendShots,
            RecutShot,
            RemixShot,
            InpaintShot,
            JoinShot,
            VariationSeeds,
            ContactSheet,
            PickVariation,
            Storyboard,
            ExpandPrompt,
            JoinVideos,
            LoadVideoUpscaleModel,
            UpscaleVideoLatent,
            SpeedUpVideo,
            PlaceSound,
            VideoGuidance,
            RecutVideo,
            *_on_a_worker(),
        ]
