"""Storyboard: cards on a time line to prompts over time and keyframes."""

from __future__ import annotations

from itertools import pairwise

import torch
from comfy_api.latest import io

from ..models import bridge
from ..models.timeline import storyboard
from ..models.timeline.latent import CUTS, frame_rate_of
from ..models.timeline.spans import CUT, SPAN
from ..models.timeline.windows import prompt_changes
from ..prompts.styles import NO_STYLE, styled, styles
from .inputs import check
from .latent import put
from .notice import show

NAMED = 8
"""Lines that a note names."""


class Storyboard(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="AtelierStoryboard",
            display_name="Storyboard",
            category="Atelier",
            description="Cards on a time line: what is seen changes while the shot runs. Cards close together cut, far "
            "apart one flows into the next. Then: Sample Video.",
            inputs=[
                io.Clip.Input("clip", tooltip="The CLIP of Load Video Model."),
                io.Vae.Input("vae", tooltip="The VAE of Load Video Model."),
                io.Latent.Input("latent", tooltip="The shot: an Empty Video Latent, which says how long it is."),
                io.String.Input(
                    "board",
                    multiline=True,
                    default="0s: a red circle moving left\n1s: a red circle moving up",
                    tooltip="One card a line, its time in seconds: '2.5s: words', '2.5s cut: words', or "
                    "'2.5s [image 1, 0.8]: words' with an image and how strictly it is kept; [images 2-17] is a clip.",
                ),
                io.String.Input(
                    "negative_prompt",
                    multiline=True,
                    default="",
                    tooltip="What should not be seen at any time. Only used where guidance is above 1.",
                ),
                io.Combo.Input(
                    "style", options=list(styles()), default=NO_STYLE, tooltip="Words around those of every card."
                ),
                io.Image.Input(
                    "images", optional=True, tooltip="The images that cards name, as a batch: the first is [image 1]."
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
    def validate_inputs(cls, board=None, style=None) -> bool | str:
        if board is not None:
            try:
                storyboard.read(board)
            except storyboard.StoryboardError as error:
                return str(error)
        return check(cls, style=style)

    @classmethod
    def execute(
        cls, clip, vae, latent: dict, board: str, negative_prompt: str, style: str, images: torch.Tensor | None = None
    ) -> io.NodeOutput:
        grid, cards = bridge.vae_grid(vae), storyboard.read(board)
        rate, count = frame_rate_of(latent), latent["samples"].shape[2]
        length, moments = grid.frames(count) / rate, [grid.moment(frame, rate) for frame in range(count)]
        storyboard.check(cards, length, 0 if images is None else len(images))
        places = storyboard.places(cards, moments)
        positive, unread = [], []
        for card, span in zip(cards, storyboard.spans(cards, length), strict=True):
            entries, left_out = bridge.encode_text(clip, styled(card.words, "", style)[0])
            positive += [[text, {**options, SPAN: span, CUT: card.cut}] for text, options in entries]
            unread += [card.line] if left_out else []
        for card, (place, end) in zip(cards, pairwise([*places, count]), strict=True):
            if card.image is not None:
                shown = max(1, grid.frames(end) - max(0, grid.frames(place)))  # up to the next card
                seen = images[card.image - 1 : card.last or card.image][:shown]
                latent, _ = put(vae, latent, seen, min(place, count - 1), card.strength)
        negative, _ = bridge.encode_text(clip, styled("", negative_prompt, style)[1])
        changes = prompt_changes([options for _, options in positive], moments)
        show(cls, notes(cards, [0, *places[1:], count], length, unread))
        cuts = [turn.frame for turn in changes if turn.cut and turn.frame]
        return io.NodeOutput(positive, negative, {**latent, CUTS: cuts})


def notes(cards: list[storyboard.Card], places: list[int], length: float, unread: list[int]) -> str:
    """What the node understood, and which of it cannot be seen: cards that end where they begin.

    places: the latent frames in which they do, and the end.
    """
    lines = [f"{len(cards)} cards in {length:.2f} s, {sum(card.cut for card in cards)} of them cut to"]
    if cards[0].time:
        lines.append(f"the first card, at {cards[0].time:g} s,\nholds from the start")
    unseen = [card.line for card, (begin, end) in zip(cards, pairwise(places), strict=True) if begin == end]
    if unseen:
        lines.append(f"not seen, as the next comes too soon:\nline {listed(unseen)}")
    if unread:
        lines.append(f"too long for the model, the end is left out:\nline {listed(unread)}")
    return "\n".join(lines)


def listed(lines: list[int]) -> str:
    """The first of some line numbers, as many as fit on a node."""
    return ", ".join(map(str, lines[:NAMED])) + (", ..." if lines[NAMED:] else "")
