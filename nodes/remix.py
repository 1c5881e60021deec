"""Remix Shot changes a whole clip partly; Inpaint Shot regenerates a part of it wholly."""

from __future__ import annotations

import torch
from comfy_api.latest import io

from ..editing import changes
from ..models.bridge.vae import vae_grid
from ..models.bridge.video_model import video_model
from ..models.contract.schedule import denoise_for
from ..models.timeline.keyframes import with_keyframes
from ..models.timeline.latent import finished, video_of
from .inputs import CLIP_TOOLTIP, check, found_by, strength_input, vae_input
from .notice import show

STRENGTHS = {"subtle": 0.4, "mild": 0.65, "strong": 0.9}
CUSTOM = "custom"


class RemixShot(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="AtelierRemixShot",
            display_name="Remix Shot",
            category="Atelier",
            **found_by("video to video", "v2v", "restyle"),
            description="Changes a clip to follow a new prompt (video to video). Connect both outputs to Sample Video.",
            inputs=[
                io.Model.Input("model", tooltip="The MODEL of Load Video Model: it knows the model's noise schedule."),
                io.Latent.Input("latent", tooltip=CLIP_TOOLTIP),
                io.Combo.Input(
                    "strength",
                    options=[*STRENGTHS, CUSTOM],
                    default="mild",
                    tooltip="subtle keeps shapes and movement; strong keeps little more than the layout.",
                ),
                io.Float.Input(
                    "custom",
                    default=0.65,
                    min=0.05,
                    max=1.0,
                    step=0.01,
                    tooltip="For strength 'custom': the share of noise, 1 = nothing of the clip is left. "
                    + ", ".join(f"{name} is {noise:g}" for name, noise in STRENGTHS.items())
                    + ".",
                ),
            ],
            outputs=[io.Latent.Output(), io.Float.Output(display_name="denoise")],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def validate_inputs(cls, strength=None) -> bool | str:
        return check(cls, strength=strength)

    @classmethod
    def execute(cls, model, latent: dict, strength: str, custom: float) -> io.NodeOutput:
        inner, noise = video_model(model), STRENGTHS.get(strength, custom)
        whole = with_keyframes({key: value for key, value in latent.items() if key != "noise_mask"}, ())
        shape = tuple(finished(whole).shape)
        denoise = max(0.01, denoise_for(inner.family, inner.variant, noise, shape))
        note = "" if inner.family.sample is None else f"\n({inner.variant.name} cannot remix: it ignores the clip)"
        show(cls, f"{noise:.0%} noise: denoise {denoise:.2f}{note}")
        return io.NodeOutput(whole, denoise)


class InpaintShot(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="AtelierInpaintShot",
            display_name="Inpaint Shot",
            category="Atelier",
            **found_by("inpaint video", "mask video", "replace object"),
            description="Regenerates the part of a clip where the mask is white, in space and time. Then: Sample "
            "Video.",
            inputs=[
                vae_input(),
                io.Latent.Input("latent", tooltip=CLIP_TOOLTIP),
                io.Mask.Input(
                    "mask",
                    tooltip="White is regenerated. Connect one mask for the whole clip, or one for each frame. Masks "
                    "are scaled to the clip's size and stretched to its length.",
                ),
                strength_input("1 regenerates the masked part, 0 keeps it; in between, it may change that much."),
            ],
            outputs=[io.Latent.Output()],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(cls, vae, latent: dict, mask: torch.Tensor, strength: float) -> io.NodeOutput:
        grid = vae_grid(vae)
        shot = changes.masked(latent, mask, strength, grid)
        holes, frames = video_of(shot["noise_mask"]), grid.frames(video_of(shot["samples"]).shape[2])
        notes = [f"{holes.gt(0).float().mean():.0%} of the clip will be regenerated"]
        height, width = (side * grid.spatial for side in holes.shape[3:])
        if mask.shape[-2:] != (height, width):
            notes.append(f"(mask {mask.shape[-1]} x {mask.shape[-2]} scaled to {width} x {height})")
        count = mask.shape[0] if mask.ndim > 2 else 1
        if count not in (1, frames):
            notes.append(f"({count} masks stretched over {frames} frames)")
        show(cls, "\n".join(notes))
        return io.NodeOutput(shot)
