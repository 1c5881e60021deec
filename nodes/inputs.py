"""Inputs that several nodes share, and a check of combo values when the graph is queued."""

from __future__ import annotations

from comfy_api.latest import io

from ..media.formats import CRF_MAX
from ..models.library.folders import as_listed

MAX_SIDE = 16384
CLIP_TOOLTIP = "A finished clip: from Sample Video, Join Shot or Encode Video."
CRF = 16
DEPTHS = {"8 bit": 8, "10 bit": 10}


def check(node: type[io.ComfyNode], **chosen: str | None) -> bool | str:
    """True, or a message that names the first value that is not among the node's options.

    A value of None comes through a link and is not checked. File names may have the slashes of another system.
    """
    options = {given.id: given.options for given in node.define_schema().inputs if given.id in chosen}
    for name, value in chosen.items():
        if value is not None and as_listed(value, options[name]) is None:
            shown = ", ".join(map(str, options[name][:12])) + (", ..." if len(options[name]) > 12 else "")
            return f"'{value}' is not on the list. Choose one of: {shown}. (Press R in the browser after adding files.)"
    return True


def found_by(*words: str, essential: bool = False) -> dict:
    """A schema's search words, and its place among ComfyUI's essential nodes, in versions whose schema has them."""
    newer = {"search_aliases": list(words), "essentials_category": "Video Tools" if essential else None}
    return {name: value for name, value in newer.items() if name in io.Schema.__dataclass_fields__}


def overlap_input() -> io.Float.Input:
    return io.Float.Input(
        "overlap",
        default=1.0,
        min=0.0,
        max=3600.0,
        step=0.1,
        tooltip="Seconds of the clip beside the new part that the model gets as context. More is smoother and slower; "
        "0 = the whole clip.",
    )


def vae_input() -> io.Vae.Input:
    return io.Vae.Input("vae", tooltip="The VAE of Load Video Model.")


def strength_input(tooltip: str) -> io.Float.Input:
    return io.Float.Input("strength", default=1.0, min=0.0, max=1.0, step=0.01, tooltip=tooltip)


def time_input(name: str, tooltip: str, optional: bool = False) -> io.Float.Input:
    return io.Float.Input(name, default=0.0, min=0.0, max=86_400.0, step=0.01, tooltip=tooltip, optional=optional)


def fps_input() -> io.Float.Input:
    return io.Float.Input(
        "fps",
        default=0.0,
        min=0.0,
        max=240.0,
        step=0.01,
        tooltip="Frames per second. The speed stays the same: frames are dropped or repeated. 0 = the clip's own.",
    )


def writing_inputs(names: list[str]) -> list[io.Input]:
    """Format, quality and bit depth of the file. All are optional, so that graphs saved without them still run."""
    return [
        io.Combo.Input(
            "format",
            options=names,
            default=names[0],
            optional=True,
            tooltip="Container and codec. H.264 plays everywhere; ProRes and FFV1 are for editing. Core's Save Video "
            "saves an MP4 and cannot hold ProRes; Save Video As keeps every format.",
        ),
        io.Int.Input(
            "crf",
            default=CRF,
            min=0,
            max=CRF_MAX,
            optional=True,
            tooltip="Quality on x264's scale: lower is better and bigger. Use 0 to 10 for editing; 16 looks lossless, "
            "28 is small. Not used by ProRes, FFV1, GIF and PNG.",
        ),
        io.Combo.Input(
            "bit_depth",
            options=list(DEPTHS),
            default="8 bit",
            optional=True,
            tooltip="10 bit avoids banding in soft gradients, but browsers do not play it in H.264 and H.265.",
        ),
    ]
