"""Decode Video: from latents to frames and a playable VIDEO."""

from __future__ import annotations

from fractions import Fraction

from comfy_api.latest import InputImpl, Types, io

from ..models import bridge
from ..models.knowns import DEFAULT_FPS


class DecodeVideo(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="AtelierDecodeVideo",
            display_name="Decode Video",
            category="Atelier",
            description="Decodes the sampled latent to frames and puts them together at the latent's own frame rate.",
            inputs=[
                io.Vae.Input("vae", tooltip="The VAE of Load Video Model."),
                io.Latent.Input("latent", tooltip="The sampled latent."),
                io.Float.Input(
                    "fps",
                    default=0.0,
                    min=0.0,
                    max=240.0,
                    step=0.01,
                    tooltip="Frames per second of the video. 0 = the latent's own.",
                ),
            ],
            outputs=[io.Video.Output(), io.Image.Output()],
        )

    @classmethod
    def execute(cls, vae, latent: dict, fps: float) -> io.NodeOutput:
        images = bridge.decode(vae, latent["samples"])
        rate = fps or latent.get("frame_rate", DEFAULT_FPS)
        video = Types.VideoComponents(images=images, frame_rate=Fraction(rate).limit_denominator(1001))
        return io.NodeOutput(InputImpl.VideoFromComponents(video), images)
