"""Load Video Upscale Model and Upscale Video Latent: a clip to a larger size, or twice its frames, as a latent."""

from __future__ import annotations

from comfy_api.latest import io
from comfy_execution.graph_utils import ExecutionBlocker

from ..editing.upscaling import as_published, upscaled
from ..models.bridge.video_model import video_model
from ..models.contract.schedule import second_pass_of
from ..models.library.folders import upscaler_path, upscalers
from ..models.loading.upscaler import load_upscaler
from ..models.timeline.latent import frame_rate_of, picture_of
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
                    min=-1.0,
                    max=1.0,
                    step=0.05,
                    tooltip="How far the colours and contrast of each channel are set back to those of the small clip "
                    "(AdaIN). The authors use 1 for LTX Video and 0 for LTX-2. -1 = as the authors of 'model' publish "
                    "it.",
                ),
                io.Float.Input(
                    "tone_map",
                    default=0.0,
                    min=-1.0,
                    max=1.0,
                    step=0.05,
                    tooltip="Compresses strong values, against burnt colours. 0.6 for LTX Video 13B 0.9.8 distilled, 0 "
                    "for the others. -1 = as the authors of 'model' publish it.",
                ),
                io.Model.Input(
                    "model",
                    optional=True,
                    tooltip="The MODEL that samples the clip again. For values of -1, and for steps and denoise.",
                ),
            ],
            outputs=[
                io.Latent.Output(),
                io.Int.Output(
                    display_name="steps",
                    tooltip="Steps of the second pass, as the authors of 'model' publish it, for Sample Video.",
                ),
                io.Float.Output(display_name="denoise", tooltip="The denoise of that pass, for Sample Video."),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(cls, latent: dict, upscale_model, vae, adain: float, tone_map: float, model=None) -> io.NodeOutput:
        inner = None if model is None else video_model(model)
        published = inner and inner.variant.second_pass
        adain, tone_map, notes = as_published(inner and inner.variant, adain, tone_map)
        larger = upscaled(latent, upscale_model, vae, adain, tone_map, MAX_SIDE)
        show(cls, "\n".join([f"{_size(latent, vae)}\n-> {_size(larger, vae)}", *notes]))
        shape = tuple(picture_of(larger).shape)
        again = second_pass_of(inner.family, inner.variant, shape) if published else None
        return io.NodeOutput(larger, *(again or [ExecutionBlocker(_unknown(inner and inner.variant))] * 2))


def _unknown(variant) -> str:
    """Why there are no steps and no denoise."""
    if variant is None:
        reason = "connect the MODEL to 'model'"
    elif variant.second_pass is None:
        reason = f"{variant.name} was published without a second pass"
    else:
        reason = f"the second pass of {variant.name} is run by its distilled model, whose MODEL 'model' takes"
    return (
        f"Upscale Video Latent knows no steps and denoise: {reason}. Or write both into Sample Video, for example 4 "
        "and 0.4."
    )


def _size(latent: dict, vae) -> str:
    time, height, width = picture_of(latent).shape[2:]
    frames, *sides = vae.upscale_ratio
    return f"{width * sides[1]} x {height * sides[0]}, {frames(time)} frames at {frame_rate_of(latent):g} fps"
