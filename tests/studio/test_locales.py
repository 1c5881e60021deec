"""The studio's words: each key in use has a text in every language, and each text is in use."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

STUDIO = Path(__file__).parents[2] / "studio"
CODE = "\n".join(file.read_text(encoding="utf-8") for file in (*STUDIO.rglob("*.js"), *STUDIO.glob("*.html")))
TEXTS = {file.stem: json.loads(file.read_text(encoding="utf-8")) for file in (STUDIO / "locales").glob("*.json")}
ENGLISH = TEXTS["en"]
SHARED = {"comfyui", "percent", "comma", "stop", "images", "style", "models.find.empty"}
"""Keys whose text may be the same in another language and in English, beside those without a word in them."""
TAGS = {"span", "small"}
"""What `worded` may get beside a key: the tag of a new element."""
FORMS = {
    "en": {"count": {"one", "other"}, "ordinal": {"one", "two", "few", "other"}},
    "fr": {"count": {"one", "other"}, "ordinal": {"one", "other"}},
    "zh": {"count": {"other"}, "ordinal": {"other"}},
    "ja": {"count": {"other"}, "ordinal": {"other"}},
}
"""The plural forms that a text has in each language (Unicode's CLDR; French's 'many' begins at a million)."""


def asked() -> set[str]:
    """The keys that the page surely asks for: in the arguments of `t` and `worded`, and in `data-t` attributes."""
    calls = re.findall(r"\b(?:t|worded)\(((?:[^()]|\([^()]*\))*)\)", CODE)
    arguments = [call.split(", {")[0] for call in calls]
    keys = {key for call in arguments for key in re.findall(r"(?<!=== )(?<!== )\"([a-z_]+(?:\.[a-z_]+)*)\"", call)}
    return keys - TAGS | set(re.findall(r"data-t(?:-[a-z-]+)?=\"([^\"$]+)\"", CODE))


def used() -> set[str]:
    """The keys that the page's code names anywhere: "key", or the beginning of `key.${ending}`."""
    quoted = set(re.findall(r"[\"'`]([a-z_]+(?:\.[a-z_]+)*)[\"'`]", CODE))
    beginnings = tuple(re.findall(r"`([a-z_.]+\.)\$\{", CODE))
    endings = set(re.findall(r"`\$\{[\w.]+\}(\.[a-z]+)`", CODE))
    built = {key for key in ENGLISH if key.startswith(beginnings)}
    return quoted | built | {key + end for key in quoted for end in endings}


def placeholders(text: str | dict[str, str]) -> set[str]:
    said = text if isinstance(text, str) else " ".join(text.values())
    return set(re.findall(r"\{(\w+)\}", said))


def test_every_key_of_the_code_has_a_text_and_every_text_is_used():
    assert len(asked()) > 100
    assert sorted(asked() - ENGLISH.keys()) == []
    assert sorted(ENGLISH.keys() - used()) == []


@pytest.mark.parametrize("language", sorted(TEXTS.keys() - {"en"}))
def test_no_text_is_missing_or_stale(language):
    texts = TEXTS[language]
    assert sorted(ENGLISH.keys() - texts.keys()) == [], "missing"
    assert sorted(texts.keys() - ENGLISH.keys()) == [], "stale"
    assert list(texts) == list(ENGLISH), "in another order than en.json"
    for key, english in ENGLISH.items():
        assert placeholders(texts[key]) == placeholders(english), key
        assert isinstance(texts[key], str) == isinstance(english, str), key
        words = re.search(r"[A-Za-z]{4}", re.sub(r"\{\w+\}", "", str(english)))
        assert texts[key] != english or not words or key in SHARED or language == "fr", f"{key} is not translated"


def test_the_languages_of_the_page_are_the_files_and_have_their_plurals():
    (listed,) = re.findall(r"LANGUAGES = \{(.*?)\}", CODE)
    assert set(re.findall(r"(\w+):", listed)) == TEXTS.keys() == FORMS.keys()
    for language, texts in TEXTS.items():
        for key, text in texts.items():
            if isinstance(text, dict):
                kind = "ordinal" if "ordinal" in placeholders(text) else "count"
                assert text.keys() == FORMS[language][kind], (language, key)
            assert "" not in ([text] if isinstance(text, str) else text.values()), (language, key)


def test_the_page_holds_no_words_of_its_own():
    page = re.sub(r"<!--.*?-->|<title>.*?</title>", "", (STUDIO / "index.html").read_text(encoding="utf-8"), flags=re.S)
    assert re.findall(r">\s*([^<>\s][^<>]*?)\s*<", page) == ["Atelier"]
