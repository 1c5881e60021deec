"""Storyboard: cards on a time line to prompts over time and keyframes."""

from __future__ import annotations

import torch
from comfy_api.latest import io

from ..models import bridge, knowns, storyboard
from ..models.prompts import SPAN
from .choices import check
from .latent import put
from .notice import show
from .text import NO_STYLE, styled, styles


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
                    "'2.5s [image 1, 0.8]: words' with an image and how strictly it is kept.",
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
        rate, count = latent.get("frame_rate", knowns.DEFAULT_FPS), latent["samples"].shape[2]
        length = grid.frames(count) / rate
        storyboard.check(cards, length, 0 if images is None else len(images))
        positive, unread, known = [], [], {}
        for card, span in zip(cards, storyboard.spans(cards, length), strict=True):
            entries, left_out = bridge.encode_text(clip, styled(card.words, "", style)[0])
            positive += [[text, {**options, SPAN: span}] for text, options in entries]
            unread += [card.line] if left_out else []
            if card.image is not None:
                start = knowns.start_of("at time", card.time, 1, latent, grid)
                if start in known:
                    raise ValueError(
                        f"The images of lines {known[start]} and {card.line} fall on the same latent frame, which "
                        f"holds {grid.temporal} frames of video. Move one of the cards."
                    )
                known[start] = card.line
                latent, _ = put(vae, latent, images[card.image - 1][None], start, card.strength)
        negative, _ = bridge.encode_text(clip, styled("", negative_prompt, style)[1])
        show(cls, notes(cards, length, count, unread))
        return io.NodeOutput(positive, negative, latent)


def notes(cards: list[storyboard.Card], length: float, latent_frames: int, unread: list[int]) -> str:
    """What the node understood, and which of it cannot be seen."""
    lines = [f"{len(cards)} cards in {length:.2f} s, {sum(card.cut for card in cards)} of them cut to"]
    if cards[0].time:
        lines.append(f"the first card, at {cards[0].time:g} s,\nholds from the start")
    if len(cards) > latent_frames:
        lines.append(f"the shot has {latent_frames} latent frames:\nnot every card can be seen")
    if unread:
        lines.append(f"too long for the model, the end is left out:\nline {', '.join(map(str, unread))}")
    return "\n".join(lines)
