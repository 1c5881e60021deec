"""README and docs: links lead somewhere, and the messages that README explains are those that the product shows."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "web" / "docs").glob("*.md"))]
ROOMS = ("nodes", "api", "old_graphs", "editing", "prompts", "media", "models")


def texts() -> str:
    """All texts in the product's code, one per line, with a NUL for each value in an f-string."""
    lines = []
    for file in (file for room in ROOMS for file in sorted((ROOT / room).rglob("*.py"))):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                lines.append("".join(p.value if isinstance(p, ast.Constant) else "\0" for p in node.values))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                lines.append(node.value)
    return "\n".join(line.replace("\n", " ") for line in lines)


def explained(page: str) -> list[str]:
    """The messages in the table under "When something goes wrong". They stand in italics, with ... for other words."""
    rows = page.partition("## When something goes wrong")[2].partition("\n## ")[0].splitlines()
    cells = [row.split("|")[1] for row in rows if row.startswith("|")]
    return [message for cell in cells for message in re.findall(r"\*([^*]+)\*", cell)]


def test_the_messages_that_readme_explains_exist():
    messages, product = explained(PAGES[0].read_text(encoding="utf-8")), texts()
    assert len(messages) > 10
    parts = [part.strip() for message in messages for part in message.split("...") if part.strip()]
    assert [part for part in parts if part not in product] == []


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target, anchor in re.findall(r"\]\(([^)#\s]*)#?([^)\s]*)\)", page.read_text(encoding="utf-8")):
        if not target.startswith("http"):
            linked = (page.parent / target) if target else page
            assert linked.exists(), target
            assert not anchor or anchor in anchors(linked), anchor
