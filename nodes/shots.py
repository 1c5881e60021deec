"""Extend, Loop, Blend and Re-cut make holes in a clip and give the sampler the part around them; Join puts it back."""

from __future__ import annotations

from comfy_api.latest import io

from ..editing import changes, pieces, recut
from ..models.bridge.vae import reads_keyframes, vae_grid
from ..models.timeline.latent import frame_rate_of
from .inputs import CLIP_TOOLTIP, check, found_by, overlap_input, vae_input
from .notice import show

POINTS = "points"


def shown(node: type[io.ComfyNode], clip: dict, vae, overlap: float, note: str = "") -> io.NodeOutput:
    """The node's output: the part of a clip with holes that the sampler needs. A notice names the frames to make."""
    shot, summary = pieces.shot_of(clip, vae, overlap)
    show(node, "\n".join(filter(None, [summary, note])))
    return io.NodeOutput(shot)


class ExtendShot(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="AtelierExtendShot",
            display_name="Extend Shot",
            category="Atelier",
            **found_by("extend video", "continue video", "longer video"),
            description="Extends a clip at its end or before its start. Then: Sample Video, Join Shot. Repeat all "
            "three nodes for a long clip.",
            inputs=[
                vae_input(),
                io.Latent.Input("latent", tooltip=CLIP_TOOLTIP),
                io.Combo.Input(
                    "direction",
                    options=["forward", "backward"],
                    default="forward",
                    tooltip="forward: what comes after the clip. backward: what came before it.",
                ),
                io.Float.Input(
                    "seconds", default=1.0, min=0.05, max=600.0, step=0.05, tooltip="How much longer the clip gets."
                ),
                overlap_input(),
            ],
            outputs=[io.Latent.Output()],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def validate_inputs(cls, direction=None) -> bool | str:
        return check(cls, direction=direction)

    @classmethod
    def execute(cls, vae, latent: dict, direction: str, seconds: float, overlap: float) -> io.NodeOutput:
        grid = vae_grid(vae)
        count = pieces.latent_frames(seconds, latent, grid)
        return shown(cls, changes.extended(latent, count, direction == "forward", grid), vae, overlap)


class LoopShot(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="AtelierLoopShot",
            display_name="Loop Shot",
            category="Atelier",
            **found_by("loop video", "seamless loop"),
            description="Makes a seamless loop: the end of the clip is regenerated so that it flows into its "
            "beginning. Then: Sample Video, Join Shot.",
            inputs=[
                vae_input(),
                io.Latent.Input("latent", tooltip=CLIP_TOOLTIP),
                io.Combo.Input(
                    "seam",
                    options=list(changes.SEAMS),
                    default="normal",
                    tooltip="How much of the clip's end is regenerated: "
                    + ", ".join(f"{name} {seconds:g} s" for name, seconds in changes.SEAMS.items())
                    + ". The more the last frame differs from the first, the longer the seam should be.",
                ),
                overlap_input(),
            ],
            outputs=[io.Latent.Output()],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def validate_inputs(cls, seam=None) -> bool | str:
        return check(cls, seam=seam)

    @classmethod
    def execute(cls, vae, latent: dict, seam: str, overlap: float) -> io.NodeOutput:
        loop, note = changes.loop_of(latent, seam, overlap, pieces.opening_of(vae), vae_grid(vae))
        return shown(cls, loop, vae, overlap, note)


class BlendShots(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="AtelierBlendShots",
            display_name="Blend Shots",
            category="Atelier",
            **found_by("transition", "morph", "crossfade"),
            description="Blends two clips into one: the model turns the first into the second over a span. Then: "
            "Sample Video, Join Shot.",
            inputs=[
                vae_input(),
                io.Latent.Input("first", tooltip="The clip that the result begins with. " + CLIP_TOOLTIP),
                io.Latent.Input("second", tooltip="The clip that the result ends with, of the same size."),
                io.Float.Input(
                    "seconds",
                    default=1.0,
                    min=0.05,
                    max=600.0,
                    step=0.05,
                    tooltip="Length of the span: the end of the first clip overlaps the start of the second.",
                ),
                io.Combo.Input(
                    "curve",
                    options=[*changes.CURVES, POINTS],
                    default="linear",
                    tooltip="How the second clip's influence grows over the span. 'points': as written below.",
                ),
                io.String.Input(
                    "points",
                    default="0:0, 0.5:0.2, 1:1",
                    tooltip="For curve 'points': time:influence, both 0 to 1, separated by commas. At influence 0.5 "
                    "the model is free; towards 0 it keeps more of the first clip, towards 1 of the second.",
                ),
                overlap_input(),
            ],
            outputs=[io.Latent.Output()],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def validate_inputs(cls, curve=None, points=None) -> bool | str:
        if curve == POINTS and points is not None:
            try:
                changes.read_points(points)
            except ValueError as error:
                return str(error)
        return check(cls, curve=curve)

    @classmethod
    def execute(
        cls, vae, first: dict, second: dict, seconds: float, curve: str, points: str, overlap: float
    ) -> io.NodeOutput:
        grid = vae_grid(vae)
        span = pieces.latent_frames(seconds, first, grid)
        influence = changes.influence_of(curve, points, span)
        opening = pieces.opening_of(vae) if reads_keyframes(vae) else None
        blend = changes.blended(first, second, influence, grid, opening)
        rates = [frame_rate_of(clip) for clip in (first, second)]
        note = "" if rates[0] == rates[1] else f"(the second clip, made for {rates[1]:g} fps, plays at {rates[0]:g})"
        return shown(cls, blend, vae, overlap, note)


class RecutShot(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="AtelierRecutShot",
            display_name="Re-cut Shot",
            category="Atelier",
            **found_by("recut", "cut video", "rearrange"),
            description="Cuts a clip into pieces, drops or reorders them, and lets the model fill gaps between them. "
            "Then: Sample Video, Join Shot.",
            inputs=[
                vae_input(),
                io.Latent.Input("latent", tooltip=CLIP_TOOLTIP),
                io.String.Input(
                    "cuts",
                    multiline=True,
                    default="0 - 0.75\ngap 0.5\n1.25 -",
                    tooltip="The new clip from start to end, one piece per line: 'from - to' in seconds of the old "
                    "clip ('1.25 -' goes to its end), or 'gap' and the seconds that the model makes.",
                ),
                overlap_input(),
            ],
            outputs=[io.Latent.Output()],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(cls, vae, latent: dict, cuts: str, overlap: float) -> io.NodeOutput:
        return shown(cls, recut.recut(latent, cuts, vae), vae, overlap)


class JoinShot(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="AtelierJoinShot",
            display_name="Join Shot",
            category="Atelier",
            **found_by("join latent", "stitch"),
            description="Puts the sampled shot back into the clip that Extend, Loop, Blend or Re-cut took it from. "
            "Kept latents are the clip's own, unchanged.",
            inputs=[io.Latent.Input("latent", tooltip="The sampled shot.")],
            outputs=[io.Latent.Output()],
        )

    @classmethod
    def execute(cls, latent: dict) -> io.NodeOutput:
        return io.NodeOutput(pieces.joined(latent))
