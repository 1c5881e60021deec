"""Finished videos in another place than this disk: a mounted folder, and a bucket of a real S3 server."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import aiohttp
import folder_paths
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from atelier.api import archive, files, settings
from atelier.api.archive import Archive
from atelier.api.calls import archived
from atelier.api.errors import ApiError
from atelier.api.jobs import mover
from atelier.api.store import Store
from atelier.api.store.sqlite import SQLite
from object_store import ObjectStore, object_store
from pydantic import ValidationError
from store_rows import OPEN, job
from wire_client import FAST, wait

VIDEO = bytes(range(256)) * 40
NAMES = [job(number)["id"] for number in range(3)]


@pytest.fixture(scope="module")
def bucket() -> Iterator[ObjectStore]:
    with object_store() as made:
        yield made


@pytest.fixture(params=["file", "s3"])
def place(request, tmp_path) -> tuple[str, dict]:
    """`files` and `files_options` of each kind."""
    if request.param == "file":
        return (tmp_path / "mounted").as_uri(), {}
    server = request.getfixturevalue("bucket")
    return f"{server.url}/{tmp_path.name}", server.options


@pytest.fixture
def disk(tmp_path, monkeypatch) -> Path:
    """This disk's folder of jobs."""
    monkeypatch.setattr(folder_paths, "get_output_directory", lambda: str(tmp_path / "output"))
    return files.job_folder("")


def finished(name: str) -> Path:
    folder = files.job_folder(name)
    folder.mkdir(parents=True)
    (folder / "video.mp4").write_bytes(VIDEO)
    (folder / f"{7:032x}.png").write_bytes(b"an upload")
    return folder


def test_a_folder_goes_there_and_comes_back(place, disk, tmp_path):
    there = Archive(*place)
    for name in NAMES[:2]:
        there.put(finished(name))
    stored = there.about(NAMES[0], "video.mp4")
    assert stored.size == len(VIDEO) and there.about(NAMES[0], "video.mp4").tag == stored.tag != ""
    assert there.read(NAMES[0], "video.mp4", 300, 1000) == VIDEO[300:1000]
    assert there.fetch(NAMES[0], f"{7:032x}.png", tmp_path / "a" / "b.png").read_bytes() == b"an upload"
    there.remove(NAMES[0])
    there.remove(NAMES[0])  # it is gone already
    assert there.about(NAMES[0], "video.mp4") is None and there.about(NAMES[1], "video.mp4").size == len(VIDEO)
    assert there.fetch(NAMES[0], "video.mp4", tmp_path / "c.mp4") is None and not (tmp_path / "c.mp4").exists()


async def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not true():
        assert time.monotonic() < end
        await asyncio.sleep(0.02)


def test_a_bucket_that_is_away_loses_nothing(bucket, disk, tmp_path, monkeypatch):
    """A video stays on this disk, and a deleted one in the store, until the bucket can be reached."""
    there = Archive(bucket.url, bucket.options)
    monkeypatch.setattr(archive, "current", lambda: there)
    monkeypatch.setattr(mover, "TRY_AGAIN", 0.05)

    async def use(store: Store) -> list:
        rows = [job(number, status="completed", file="video.mp4") for number in range(3)]
        await store.add(rows, OPEN)
        looked_after = mover.Mover(store)
        looked_after.look_after(NAMES[0])
        folders = [finished(name) for name in NAMES[1:]]
        looked_after.look_after(NAMES[1])
        await until(lambda: not folders[0].exists())
        bucket.stop()
        await store.change(NAMES[1], deleted=True)
        for name in NAMES[1:]:
            looked_after.look_after(name)
        with pytest.raises(ApiError) as away:
            await asyncio.to_thread(there.about, NAMES[1], "video.mp4")
        assert (away.value.status, away.value.code) == (503, "files_unreachable") and "films" not in away.value.message
        await asyncio.sleep(0.3)
        kept = [(folders[1] / "video.mp4").read_bytes() == VIDEO, await store.row(NAMES[1]) is not None]
        bucket.start()
        await until(lambda: not folders[1].exists())
        while await store.row(NAMES[1]) is not None:
            await asyncio.sleep(0.02)
        return kept

    with closing(Store(SQLite(tmp_path / "videos.db"))) as store:
        assert asyncio.run(use(store)) == [True, True]
    assert there.about(NAMES[2], "video.mp4").size == len(VIDEO)
    assert {Path(name).name for name in bucket.files().ls("films/atelier", detail=False)} == {NAMES[2]}


def answering(there: Archive) -> web.Application:
    """A server that answers with the first video."""

    async def answer(request: web.Request) -> web.StreamResponse:
        return await archived.answer(request, there, NAMES[0], "video.mp4", {})

    app = web.Application()
    app.router.add_get("/", answer)
    return app


