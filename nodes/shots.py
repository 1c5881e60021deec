"""Extend, Loop, Blend and Re-cut: a clip with holes, of which the sampler gets the part around them; and Join."""

from __future__ import annotations

from comfy_api.latest import io

from ..editing import changes
from ..models import bridge
from ..models.contract.grid import Grid
from ..models.timeline.latent import LOOP, finished, frame_rate_of, length, mask_of
from .inputs import check
from .notice import show

CLIP_TOOLTIP = "A finished clip: from Sample Video, Join Shot or Encode Video."
POINTS = "points"


def overlap_input() -> io.Float.Input:
    return io.Float.Input(
        "overlap",
        default=1.0,
        min=0.0,
        max=3600.0,
        step=0.1,
        tooltip="Seconds of the clip beside the new part that the model sees. More is smoother and slower; 0 = all of "
        "the clip.",
    )


def vae_input() -> io.Vae.Input:
    return io.Vae.Input("vae", tooltip="The VAE of Load Video Model.")


def opening(vae) -> changes.Opening:
    return lambda samples, at: changes.opening_of(vae, samples, at)


def shot_of(node: type[io.ComfyNode], clip: dict, vae, overlap: float, note: str = "") -> dict:
    """The part of a clip with holes that is to be sampled; the node says what is to be made."""
    grid = bridge.vae_grid(vae)
    shot = changes.window(clip, context_of(overlap, clip, grid), grid, opening(vae))
    holes = mask_of(clip).amax(dim=(0, 1, 3, 4)).nonzero().flatten().tolist()
    frames, rate = length(clip, grid), frame_rate_of(clip)
    made, unseen = "nothing is to be made", clip.get(LOOP, 0)
    if holes:
        first, last = (grid.frames(holes[0]) + 1 if holes[0] else 1), grid.frames(holes[-1] + 1)
        made = f"frames {first - unseen} to {last - unseen} are to be made"
    seen = grid.frames(shot["samples"].shape[2])
    sight = f", the model sees {seen}" if seen < frames else ""
    show(node, "\n".join(filter(None, [made, f"{frames} in all = {frames / rate:.2f} s{sight}", note])))
    return shot


def context_of(overlap: float, clip: dict, grid: Grid) -> int:
    """Latent frames of an overlap in seconds; 0 means all."""
    return changes.latent_frames(overlap, clip, grid) if overlap else clip["samples"].shape[2]


