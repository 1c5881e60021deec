"""The translations: complete, none left over, and the files in locales/ are those that the phrases give."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import translations

ROOT = Path(__file__).resolve().parents[2]
PAGES = ROOT / "web" / "docs"


@pytest.fixture(scope="module")
def nodes():
    return translations.schemas()


@pytest.mark.parametrize("language", translations.LANGUAGES)
def test_the_files_are_those_of_the_phrases(language, nodes):
    """A node that changes its English text, or gains an input, is named here: translate it in tools/phrases, then run
    python tools/translations.py."""
    files = translations.translated(translations.read(language, nodes), nodes)
    for name, content in files.items():
        kept = (ROOT / "locales" / language / name).read_text(encoding="utf-8")
        assert kept == translations.written(content), "run python tools/translations.py"
    assert set(files["nodeDefs.json"]) == {node.node_id for node in nodes}
    for node in nodes:
        inputs = files["nodeDefs.json"][node.node_id]["inputs"]
        assert set(inputs) == {slot.id for slot in node.inputs}
        assert all(shown["name"] and shown["tooltip"] for shown in inputs.values())


def test_a_new_text_is_missing_and_an_old_one_stale(nodes, tmp_path, monkeypatch):
    phrases = json.loads((translations.PHRASES / "fr.json").read_text(encoding="utf-8"))
    phrases["texts"]["What the video should show!"] = phrases["texts"].pop("What the video should show.")
    (tmp_path / "fr.json").write_text(json.dumps(phrases), encoding="utf-8")
    monkeypatch.setattr(translations, "PHRASES", tmp_path)
    with pytest.raises(translations.Gaps) as raised:
        translations.read("fr", nodes)
    assert str(raised.value).splitlines()[1:] == [
        "missing in texts: What the video should show.",
        "stale in texts: What the video should show!",
    ]


def test_what_the_front_end_would_take_for_syntax_is_refused(nodes):
    phrases = translations.read("fr", nodes)
    phrases["texts"]["What the video should show."] = "{Sample Video} @:menu"
    with pytest.raises(translations.Problem, match="own syntax"):
        translations.translated(phrases, nodes)


@pytest.mark.parametrize("language", [each for each in translations.LANGUAGES if any(PAGES.glob(f"*/{each}.md"))])
def test_every_node_has_a_help_page_in_the_language(language, nodes):
    """It has the node's name there, all its inputs, and the pictures of the English page."""
    phrases = translations.read(language, nodes)
    for node in nodes:
        page = (PAGES / node.node_id / f"{language}.md").read_text(encoding="utf-8")
        assert page.startswith(f"# {phrases['nodes'][node.display_name]}\n")
        assert [slot.id for slot in node.inputs if phrases["slots"][slot.id] not in page] == [], node.node_id
        original = (PAGES / f"{node.node_id}.md").read_text(encoding="utf-8")
        pictures = [re.findall(r"\]\((\w+\.webp)\)", text) for text in (page, original)]
        assert pictures[0] == pictures[1]
    known = {node.node_id for node in nodes}
    assert {page.parent.name for page in PAGES.glob(f"*/{language}.md")} == known
