"""Puts a storyboard on a shot: timed prompts, images at their cards, and the places of cuts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import torch

from ..models.bridge.text_encoder import encode_text, style_of
from ..models.bridge.vae import vae_grid
from ..models.timeline import storyboard
from ..models.timeline.latent import CUTS, frame_rate_of, picture_of
from ..models.timeline.relay import relayed
from ..models.timeline.spans import CUT, SPAN
from ..models.timeline.windows import prompt_changes
from ..prompts.styles import styled
from .placing import place_images

if TYPE_CHECKING:
    import comfy.sd


@dataclass(frozen=True)
class Scenes:
    """A board for the sampler: CONDITIONING, the shot's LATENT, its `length` in seconds.

    begins: the latent frame where each card begins, and the number of latent frames at the end. unread: lines whose
    prompt is longer than the model reads.
    """

    positive: list[list[Any]]
    negative: list[list[Any]]
    latent: dict
    length: float
    begins: list[int]
    unread: list[int]


def put_on(
    latent: dict,
    cards: Sequence[storyboard.Card],
    clip: comfy.sd.CLIP,
    vae: comfy.sd.VAE,
    negative_prompt: str,
    style: str,
    images: torch.Tensor | None,
    relay: bool = False,
) -> Scenes:
    """Put the cards on a shot. images: [N, H, W, 3] in 0..1; cards count them from 1. relay: the cards of a scene are
    one prompt, each for its own frames (Prompt Relay), instead of a prompt each.

    Raises StoryboardError for a card after the shot's end, a missing image, and two images at one time.
    """
    grid, rate, count = vae_grid(vae), frame_rate_of(latent), picture_of(latent).shape[2]
    length, moments = grid.frames(count) / rate, [grid.moment(frame, rate) for frame in range(count)]
    storyboard.check(cards, length, 0 if images is None else len(images))
    places = storyboard.places(cards, moments)
    positive, unread, own = [], [], style_of(clip)
    for card, span in zip(cards, storyboard.spans(cards, length), strict=True):
        entries, left_out = encode_text(clip, styled(card.words, "", style, own)[0])
        positive += [[text, {**options, SPAN: span, CUT: card.cut}] for text, options in entries]
        unread += [card.line] if left_out else []
    for card, (place, end) in zip(cards, pairwise([*places, count]), strict=True):
        if card.image is not None:
            room = max(1, grid.frames(end) - max(0, grid.frames(place)))  # up to the next card
            footage = images[card.image - 1 : card.last or card.image][:room]
            start = min(place, count - 1)
            frame = min(max(round(card.time * rate), grid.frames(start)), start * grid.temporal)
            latent, _ = place_images(vae, latent, footage, start, frame, card.strength)
    if relay:
        positive = _relayed(positive, cards, [0, *places[1:], count])
    negative, _ = encode_text(clip, styled("", negative_prompt, style, own)[1])
    turns = prompt_changes([options for _, options in positive], moments)
    latent = {**latent, CUTS: [turn.frame for turn in turns if turn.cut and turn.frame]}
    return Scenes(positive, negative, latent, length, [0, *places[1:], count], unread)


def _relayed(positive: list[list[Any]], cards: Sequence[storyboard.Card], begins: Sequence[int]) -> list[list[Any]]:
    """The entries of the cards, one each, as one a scene. begins: latent frames where cards begin, and the end."""
    scenes: list[list[int]] = []
    cut = True
    for number, card in enumerate(cards):
        cut = cut or card.cut
        if begins[number] == begins[number + 1]:
            continue  # it shows in no frame
        if cut:
            scenes.append([])
        scenes[-1].append(number)
        cut = False
    made = []
    for scene in scenes:
        spans = [(begins[number], begins[number + 1]) for number in scene]
        text, options = relayed([tuple(positive[number]) for number in scene], spans)
        whole = (positive[scene[0]][1][SPAN][0], positive[scene[-1]][1][SPAN][1])
        made.append([text, {**options, SPAN: whole, CUT: bool(made) or cards[0].cut}])
    return made
