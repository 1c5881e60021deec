"""Control Video: footage of poses, edges or depth that the whole shot follows."""

from __future__ import annotations

import torch
from comfy_api.latest import io

from ..media import read
from ..models.bridge import control as bridge
from ..models.bridge.sampling import with_guides
from ..models.bridge.vae import vae_grid
from ..models.timeline.latent import frame_rate_of
from .inputs import found_by, vae_input
from .notice import show
from .video import clip_of, rate_of


class ControlVideo(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="AtelierControlVideo",
            display_name="Control Video",
            category="Atelier",
            **found_by("controlnet", "ic-lora", "pose", "depth", "canny"),
            description="Guides the whole shot with a clip of poses, edges or depth. The model must be trained for it: "
            "CogVideoX-Fun Control or Pose, or LTX Video 0.9.7 and 0.9.8 or LTX-2 with an IC-LoRA.",
            inputs=[
                io.Conditioning.Input("positive", tooltip="From Encode Video Prompt."),
                io.Conditioning.Input("negative", tooltip="From Encode Video Prompt."),
                vae_input(),
                io.Latent.Input("latent", tooltip="The shot: the same latent that goes into the sampler."),
                io.Image.Input(
                    "images",
                    optional=True,
                    tooltip="The control clip's frames, one for each frame of the shot. They are scaled and cropped to "
                    "the shot's size; if there are too few, the last one is repeated. Connect this or video.",
                ),
                io.Video.Input(
                    "video",
                    optional=True,
                    tooltip="The control clip, resampled to the shot's frame rate. Connect this or images.",
                ),
                io.Float.Input(
                    "strength",
                    default=1.0,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    optional=True,
                    tooltip="How closely an IC-LoRA of LTX Video or LTX-2 follows the clip: 1 exactly, 0 not at all.",
                ),
                io.Model.Input(
                    "model",
                    optional=True,
                    tooltip="For LTX Video and LTX-2: the MODEL of Load Video LoRA. It says how large the IC-LoRA "
                    "needs it.",
                ),
            ],
            outputs=[
                io.Conditioning.Output(display_name="positive"),
                io.Conditioning.Output(display_name="negative"),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(
        cls,
        positive,
        negative,
        vae,
        latent: dict,
        images: torch.Tensor | None = None,
        video=None,
        strength: float = 1.0,
        model=None,
    ) -> io.NodeOutput:
        if (video is None) == (images is None):
            raise ValueError(
                "Control Video takes one clip: connect 'video' or 'images', not both."
                if video is not None
                else "Control Video has no clip: connect 'video' (Load Video) or 'images'."
            )
        if video is not None:
            images, size = _frames(vae, latent, video)
        else:
            size = tuple(images.shape[2:0:-1])
        control = bridge.control(vae, images, latent, strength, bridge.reference_scale(model))
        notes = bridge.control_notes(control, images, latent, strength, vae_grid(vae), size)
        if notes:
            show(cls, "\n".join(notes))
        return io.NodeOutput(*(with_guides(texts, control) for texts in (positive, negative)))


def _frames(vae, latent: dict, video) -> tuple[torch.Tensor, tuple[int, int]]:
    """The first frames of a VIDEO, up to the shot's count, at its frame rate and size: [N, H, W, 3]; its own size."""
    clip, start, end = clip_of(video)
    grid, samples = vae_grid(vae), latent["samples"]
    count = grid.frames(samples.shape[2])
    wanted = read.frames_at(clip, rate_of(frame_rate_of(latent)), start, end)[:count]
    size = tuple(side * grid.spatial for side in samples.shape[:2:-1])
    return torch.cat(list(read.read(clip, wanted, size, "crop"))), (clip.width, clip.height)
