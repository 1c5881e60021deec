"""The pictures and clips of a storyboard's cards, written into one clip that the Storyboard node counts from 1."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import torch

from ...media import formats, read
from ...media.write import Target, write
from ...models.timeline import storyboard
from .. import files
from ..errors import bad
from ..request import fields, references
from ..request.body import Body
from ..request.references import ReferenceFile
from ..store import Store

NAME = "storyboard_images"
LOSSLESS = "mkv (FFV1, lossless)"


async def pictures_of(shot: fields.Shot, body: Body, folder: Path, store: Store) -> list[ReferenceFile]:
    """The request's pictures and clips for cards: those in its fields, then its files. Raises ApiError."""
    sent, found = Body(), []
    for reference in shot.storyboard_images or ():
        picture = await references.resolve(NAME, reference, sent, folder, store)
        if picture is None:
            raise bad(f"An entry of '{NAME}' is empty. Send a data URL or an id, or leave it out.", NAME)
        found.append(picture)
    while (picture := await references.resolve(NAME, None, body, folder, store)) is not None:
        found.append(picture)
    if len(found) > fields.MAX_IMAGES:
        raise bad(f"The request has {len(found)} pictures for cards; up to {fields.MAX_IMAGES} are read.", NAME)
    return found


def numbered(board: str, count: int) -> list[storyboard.Card]:
    """The cards of a board, whose image numbers must not exceed `count`. Raises ApiError."""
    cards = storyboard.read(board)
    for card in cards:
        last = card.last or card.image
        if last is not None and not 1 <= card.image <= last <= count:
            raise bad(
                f"The card at {card.time:g} s names image {last}, but the request has {count} in '{NAME}'.",
                "storyboard",
            )
    return cards


def recorded(card: ReferenceFile) -> dict[str, str]:
    """A picture or clip in its job's record: the video that it is, or its file in the job's folder."""
    return {"id": card.source} if card.source else {"file": card.path.name, "kind": card.kind}


def unused(board: str, count: int) -> list[str]:
    """Warnings about pictures that no card names."""
    named: set[int] = set()
    for card in storyboard.read(board):
        named |= set(range(card.image, min(count, card.last or card.image) + 1)) if card.image else set()
    rest = [str(number) for number in range(1, count + 1) if number not in named]
    return [f"No card names image {', '.join(rest)} of '{NAME}'."] if rest else []


def abilities(board: str) -> set[str]:
    """The abilities that a model needs for the board's images. A board that cannot be read is refused later."""
    try:
        cards = storyboard.read(board)
    except storyboard.StoryboardError:
        return set()
    return {"last_frame" if card.time else "first_frame" for card in cards if card.image is not None}


def assembled(
    cards: Sequence[storyboard.Card],
    pictures: Sequence[ReferenceFile],
    size: tuple[int, int] | None,
    rate: float,
    length: float | None,
    folder: Path,
) -> tuple[ReferenceFile, str]:
    """(a clip of the cards' frames in the order of the cards, the board's text with those frames' numbers).

    size: (width, height), which pictures cover; None: the first picture's. length: the shot's, in seconds; a clip plays
    until the next card, or until then. Raises MediaError and ApiError.
    """
    opened = [_opened(picture.path, picture.kind, rate) for picture in pictures]
    ends = [*(card.time for card in cards[1:]), length]
    parts, lines, total = [], [], 0
    for card, end in zip(cards, ends, strict=True):
        if card.image is not None:
            room = max(1.0 / rate, (end - card.time)) if end is not None else None
            chosen = opened[card.image - 1 : card.last or card.image]
            frames = [(clip, read.frames_at(clip, Fraction(rate), 0.0, room)) for clip in chosen]
            count = sum(len(wanted) for _, wanted in frames)
            parts += frames
            card = replace(card, image=total + 1, last=total + count if count > 1 else None)
            total += count
        lines.append(storyboard.written(card))
    size = size or (parts[0][0].width, parts[0][0].height)
    path = folder / f"{uuid.uuid4().hex}.mkv"
    write(path, _frames(parts, size), Target(formats.named(LOSSLESS), Fraction(rate).limit_denominator(1001)))
    return ReferenceFile(path, files.VIDEO), "\n".join(lines)


def _frames(parts: list[tuple[read.Clip, list[int]]], size: tuple[int, int]) -> Iterator[torch.Tensor]:
    for clip, wanted in parts:
        yield from read.read(clip, wanted, size, "crop")


def _opened(path: Path, kind: str, rate: float) -> read.Clip:
    """A clip; or a picture as a clip of one frame, which is in memory only while it is read."""
    if kind == files.VIDEO:
        return read.of_file(path)
    height, width = files.picture(path).shape[:2]
    return read.Clip(width, height, Fraction(rate), [0.0], 1 / rate, lambda first, last: iter([files.picture(path)]))
