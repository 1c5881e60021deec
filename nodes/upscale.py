"""Load Video Upscale Model and Upscale Video Latent: a clip to a larger size, or twice its frames, as a latent."""

from __future__ import annotations

from comfy_api.latest import io

from ..editing.upscaling import upscaled
from ..models.library.folders import upscaler_path, upscalers
from ..models.loading.upscaler import load_upscaler
from ..models.timeline.latent import frame_rate_of
from ..models.weights.checkpoint import weight_files
from .inputs import CLIP_TOOLTIP, MAX_SIDE, check, found_by
from .notice import show


class LoadVideoUpscaleModel(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="AtelierLoadVideoUpscaleModel",
            display_name="Load Video Upscale Model",
            category="Atelier",
            **found_by("upscaler loader", "latent upscale model"),
            description="Loads a latent upscaler of LTX Video or LTX-2, spatial or temporal, for Upscale Video Latent.",
            inputs=[
                io.Combo.Input(
                    "upscale_model",
                    options=upscalers(),
                    tooltip="A file or folder in models/latent_upscale_models: ltxv-spatial-upscaler or "
                    "ltxv-temporal-upscaler, 0.9.7 or 0.9.8; for LTX-2, ltx-2-spatial-upscaler and the like.",
                ),
            ],
            outputs=[io.LatentUpscaleModel.Output()],
        )

    @classmethod
    def validate_inputs(cls, upscale_model=None) -> bool | str:
        return check(cls, upscale_model=upscale_model)

    @classmethod
    def fingerprint_inputs(cls, upscale_model: str) -> list:
        """Changes when a file is replaced under the same name, so that it is loaded again."""
        return [(str(file), file.stat().st_mtime_ns) for file in weight_files(upscaler_path(upscale_model))]

    @classmethod
    def execute(cls, upscale_model: str) -> io.NodeOutput:
        return io.NodeOutput(load_upscaler(upscaler_path(upscale_model)))


class UpscaleVideoLatent(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="AtelierUpscaleVideoLatent",
            display_name="Upscale Video Latent",
            category="Atelier",
            **found_by("upscale video", "two stage", "temporal upscale"),
            description="Enlarges a clip, or doubles its frames, as a latent. A second, short Sample Video then adds "
            "detail. Sound stays as it is.",
            inputs=[
                io.Latent.Input("latent", tooltip=CLIP_TOOLTIP),
                io.LatentUpscaleModel.Input("upscale_model", tooltip="From Load Video Upscale Model."),
                io.Vae.Input("vae", tooltip="The VAE of Load Video Model. Only its statistics are used."),
                io.Float.Input(
                    "adain",
                    default=1.0,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    tooltip="How far the colours and contrast of each channel are set back to those of the small clip "
                    "(AdaIN). The authors use 1 for LTX Video and 0 for LTX-2.",
                ),
                io.Float.Input(
                    "tone_map",
                    default=0.0,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    tooltip="Compresses strong values, against burnt colours. 0.6 for LTX Video 0.9.8 distilled, 0 for "
                    "the others.",
                ),
            ],
            outputs=[io.Latent.Output()],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(cls, latent: dict, upscale_model, vae, adain: float, tone_map: float) -> io.NodeOutput:
        larger = upscaled(latent, upscale_model, vae, adain, tone_map, MAX_SIDE)
        show(cls, f"{_size(latent, vae)}\n-> {_size(larger, vae)}")
        return io.NodeOutput(larger)


def _size(latent: dict, vae) -> str:
    time, height, width = latent["samples"].shape[2:]
    frames, *sides = vae.upscale_ratio
    return f"{width * sides[1]} x {height * sides[0]}, {frames(time)} frames at {frame_rate_of(latent):g} fps"
