"""Downloads from a hub on loopback with the real huggingface_hub: broken lines, wrong files, full disks, kills."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import namedtuple
from pathlib import Path

import folder_paths
import hub as loopback
import pytest
import tiny
from atelier.models.library import download, published, receive
from atelier.models.loading.identify import open_model
from hub import Fault

REPOSITORY, MB = "me/mine", 1 << 20
BIG = random.Random(1).randbytes(12 * MB + 12345)


@pytest.fixture
def hub(monkeypatch):
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    with loopback.running() as made:
        monkeypatch.setenv("HF_ENDPOINT", made.url)
        made.add(REPOSITORY, "mine.safetensors", BIG)
        yield made


@pytest.fixture
def models(tmp_path, monkeypatch) -> Path:
    """An empty models folder, and a user folder for the owner's catalogue."""
    for kind in ("checkpoints", "diffusion_models", "text_encoders", "vae", "diffusers"):
        folder = tmp_path / "models" / kind
        folder.mkdir(parents=True)
        monkeypatch.setitem(
            folder_paths.folder_names_and_paths, kind, ([str(folder)], folder_paths.folder_names_and_paths[kind][1])
        )
        folder_paths.filename_list_cache.pop(kind, None)
    monkeypatch.setattr(folder_paths, "get_user_directory", lambda: str(tmp_path / "user"))
    (tmp_path / "user" / "atelier").mkdir(parents=True)
    monkeypatch.setattr(download, "_downloads", {})
    yield tmp_path / "models"
    folder_paths.filename_list_cache.clear()


def entry(models: Path, content: bytes = BIG, **change) -> published.Published:
    """An entry of the owner's catalogue for mine.safetensors."""
    file = {"path": "mine.safetensors", "folder": "checkpoints", "bytes": len(content)}
    file["sha256"] = loopback.sha256(content)
    given = {
        "id": "mine",
        "name": "Mine",
        "kind": "model",
        "about": "x",
        "repository": REPOSITORY,
        "licence": {"name": "x", "url": "https://x"},
        "files": [file],
    } | change
    own = models.parent / "user" / "atelier" / "models.json"
    own.write_text(json.dumps({"models": [given]}))
    os.utime(own, ns=(time.time_ns(), time.time_ns()))
    return published.catalogue()["mine"]


def fetched(entry: published.Published, seconds: float = 60) -> download.Progress:
    running = download.start(entry, [entry])
    assert running.wait(seconds)
    return running.progress


def visible(models: Path) -> list[str]:
    return [path.relative_to(models).as_posix() for path in models.rglob("*") if path.is_file() and path.name[0] != "."]


def test_a_download_arrives_whole_and_only_then_under_its_name(hub, models):
    mine = entry(models)
    hub.pause = 0.03
    running = download.start(mine, [mine])
    assert download.start(mine, [mine]) is running, "asked twice, fetched once"
    seen = []
    while not running.wait(0.05):
        seen.append(running.progress)
        assert visible(models) == []
    assert running.progress.state == "done" and running.progress.done == running.progress.total == len(BIG)
    assert any(0 < step.done < len(BIG) and step.speed > 0 and step.left for step in seen)
    assert (models / "checkpoints" / "mine.safetensors").read_bytes() == BIG
    assert visible(models) == ["checkpoints/mine.safetensors"]
    assert published.Here().has(mine) and published.Here().choice(mine).endswith("mine.safetensors")
    asked = len(hub.requests)
    assert fetched(mine).state == "done" and len(hub.requests) == asked, "what is here is not asked for again"
    assert not list((models / "checkpoints").glob(".*")), "nothing hidden is left"


def test_a_line_that_breaks_ten_times(hub, models, monkeypatch):
    monkeypatch.setattr(receive, "CHUNK", 64 << 10)
    rng = random.Random(2)
    hub.faults.extend(Fault(after=rng.randint(200_000, MB)) for _ in range(10))
    state = fetched(entry(models))
    assert (state.state, state.error) == ("done", "")
    assert (models / "checkpoints" / "mine.safetensors").read_bytes() == BIG
    ranges = [h.get("Range") for m, p, h in hub.requests if m == "GET" and p.startswith("/cdn/")]
    assert len(ranges) == 11 and ranges[0] is None and all(ranges[1:]), "each try begins where the last one ended"


@pytest.mark.parametrize(
    "fault", [Fault(status=429, retry_after="0"), Fault(status=503), Fault(after=1000, truncated=True)]
)
def test_a_busy_or_truncating_server_is_asked_again(hub, models, fault):
    hub.faults.append(fault)
    hub.busy.append(Fault(status=503, retry_after="0"))
    assert fetched(entry(models)).state == "done"


