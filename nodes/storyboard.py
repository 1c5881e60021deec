"""Storyboard: cards on a time line into timed prompts and keyframes."""

from __future__ import annotations

from itertools import pairwise

import torch
from comfy_api.latest import io

from ..editing.storyboarding import Scenes, put_on
from ..models.timeline import storyboard
from ..prompts.styles import MODEL_STYLE, styles
from .inputs import check, found_by, vae_input
from .notice import show

WINDOWS, RELAYED = FLOWS = ("windows", "prompt relay")
NAMED = 8
"""Most line numbers in one note."""


class Storyboard(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="AtelierStoryboard",
            display_name="Storyboard",
            category="Atelier",
            **found_by("timeline", "prompt schedule", "scenes"),
            description="Changes the prompt while the shot runs, with cards on a time line. Cards less than a second "
            "apart cut; otherwise one flows into the next. Then: Sample Video.",
            inputs=[
                io.Clip.Input("clip", tooltip="The CLIP of Load Video Model."),
                vae_input(),
                io.Latent.Input("latent", tooltip="The shot: an Empty Video Latent, which sets its length."),
                io.String.Input(
                    "board",
                    multiline=True,
                    default="0s: a red circle moving left\n1s: a red circle moving up",
                    tooltip="One card per line, its time in seconds: '2.5s: words', '2.5s cut: words', or "
                    "'2.5s [image 1, 0.8]: words' with an image and how strictly to keep it; [images 2-17] is a clip.",
                ),
                io.String.Input(
                    "negative_prompt",
                    multiline=True,
                    default="",
                    tooltip="What the video should never show. Only used if guidance is above 1.",
                ),
                io.Combo.Input(
                    "style", options=list(styles()), default=MODEL_STYLE, tooltip="Words added to every card's."
                ),
                io.Image.Input(
                    "images", optional=True, tooltip="The images that cards name, as a batch: the first is [image 1]."
                ),
                io.Combo.Input(
                    "flow",
                    options=list(FLOWS),
                    default=WINDOWS,
                    optional=True,
                    tooltip="How cards flow. 'windows' makes each card after the one before, with any model. 'prompt "
                    "relay' makes a scene in one pass, in which each card's frames read its words: LTX Video only.",
                ),
            ],
            outputs=[
                io.Conditioning.Output(display_name="positive"),
                io.Conditioning.Output(display_name="negative"),
                io.Latent.Output(),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def validate_inputs(cls, board=None, style=None, flow=None) -> bool | str:
        if board is not None:
            try:
                storyboard.read(board)
            except storyboard.StoryboardError as error:
                return str(error)
        return check(cls, style=style, flow=flow)

    @classmethod
    def execute(
        cls,
        clip,
        vae,
        latent: dict,
        board: str,
        negative_prompt: str,
        style: str,
        images: torch.Tensor | None = None,
        flow: str = WINDOWS,
    ) -> io.NodeOutput:
        cards = storyboard.read(board)
        scenes = put_on(latent, cards, clip, vae, negative_prompt, style, images, flow == RELAYED)
        show(cls, notes(cards, scenes))
        return io.NodeOutput(scenes.positive, scenes.negative, scenes.latent)


def notes(cards: list[storyboard.Card], scenes: Scenes) -> str:
    """The node's notice: the number of cards, those too short to show, and those too long for the text encoder."""
    lines = [f"{len(cards)} cards in {scenes.length:.2f} s, {sum(card.cut for card in cards)} of them after a cut"]
    if cards[0].time:
        lines.append(f"the first card, at {cards[0].time:g} s, holds from the start")
    unseen = [card.line for card, (begin, end) in zip(cards, pairwise(scenes.begins), strict=True) if begin == end]
    if unseen:
        lines.append(f"not shown, because the next comes too soon: line {lines_named(unseen)}")
    if scenes.unread:
        lines.append(f"too long for the model, the end is cut off: line {lines_named(scenes.unread)}")
    return "\n".join(lines)


def lines_named(lines: list[int]) -> str:
    """The first NAMED line numbers as text; more would not fit on a node."""
    return ", ".join(map(str, lines[:NAMED])) + (", ..." if lines[NAMED:] else "")
