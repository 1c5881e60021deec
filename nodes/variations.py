"""Variations: seeds for several takes of a shot, a contact sheet to choose from, and the chosen take."""

from __future__ import annotations

import torch
from comfy_api.latest import io

from ..editing.variations import pick
from ..media.sheet import contact_sheet
from .inputs import found_by
from .notice import show

MOST = 64
LARGEST_SEED = 0xFFFFFFFFFFFFFFFF


class VariationSeeds(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="AtelierVariationSeeds",
            display_name="Variation Seeds",
            category="Atelier",
            **found_by("random seed", "batch seeds"),
            description="Gives several seeds: the nodes after it run once for each seed.",
            inputs=[
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=LARGEST_SEED,
                    control_after_generate=True,
                    tooltip="Seed of the first variation. The next ones count up from it.",
                ),
                io.Int.Input("count", default=4, min=1, max=MOST, tooltip="How many variations to make."),
            ],
            outputs=[io.Int.Output(display_name="seeds", is_output_list=True)],
        )

    @classmethod
    def execute(cls, seed: int, count: int) -> io.NodeOutput:
        return io.NodeOutput([(seed + number) % (LARGEST_SEED + 1) for number in range(count)])


class ContactSheet(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="AtelierContactSheet",
            display_name="Contact Sheet",
            category="Atelier",
            **found_by("image grid", "preview grid"),
            description="Shows all variations in one picture, a numbered row each. Choose one with Pick Variation.",
            is_input_list=True,
            inputs=[
                io.Image.Input("images", tooltip="The frames of each variation, from Decode Video."),
                io.Int.Input("frames", default=6, min=1, max=32, tooltip="Frames per variation."),
                io.Int.Input("width", default=160, min=32, max=1024, step=8, tooltip="Width of a frame in pixels."),
                io.Int.Input(
                    "batch_size",
                    default=1,
                    min=1,
                    max=MOST,
                    tooltip="How many clips each batch of images holds: the latent's batch size.",
                ),
            ],
            outputs=[io.Image.Output()],
        )

    @classmethod
    def execute(
        cls, images: list[torch.Tensor], frames: list[int], width: list[int], batch_size: list[int]
    ) -> io.NodeOutput:
        clips = []
        for piece in images:
            if len(piece) % batch_size[0]:
                raise ValueError(
                    f"{len(piece)} frames cannot be split into {batch_size[0]} clips of equal length. Set batch_size "
                    "to that of the Empty Video Latent."
                )
            clips += piece.chunk(batch_size[0])
        return io.NodeOutput(contact_sheet(clips, frames[0], width[0]))


class PickVariation(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="AtelierPickVariation",
            display_name="Pick Variation",
            category="Atelier",
            **found_by("select latent", "choose"),
            description="Picks a variation by its number on the contact sheet. Picking another one does not sample "
            "again.",
            is_input_list=True,
            inputs=[
                io.Latent.Input("latent", tooltip="The variations, from Sample Video."),
                io.Int.Input("number", default=1, min=1, max=MOST * MOST, tooltip="Its number on the contact sheet."),
            ],
            outputs=[io.Latent.Output()],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(cls, latent: list[dict], number: list[int]) -> io.NodeOutput:
        chosen = pick(latent, number[0])
        show(cls, f"variation {number[0]} of {sum(len(each['samples']) for each in latent)}")
        return io.NodeOutput(chosen)