class ExtendShot(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="AtelierExtendShot",
            display_name="Extend Shot",
            category="Atelier",
            description="Makes a clip longer, at its end or before its start. Then: Sample Video, Join Shot. Repeat "
            "the three for a long clip.",
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
        count = changes.latent_frames(seconds, latent, bridge.vae_grid(vae))
        return io.NodeOutput(shot_of(cls, changes.extended(latent, count, direction == "forward"), vae, overlap))


class LoopShot(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="AtelierLoopShot",
            display_name="Loop Shot",
            category="Atelier",
            description="Makes a clip to be played again and again: its end is made anew and flows into its "
            "beginning. Then: Sample Video, Join Shot.",
            inputs=[
                vae_input(),
                io.Latent.Input("latent", tooltip=CLIP_TOOLTIP),
                io.Combo.Input(
                    "seam",
                    options=list(changes.SEAMS),
                    default="normal",
                    tooltip="How much of the clip's end is made anew: "
                    + ", ".join(f"{name} {seconds:g} s" for name, seconds in changes.SEAMS.items())
                    + ". The further the last frame is from the first, the longer.",
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
        grid, clip = bridge.vae_grid(vae), finished(latent)
        asked, room = changes.latent_frames(changes.SEAMS[seam], latent, grid), clip.shape[2] - 1 - grid.group
        if room < grid.group:
            raise ValueError(
                f"A clip of {grid.frames(clip.shape[2])} frames is too short for a loop; it needs "
                f"{grid.frames(1 + 2 * grid.group)} at least. Extend it first."
            )
        count = min(asked, room)
        half = max(1, (clip.shape[2] - count) // 2 // grid.group) * grid.group
        moved = min(context_of(overlap, latent, grid), half)
        loop = changes.looped(latent, count, moved, opening(vae), grid)
        first = moved * grid.temporal + loop[LOOP]
        begins = f"begins at {first / frame_rate_of(latent):g} s of the clip"
        note = begins if count == asked else f"{begins}; too short for a longer seam"
        return io.NodeOutput(shot_of(cls, loop, vae, overlap, note))


class BlendShots(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="AtelierBlendShots",
            display_name="Blend Shots",
            category="Atelier",
            description="Two clips into one: the first turns into the second over a span in which the model makes what "
            "is between. Then: Sample Video, Join Shot.",
            inputs=[
                vae_input(),
                io.Latent.Input("first", tooltip="The clip that it begins with. " + CLIP_TOOLTIP),
                io.Latent.Input("second", tooltip="The clip that it ends with, of the same size."),
                io.Float.Input(
                    "seconds",
                    default=1.0,
                    min=0.05,
                    max=600.0,
                    step=0.05,
                    tooltip="The span in which the clips overlap: the end of the first, the start of the second.",
                ),
                io.Combo.Input(
                    "curve",
                    options=[*changes.CURVES, POINTS],
                    default="linear",
                    tooltip="How the second clip's influence grows in the span; 'points': as below.",
                ),
                io.String.Input(
                    "points",
                    default="0:0, 0.5:0.2, 1:1",
                    tooltip="For curve 'points': time:influence, both 0 to 1, with commas between. Half way between "
                    "the clips (0.5) the model is free; towards 0 and 1 it keeps more and more of a clip.",
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
        span = changes.latent_frames(seconds, first, bridge.vae_grid(vae))
        blend = changes.blended(first, second, changes.influence_of(curve, points, span))
        rates = [frame_rate_of(clip) for clip in (first, second)]
        note = "" if rates[0] == rates[1] else f"(the second clip, made for {rates[1]:g} fps,\nplays at {rates[0]:g})"
        return io.NodeOutput(shot_of(cls, blend, vae, overlap, note))


class RecutShot(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="AtelierRecutShot",
            display_name="Re-cut Shot",
            category="Atelier",
            description="Cuts a clip into pieces, leaves some out, puts them in another order, and has gaps between "
            "them filled. Then: Sample Video, Join Shot.",
            inputs=[
                vae_input(),
                io.Latent.Input("latent", tooltip=CLIP_TOOLTIP),
                io.String.Input(
                    "cuts",
                    multiline=True,
                    default="0 - 0.75\ngap 0.5\n1.25 -",
                    tooltip="The new clip from start to end, one piece a line: 'from - to' in seconds of the old clip "
                    "('1.25 -' goes to its end), or 'gap' and how many seconds the model is to make.",
                ),
                overlap_input(),
            ],
            outputs=[io.Latent.Output()],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(cls, vae, latent: dict, cuts: str, overlap: float) -> io.NodeOutput:
        grid, clip = bridge.vae_grid(vae), finished(latent)
        rate = frame_rate_of(latent)
        order = changes.recut(cuts, grid.frames(clip.shape[2]), rate, grid)
        return io.NodeOutput(shot_of(cls, changes.assembled(latent, order, vae), vae, overlap))


class JoinShot(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="AtelierJoinShot",
            display_name="Join Shot",
            category="Atelier",
            description="After Sample Video: puts what was made back into the clip that Extend, Loop, Blend or Re-cut "
            "took it from. The kept latents are the clip's own, unchanged.",
            inputs=[io.Latent.Input("latent", tooltip="The sampled shot.")],
            outputs=[io.Latent.Output()],
        )

    @classmethod
    def execute(cls, latent: dict) -> io.NodeOutput:
        return io.NodeOutput(changes.joined(latent))
