"""The figures of docs/media.md, asserted: every file that people bring, copied and encoded, and what is refused."""

from __future__ import annotations

import re

import films
import media_table
import pytest


@pytest.mark.parametrize("name", films.FILMS)
def test_a_file_is_copied_and_encoded_as_it_is_seen(tmp_path, name):
    film = films.FILMS[name]
    copied, encoded = media_table.rows(name, tmp_path, "atelier.media")
    seconds = film.cut or (0.0, films.COUNT / films.FPS)
    count = round((seconds[1] - seconds[0]) * films.FPS)
    even = "times" not in film.how
    for row in (copied, encoded):
        assert row.before == row.frames == count
        assert row.size == (films.WIDTH, films.drawn().shape[1])
        assert row.colour <= media_table.MOST_COLOUR
        assert (row.sound is not None) == film.sound and (row.sound or 0) <= media_table.MOST_STEP
    centisecond = name == "gif.gif"  # a GIF's clock
    assert copied.times <= (6 if centisecond else 1)
    assert encoded.times <= (1 if even else 500 / films.FPS)


def test_what_cannot_be_read_is_refused_with_its_name_and_no_path(tmp_path):
    said = media_table.refusals(tmp_path, "atelier.media")
    assert len(said) == len(films.broken(tmp_path))
    for words in said.values():
        assert re.match(r"\w+\.\w+ (cannot be read|has)", words) and str(tmp_path) not in words and "Errno" not in words


def test_the_page_has_a_line_for_every_file():
    page = media_table.DOCUMENT.read_text(encoding="utf-8")
    for film in films.FILMS.values():
        assert page.count(f"| {film.about} | ") == 2
