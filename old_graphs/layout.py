"""Where new nodes stand: at the place of the old ones, and none under another."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from .graph import TITLE, Node

MARGIN, STEP, CELL, RINGS = 10.0, 40.0, 400.0, 60
"""Pixels: between nodes, of the search for a free place, of the search's index; and how far it goes, in steps."""

Box = tuple[float, float, float, float]


class Canvas:
    """The boxes of the nodes that stand, indexed by squares of CELL pixels."""

    def __init__(self, nodes: Iterable[Node]) -> None:
        self._cells: dict[tuple[int, int], list[Box]] = {}
        for node in nodes:
            self._take(node.box)

    def put(self, node: Node) -> None:
        """Move a node to the nearest place where it covers no other, then keep the place."""
        x, y = node.x, node.y
        for dx, dy in _around():
            node.x, node.y = x + dx, y + dy
            if self._free(node.box):
                break
        else:
            node.x, node.y = x, y
        self._take(node.box)

    def _take(self, box: Box) -> None:
        for cell in _cells(box):
            self._cells.setdefault(cell, []).append(box)

    def _free(self, box: Box) -> bool:
        left, top, right, bottom = box[0] - MARGIN, box[1] - MARGIN, box[2] + MARGIN, box[3] + MARGIN
        return not any(
            left < other[2] and other[0] < right and top < other[3] and other[1] < bottom
            for cell in _cells((left, top, right, bottom))
            for other in self._cells.get(cell, ())
        )


def _cells(box: Box) -> Iterator[tuple[int, int]]:
    """The squares that a box touches; of a huge one the first hundred, so that no graph takes for ever."""
    left, top, right, bottom = (int(edge // CELL) for edge in box)
    for column in range(left, min(right, left + 9) + 1):
        for row in range(top, min(bottom, top + 9) + 1):
            yield column, row


def _around() -> Iterator[tuple[float, float]]:
    """Offsets of growing distance: in place, then below, above, left and right, then the corners between."""
    yield 0.0, 0.0
    for ring in range(1, RINGS):
        far = ring * STEP
        edge = [n * STEP for n in range(-ring, ring + 1)]
        edge.sort(key=abs)
        for along in edge:
            yield from ((along, far), (along, -far), (-far, along), (far, along))


def beside(node: Node, other: Node, place: str) -> None:
    """Put a node below or left of another, before `Canvas.put` looks for room."""
    if place == "below":
        node.x, node.y = other.x, other.y + other.height + TITLE + MARGIN
    else:
        node.x, node.y = other.x - node.width - 4 * MARGIN, other.y