RANGES = [
    ({}, 200, VIDEO),
    ({"Range": "bytes=0-"}, 206, VIDEO),
    ({"Range": "bytes=100-199"}, 206, VIDEO[100:200]),
    ({"Range": "bytes=-50"}, 206, VIDEO[-50:]),
    ({"Range": "bytes=10000-99999"}, 206, VIDEO[10000:]),
    ({"Range": "bytes=99999-"}, 416, b""),
    ({"Range": "bytes=9-3"}, 416, b""),
    ({"Range": "bytes=0-9", "If-Range": '"of another file"'}, 200, VIDEO),
    ({"If-None-Match": '"of another file"'}, 200, VIDEO),
]


def test_a_part_of_a_video_is_sent_as_from_a_disk(place, disk, monkeypatch):
    monkeypatch.setattr(archived, "PIECE", 3000)  # several for one answer
    there = Archive(*place)
    there.put(finished(NAMES[0]))

    async def use() -> None:
        async with TestClient(TestServer(answering(there))) as client:
            for headers, status, content in RANGES:
                answer = await client.get("/", headers=headers)
                assert (answer.status, await answer.read()) == (status, content), headers
                if status == 206:
                    first, last, size = map(int, re.findall(r"\d+", answer.headers["Content-Range"]))
                    assert (VIDEO[first : last + 1], size) == (content, len(VIDEO))
            tag = answer.headers["ETag"]
            assert (await client.get("/", headers={"If-None-Match": tag})).status == 304
            part = await client.get("/", headers={"Range": "bytes=0-9", "If-Range": tag})
            assert (part.status, await part.read()) == (206, VIDEO[:10])

    asyncio.run(use())


def test_an_archive_that_is_lost_in_the_middle_ends_the_answer_short(disk, tmp_path, monkeypatch):
    monkeypatch.setattr(archived, "PIECE", 3000)
    there = Archive((tmp_path / "mounted").as_uri(), {})
    there.put(finished(NAMES[0]))
    read = there._files.cat_file

    def lost(path, start, end):
        if start >= 6000:
            raise OSError("the network is gone")
        return read(path, start=start, end=end)

    monkeypatch.setattr(there._files, "cat_file", lost)

    async def use() -> None:
        async with TestClient(TestServer(answering(there))) as client:
            answer = await client.get("/")
            with pytest.raises(aiohttp.ClientPayloadError):
                await answer.read()

    asyncio.run(use())


def test_a_bucket_that_does_not_exist_keeps_the_video_here(bucket, disk):
    folder = finished(NAMES[0])
    with pytest.raises(ApiError) as away:
        Archive("s3://no-such-bucket", bucket.options).put(folder)
    assert away.value.code == "files_unreachable" and (folder / "video.mp4").read_bytes() == VIDEO


def test_what_cannot_be_used_is_said(tmp_path):
    with pytest.raises(ApiError, match="pip install gcsfs") as lacks:
        Archive("gs://films", {})
    assert lacks.value.status == 503
    with pytest.raises(ApiError, match=r"api\.json") as unknown:
        Archive("nothing://films", {})
    assert unknown.value.code == "misconfigured" and "films" not in unknown.value.message
    for url in ("films", "", "s3://"):
        with pytest.raises(ValidationError, match="files"):
            settings.Settings(files=url)


def asked(http, path: str, fields: dict) -> dict:
    """The finished answer to a request for a video, sent again while the server still reads the model."""
    while True:
        answer = http.post(path, json=fields).json()
        if (answer.get("error") or {}).get("code") != "model_not_read":
            return wait(http, answer)
        time.sleep(0.2)


def test_a_video_of_a_server_lives_in_the_archive(place, http, owner, server):
    """Made, moved, shown in parts, copied into another job, and deleted there, through the API."""
    url, options = place
    owner("api.json", {"files": url, "files_options": options})
    there = Archive(url, options)
    made = asked(http, "/videos", FAST)
    assert made["status"] == "completed", made
    folder = server.base / "output" / "atelier" / "videos" / made["id"]
    asyncio.run(until(lambda: not folder.exists()))
    address = f"/videos/{made['id']}/content"
    whole = http.get(address)
    assert whole.headers["content-type"] == "video/mp4" and whole.content[4:8] == b"ftyp"
    assert http.get(address, headers={"Range": "bytes=4-7"}).content == b"ftyp"
    assert http.get(f"{address}?variant=thumbnail").content[8:12] == b"WEBP"
    assert http.get(f"{address}?variant=spritesheet").content[:2] == b"\xff\xd8"
    edited = asked(http, f"/videos/{made['id']}/remix", {"prompt": "y"})
    assert edited["status"] == "completed", edited
    for video in (made, edited):
        assert http.delete(f"/videos/{video['id']}").status_code == 200
        assert http.get(f"/videos/{video['id']}").status_code == 404
    names = [there._root + "/" + video["id"] for video in (made, edited)]
    asyncio.run(until(lambda: not any(there._files.exists(name) for name in names)))
