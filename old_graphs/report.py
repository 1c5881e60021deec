"""What a person is told about a conversion: the note on the canvas and the answer have the same lines."""

from __future__ import annotations

from dataclasses import dataclass, field

from .graph import Node, short

MOST_LINES = 40
"""Lines of the note. A graph of a thousand nodes must not make a note of a thousand lines."""


def label(node: Node) -> str:
    """A node as a person finds it: its title if it has one, else its class."""
    return f"{short(node.title, 40) or short(node.type, 40)} (node {short(node.id, 20)})"


@dataclass
class Report:
    """lost: what the graph no longer does. remarks: what to know or to do, such as a model to download."""

    lost: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    def lose(self, node: Node, words: str) -> None:
        self._add(self.lost, f"{label(node)}: {words}.")

    def remark(self, words: str) -> None:
        self._add(self.remarks, f"{words}.")

    def note(self, made_for: list[str]) -> str:
        """The text of the note on the canvas; "" if there is nothing to say."""
        parts = []
        for heading, lines in (("What is lost:", self.lost), ("To know:", self.remarks)):
            shown = [f"- {line}" for line in lines[:MOST_LINES]]
            more = [f"- ... and {len(lines) - MOST_LINES} more"] if len(lines) > MOST_LINES else []
            parts += [heading, *shown, *more, ""] if lines else []
        return "\n".join([f"This graph was made for {' and '.join(made_for)}.", "", *parts]).strip() if parts else ""

    @staticmethod
    def _add(lines: list[str], line: str) -> None:
        if line not in lines:
            lines.append(line)
