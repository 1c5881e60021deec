"""The translations: complete, none left over, and the files in locales/ are those that the phrases give."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import translations

ROOT = Path(__file__).resolve().parents[2]
PAGES = ROOT / "web" / "docs"
NOT_SHOWN = {"message wrong", "pi pi-sparkles", "pi pi-video", "pi pi-history"}
"""Names of classes."""


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


@pytest.mark.parametrize("language", translations.LANGUAGES)
def test_the_words_of_the_scripts(language, nodes):
    """They are those of the phrases, with the numbers and names of the English texts."""
    words = translations.read(language, nodes)["page"]
    kept = translations.page_file(language).read_text(encoding="utf-8")
    assert kept == translations.written(words), "run python tools/translations.py"
    for english, text in words.items():
        assert sorted(re.findall(r"\{\w+\}", text)) == sorted(re.findall(r"\{\w+\}", english)), english


def test_no_script_shows_a_text_that_is_not_translated():
    """A text of two words or more that is not an argument of `t`, in quotes or backticks."""
    for script in (*ROOT.glob("web/*.js"), *ROOT.glob("web/storyboard/*.js")):
        code = re.sub(r"^\s*(?://|/?\*).*|\s//\s.*", "", script.read_text(encoding="utf-8"), flags=re.M)
        shown = re.findall(r"""(?<!\bt\()(?<!warn\()(["`])([^"`\n]*?[A-Za-z'}]{2,} [a-z]{2,}[^"`\n]*)\1""", code)
        labels = set(translations.commands().values())
        assert {text for _, text in shown} - translations.page() - labels - NOT_SHOWN == set(), script.name


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


def parts(page: str) -> list[str]:
    """The parts of a page in their order: its headings, paragraphs, and tables and lists with their number of lines."""
    marks = {r"#+ ": "heading", r"\|": "table", r"[-*] ": "list", r"\d+\. ": "numbered list"}
    found = []
    for part in re.split(r"\n\s*\n", page.strip()):
        mark, kind = next(((mark, kind) for mark, kind in marks.items() if re.match(mark, part)), ("", "paragraph"))
        lines = sum(bool(re.match(mark, line)) for line in part.splitlines()) if mark else 1
        found.append(f"{kind} of {lines}")
    return found


def test_a_section_that_is_missing_is_noticed():
    page = (PAGES / "AtelierVideoGuidance.md").read_text(encoding="utf-8")
    assert {"heading of 1", "table of 10", "table of 5", "table of 9", "paragraph of 1"} == set(parts(page))
    for lacking in ("| rescale |", "**STG** (", "| LTX-2 |"):
        without = re.sub(rf"^{re.escape(lacking)}.*\n(?:\w.*\n)*", "", page, flags=re.M)
        assert without != page and parts(without) != parts(page)


@pytest.mark.parametrize("language", [each for each in translations.LANGUAGES if any(PAGES.glob(f"*/{each}.md"))])
def test_every_node_has_a_help_page_in_the_language(language, nodes):
    """It has the node's name there, all its inputs, and the pictures, headings, paragraphs, lists and tables of the
    English page, in their order: a section that only the English page has is named here."""
    phrases = translations.read(language, nodes)
    for node in nodes:
        page = (PAGES / node.node_id / f"{language}.md").read_text(encoding="utf-8")
        assert page.startswith(f"# {phrases['nodes'][node.display_name]}\n")
        assert [slot.id for slot in node.inputs if phrases["slots"][slot.id] not in page] == [], node.node_id
        original = (PAGES / f"{node.node_id}.md").read_text(encoding="utf-8")
        pictures = [re.findall(r"\]\((\w+\.webp)\)", text) for text in (page, original)]
        assert pictures[0] == pictures[1]
        assert parts(page) == parts(original), f"{node.node_id}: translate what the English page has gained or lost"
    known = {node.node_id for node in nodes}
    assert {page.parent.name for page in PAGES.glob(f"*/{language}.md")} == known
