"""The API's files on a full disk: unfinished files are removed, and the error names the cause."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

import clips
import pytest
from atelier.api import errors, files

resource = pytest.importorskip("resource", reason="Windows has no limit on the size of files")


@contextmanager
def full_disk(size: int) -> Iterator[None]:
    """Limit files to `size` bytes (RLIMIT_FSIZE), so that a write fails in the middle."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("picture", [files.thumbnail, files.spritesheet])
def test_a_picture_on_a_full_disk_leaves_nothing(tmp_path, picture):
    video = clips.make(tmp_path / "clip.mp4", clips.numbered(9, 64, 64), fps=8)
    with pytest.raises(OSError) as raised, full_disk(20):
        picture(video)
    assert list(tmp_path.iterdir()) == [video]
    assert errors.disk_full(raised.value).status == 507
    assert picture(video).stat().st_size > 20


def test_a_node_that_found_the_disk_full_says_so_and_no_path():
    message = f"[Errno {errno.ENOSPC}] No space left on device: '/somebody/output/x.mp4'"
    code, told = errors.node_failed({"node_type": "SaveVideo", "exception_message": message})
    assert code == "disk_full" and told.startswith("SaveVideo: ") and "/somebody" not in told
    code, told = errors.node_failed({"node_type": "KSampler", "exception_message": None, "exception_type": "KeyError"})
    assert (code, told) == ("generation_failed", "KSampler: KeyError")
