"""Names are given when a file is whole, to one writer each, whatever the file system can do."""

from __future__ import annotations

import errno
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from atelier.media import MediaError, unfinished
from atelier.media.unfinished import ABANDONED, Numbered


def save(name: Path | Numbered, text: str, folder: bool = False) -> Path:
    with unfinished.unfinished(name, "a test") as made:
        if folder:
            made.part.mkdir()
            (made.part / "file").write_text(text)
        else:
            made.part.write_text(text)
    return made.path


def text_of(path: Path) -> str:
    return (path / "file" if path.is_dir() else path).read_text()


@pytest.mark.parametrize("links", [True, False])
@pytest.mark.parametrize("folder", [True, False])
def test_a_hundred_at_once_get_a_hundred_names(tmp_path, monkeypatch, folder, links):
    def no_links(*_):
        raise OSError(errno.EPERM, "no hard links here, as on exFAT")

    if not links:
        monkeypatch.setattr(os, "link", no_links)
    name = Numbered(tmp_path, "clip", 1, ".txt")
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda n: save(name, str(n), folder), range(100)))
    assert [text_of(path) for path in made] == [str(n) for n in range(100)]
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"clip_{n:05}_.txt" for n in range(1, 101)]


def test_a_name_that_is_there_is_left_alone_and_a_plain_path_is_replaced(tmp_path):
    (tmp_path / "clip_00001_.txt").write_text("first")
    (tmp_path / "clip_00002_.txt").mkdir()
    assert save(Numbered(tmp_path, "clip", 1, ".txt"), "third").name == "clip_00003_.txt"
    assert (tmp_path / "clip_00001_.txt").read_text() == "first"
    assert save(tmp_path / "clip_00001_.txt", "new").read_text() == "new"


def test_what_a_killed_process_left_is_removed_and_what_is_being_written_is_not(tmp_path):
    old, young = tmp_path / ".clip.mp4.0.part", tmp_path / ".clip.mp4.1.part"
    for path in (old, young):
        path.touch()
    os.utime(old, (time.time() - 2 * ABANDONED,) * 2)
    save(tmp_path / "clip.mp4", "new")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".clip.mp4.1.part", "clip.mp4"]


def test_a_full_disk_is_said_and_leaves_nothing(tmp_path):
    with pytest.raises(MediaError, match="There is no room for clip_00001_.txt"):
        with unfinished.unfinished(Numbered(tmp_path, "clip", 1, ".txt"), "a test") as made:
            made.part.touch()
            raise OSError(errno.ENOSPC, "No space left on device")
    assert list(tmp_path.iterdir()) == []