def test_a_server_that_ignores_ranges(hub, models, monkeypatch):
    monkeypatch.setattr(receive, "CHUNK", 64 << 10)
    hub.ignores_ranges = True
    hub.faults.append(Fault(after=3 * MB))
    assert fetched(entry(models)).state == "done"
    assert (models / "checkpoints" / "mine.safetensors").read_bytes() == BIG


def test_a_server_that_stays_away(hub, models, monkeypatch):
    monkeypatch.setattr(receive, "ATTEMPTS", 2)
    hub.faults.extend([Fault(status=500)] * 9)
    state = fetched(entry(models))
    assert (state.state, state.code) == ("failed", "network") and "continues there" in state.error


@pytest.mark.parametrize(
    ("lie", "expected"),
    [("content", "arrived damaged"), ("hash", "not the file that this catalogue knows"), ("size", "not the file")],
)
def test_a_wrong_file_never_gets_its_name(hub, models, lie, expected):
    if lie == "content":  # as long as the right one
        hub.lies["mine.safetensors"] = BIG[:-1] + bytes([BIG[-1] ^ 1])
        mine = entry(models)
    else:
        mine = entry(models, BIG[::-1] if lie == "hash" else BIG + b"x")
    state = fetched(mine)
    assert state.state == "failed" and state.code == "wrong_file" and expected in state.error
    assert visible(models) == [] and not list((models / "checkpoints").glob("*.part"))


def test_an_unknown_hash_is_the_hubs(hub, models):
    mine = entry(models, files=[{"path": "mine.safetensors", "folder": "checkpoints", "size": 12_000_000}])
    hub.lies["mine.safetensors"] = BIG[:-1] + bytes([BIG[-1] ^ 1])
    assert fetched(mine).code == "wrong_file"
    hub.lies.clear()
    assert fetched(mine).state == "done"


def test_cancel_keeps_what_arrived(hub, models):
    mine = entry(models)
    hub.pause = 0.1
    running = download.start(mine, [mine])
    while running.progress.done < 2 * MB:
        time.sleep(0.01)
    running.cancel()
    assert running.wait(5) and running.progress.state == "cancelled" and visible(models) == []
    kept = next(models.rglob(".*.part"))
    assert kept.stat().st_size >= 2 * MB
    hub.pause = 0
    assert fetched(mine).state == "done"
    assert [h.get("Range") for _, p, h in hub.requests if p.startswith("/cdn/")][-1] is not None
    assert download.remove(mine) == 1 and visible(models) == []


def test_a_disk_keeps_its_last_gigabyte(hub, models, monkeypatch):
    usage = namedtuple("usage", "total used free")
    free = iter([10**10, *[10**9 + 10 * MB] * 99])
    monkeypatch.setattr(receive.shutil, "disk_usage", lambda _: usage(10**12, 0, 10**9 + 10 * MB))
    state = fetched(entry(models))
    assert state.code == "disk_full" and "1 GB stays free" in state.error and hub.downloads() == []
    monkeypatch.setattr(receive.shutil, "disk_usage", lambda _: usage(10**12, 0, next(free)))
    monkeypatch.setattr(receive, "CHUNK", 16 << 10)  # so that room is looked at while bytes arrive
    assert fetched(entry(models)).code == "disk_full"


