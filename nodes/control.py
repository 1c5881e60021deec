"""Control Video: a clip of poses, edges or depth that the whole shot follows."""

from __future__ import annotations

import torch
from comfy_api.latest import io

from ..models.bridge import sampling


class ControlVideo(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="AtelierControlVideo",
            display_name="Control Video",
            category="Atelier",
            description="Lets a clip of poses, edges or depth guide the whole shot, with a model trained to follow one "
            "(CogVideoX-Fun Control and Pose).",
            inputs=[
                io.Conditioning.Input("positive", tooltip="Of Encode Video Prompt."),
                io.Conditioning.Input("negative", tooltip="Of Encode Video Prompt."),
                io.Vae.Input("vae", tooltip="The VAE of Load Video Model."),
                io.Latent.Input("latent", tooltip="The shot: the same latent that goes into the sampler."),
                io.Image.Input(
                    "images",
                    tooltip="The frames of the control clip. They are scaled and cropped to the shot's size; where "
                    "they are too few, the last one is held.",
                ),
            ],
            outputs=[
                io.Conditioning.Output(display_name="positive"),
                io.Conditioning.Output(display_name="negative"),
            ],
        )

    @classmethod
    def execute(cls, positive, negative, vae, latent: dict, images: torch.Tensor) -> io.NodeOutput:
        control = sampling.control(vae, images, latent)
        return io.NodeOutput(*(sampling.with_options(texts, control) for texts in (positive, negative)))