def test_a_disk_that_is_full_at_once(hub, models, monkeypatch):
    """A file system that has less than it says (a quota): the write itself fails."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (5 * MB, before[1]))
        state = fetched(entry(models))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    assert state.code == "disk_full" and "kept" in state.error
    assert fetched(entry(models)).state == "done", "it goes on when there is room again"


def test_a_gated_model_says_where_its_licence_is_accepted(hub, models, monkeypatch):
    hub.gated.add(REPOSITORY)
    mine = entry(models)
    for token in (None, "hf_wrong"):
        monkeypatch.setenv("HF_TOKEN", token) if token else monkeypatch.delenv("HF_TOKEN", raising=False)
        state = fetched(mine)
        assert (
            state.code == "gated"
            and f"https://huggingface.co/{REPOSITORY}" in state.error
            and "HF_TOKEN" in state.error
        )
        assert "hf_wrong" not in state.error
    monkeypatch.setenv("HF_TOKEN", hub.token)
    assert fetched(mine).state == "done"
    assert hub.sent_to_cdn("Authorization") == {""}, "the token stays with the hub"


def test_offline_nothing_is_asked(hub, models, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    state = fetched(entry(models))
    assert state.code == "offline" and hub.requests == []


def test_a_hub_that_is_not_there(models, monkeypatch):
    monkeypatch.setattr(receive, "ATTEMPTS", 1)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    state = fetched(entry(models))
    assert state.code == "network" and "HF_ENDPOINT" in state.error or "broke off" in state.error


@pytest.mark.parametrize(("repository", "path"), [("me/other", "mine.safetensors"), (REPOSITORY, "other.safetensors")])
def test_what_the_hub_does_not_have(hub, models, repository, path):
    state = fetched(entry(models, repository=repository, files=[{"path": path, "folder": "checkpoints", "size": 1000}]))
    assert state.code == "not_found" and repository in state.error


def test_a_folder_appears_when_all_of_it_is_here_and_loads(hub, models, tmp_path):
    made = tiny.folder(tmp_path / "made")
    (made / "transformer" / "evil.py").write_text("import os")
    for path in made.rglob("*"):
        if path.is_file():
            hub.add(REPOSITORY, path.relative_to(made).as_posix(), path.read_bytes())
    parts = ("transformer", "vae", "text_encoder", "tokenizer", "scheduler")
    patterns = [
        "model_index.json",
        *(f"{part}/*{suffix}" for part in parts for suffix in (".json", ".safetensors", ".model")),
    ]
    mine = entry(models, files=[], folder="diffusers/mine", patterns=patterns, size=1000)
    hub.faults.append(Fault(after=10_000))
    state = fetched(mine)
    assert (state.state, state.error) == ("done", "")
    assert published.Here().choice(mine) == "diffusers/mine"
    assert not any("evil" in name for name in visible(models)) and not list((models / "diffusers").glob(".*"))
    assert "LTX" in open_model(models / "diffusers" / "mine").variant.name
    assert download.remove(mine) == 1 and visible(models) == []


def test_a_file_loads_after_it_was_fetched(hub, models, tmp_path):
    content = hub.add(REPOSITORY, "mine.safetensors", tiny.single_file(tmp_path / "x.safetensors").read_bytes())
    assert fetched(entry(models, content)).state == "done"
    assert "LTX" in open_model(models / "checkpoints" / "mine.safetensors").variant.name


CHILD = """
import importlib.util, pathlib, sys, threading
spec = importlib.util.spec_from_file_location("receive", {receive!r})
receive = sys.modules["receive"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(receive)
remote = receive.Remote("me/mine", "main", "mine.safetensors", "page", pathlib.Path({target!r}))
print("started", flush=True)
print(receive.receive(remote, lambda have: print(have, flush=True), threading.Event()), flush=True)
"""


def child(models: Path) -> subprocess.Popen:
    """Another process that receives the file. The module alone, because the pack takes seconds to load."""
    text = CHILD.format(
        receive=receive.__file__,
        target=str(models / "checkpoints" / "mine.safetensors"),
    )
    return subprocess.Popen([sys.executable, "-c", text], stdout=subprocess.PIPE, text=True)


def test_kill_9_and_start_again(hub, models):
    hub.pause = 0.2
    first = child(models)
    while not (line := first.stdout.readline().strip()).isdigit() or int(line) < 3 * MB:
        assert first.poll() is None
    first.kill()
    first.wait()
    hub.pause = 0
    assert visible(models) == []
    assert fetched(entry(models)).state == "done"
    assert (models / "checkpoints" / "mine.safetensors").read_bytes() == BIG
    last = [h.get("Range", "") for _, p, h in hub.requests if p.startswith("/cdn/")][-1]
    assert int(last.removeprefix("bytes=").rstrip("-")) >= 3 * MB, "it did not begin anew"


def test_two_at_once_fetch_one_file_once(hub, models):
    """Two entries that need one file, as two models need T5, and two processes."""
    hub.pause = 0.03
    target = models / "checkpoints" / "mine.safetensors"
    remote = receive.Remote(REPOSITORY, "main", "mine.safetensors", "page", target)
    sizes, reports = [], []
    threads = [
        threading.Thread(target=lambda: sizes.append(receive.receive(remote, reports.append, threading.Event())))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sizes == [len(BIG)] * 3 and target.read_bytes() == BIG
    assert len([p for p in hub.downloads() if p.startswith("/cdn/")]) == 1


def test_free_text_of_a_message_names_no_address_with_a_key(hub, models):
    """The CDN's addresses are signed: who has one has the file."""
    hub.faults.append(Fault(status=403))
    state = fetched(entry(models))
    assert state.code == "refused" and "/cdn/" not in state.error and "localhost" not in state.error
    assert shutil.disk_usage(models).free > 0


def test_extra_model_paths_say_where_files_go(hub, models, tmp_path):
    from utils.extra_config import load_extra_path_config  # ComfyUI's own

    (tmp_path / "extra.yaml").write_text(
        f"mine:\n  base_path: {tmp_path}\n  is_default: true\n  checkpoints: elsewhere\n"
    )
    load_extra_path_config(str(tmp_path / "extra.yaml"))
    mine = entry(models)
    assert fetched(mine).state == "done" and (tmp_path / "elsewhere" / "mine.safetensors").read_bytes() == BIG
    assert published.Here().has(mine) and visible(models) == []
    assert download.remove(mine) == 1 and not published.Here().has(mine)
