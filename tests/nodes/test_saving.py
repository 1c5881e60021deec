"""Save Video As in a real ComfyUI: a copy equals the source, two processes share a folder, lost files are redone."""

from __future__ import annotations

import json
import struct
from fractions import Fraction
from pathlib import Path

import av
import clips
import graphs
import numpy as np
import pytest
import torch
from atelier.media import formats, read
from atelier.media.write import Target, write
from client import Client
from comfy_server import running
from graphs import node


def run(server, graph: dict) -> dict:
    return server.client.wait(server.client.queue(graph))


def saved_file(server, outputs: dict, name: str = "save") -> Path:
    (item,) = outputs[name]["images"]
    return server.base / "output" / item["subfolder"] / item["filename"]


def newest(folder: Path) -> Path:
    return max(folder.iterdir(), key=lambda path: path.stat().st_mtime_ns)


def saving(name: str, prefix: str, **how) -> dict:
    settings = dict(format="as it is", crf=16, bit_depth="8 bit") | how
    return {
        "clip": node("LoadVideo", file=name),
        "save": node("AtelierSaveVideoAs", video=["clip", 0], filename_prefix=prefix, **settings),
    }


@pytest.mark.parametrize("codec", ["libx264", "libx265"])
def test_matroska_with_frames_out_of_order_keeps_them_all(server, codec):
    options = {"x265-params": "log-level=error"} if codec == "libx265" else {"crf": "10"}
    name = f"{codec}.mkv"
    clips.make(server.base / "input" / name, clips.numbered(48, 64, 48), codec=codec, options=options)
    graph = saving(name, f"copies/{codec}")
    run(server, graph)
    made = newest(server.base / "output" / "copies")
    clip = read.of_file(made)
    assert clips.numbers(torch.cat(list(read.read(clip, range(48))))) == list(range(48))
    with av.open(str(made)) as container:
        tags = {key.lower(): value for key, value in container.metadata.items()}
        assert json.loads(tags["prompt"]) == graph


def test_a_file_that_cannot_be_remade_is_copied_and_the_node_says_so(server):
    clips.make(server.base / "input" / "old.avi", clips.numbered(24), codec="mpeg4", sound=clips.click(1, 0.5))
    run(server, saving("old.avi", "copies/old"))
    made = newest(server.base / "output" / "copies")
    assert made.read_bytes() == (server.base / "input" / "old.avi").read_bytes()
    assert "copied byte for byte, without the graph" in server.log.read_text()


@pytest.mark.parametrize("prefix", ["", "."])
def test_a_prefix_without_a_name_is_the_default(server, prefix):
    clips.make(server.base / "input" / "short.mp4", clips.numbered(3))
    made = saved_file(server, run(server, saving("short.mp4", prefix)))
    assert made.parent == server.base / "output" / "atelier" and made.name.startswith("video_")


def test_animated_webp_is_a_clip_too(server):
    style = formats.named("webp (animated)")
    source = server.base / "input" / "moving.webp"
    write(source, iter([clips.numbered(17, 64, 64)]), Target(style, Fraction(8), 0))
    graph = saving("moving.webp", "webp/clip") | {
        "film": node("AtelierSaveVideoAs", video=["clip", 0], filename_prefix="webp/film", format="mp4 (H.264)"),
    }
    run(server, graph)
    same, film = sorted((server.base / "output" / "webp").iterdir())
    assert same.read_bytes() == source.read_bytes()
    clip = read.of_file(film)
    assert clip.rate == 8 and clips.numbers(torch.cat(list(read.read(clip, range(17))))) == list(range(17))


def temporary_files(server) -> list[Path]:
    options = server.client.system_stats()["system"]["argv"]
    return list((Path(options[options.index("--temp-directory") + 1]) / "temp" / "atelier").glob("*"))


@pytest.mark.parametrize("maker", ["decode", "trim", "join"])
def test_a_temporary_clip_that_was_deleted_is_made_again(server, maker):
    clips.make(server.base / "input" / "source.mp4", clips.numbered(24, 64, 64))
    graph = graphs.text_to_video(seed=311) | {
        "clip": node("LoadVideo", file="source.mp4"),
        "trim": node("AtelierTrimVideo", video=["clip", 0], start=0, end=0.5, fps=0, reverse=False),
        "join": node("AtelierJoinVideos", first=["clip", 0], second=["clip", 0], direction="forward", fit="crop"),
    }
    graph["save"]["inputs"]["video"] = [maker, 0]
    if maker != "decode":
        del graph["decode"]
    for file in temporary_files(server):
        file.unlink()
    run(server, graph)
    for file in temporary_files(server):
        file.unlink()
    graph["save"]["inputs"]["filename_prefix"] = "again"  # another node reads what the cache still holds
    again = run(server, graph)
    assert len(graphs.frames(server.client, again)) == {"decode": 17, "trim": 12, "join": 48}[maker]
    assert len(temporary_files(server)) == 1
    graph["save"]["inputs"]["filename_prefix"] = "third"
    run(server, graph)
    assert len(temporary_files(server)) == 1, "a clip that is there is not made again"


@pytest.mark.slow
def test_two_processes_save_under_one_prefix_at_once_and_nothing_is_lost(server, tmp_path):
    """Two ComfyUIs with one base and one temporary folder: a hundred clips, half of them through temporary files."""
    numbers, each = 10, 50
    names = [f"number{n}.mp4" for n in range(numbers)]
    for number, name in enumerate(names):
        clips.make(server.base / "input" / name, clips.numbered(2, 64, 48) * 0 + number / numbers)
    folder = server.base / "output" / "crowd"
    options = server.client.system_stats()["system"]["argv"]
    shared = ("--temp-directory", options[options.index("--temp-directory") + 1])
    with running(server.base, "second", options=shared) as second, Client(second.url) as other:
        jobs = [(client, client.queue(crowd(names, each))) for client in (server.client, other)]
        for client, job in jobs:
            client.wait(job)
    made = sorted(folder.iterdir())
    assert len(made) == 2 * each
    levels = [round(float(next(read.read(read.of_file(file), [0])).mean()) * numbers) for file in made]
    assert sorted(levels) == sorted(2 * [number % numbers for number in range(each)])


def crowd(names: list[str], count: int) -> dict:
    """Loads the clips once and saves them `count` times, every other time through Trim Video's temporary file.

    Each has a `crf` of its own, or ComfyUI would run nodes with the same inputs once.
    """
    graph = {name: node("LoadVideo", file=name) for name in names}
    for number in range(count):
        source = names[number % len(names)]
        if number % 2:
            how = dict(start=0, end=0, fps=0, reverse=False, crf=number)
            graph[f"trim{number}"] = node("AtelierTrimVideo", video=[source, 0], **how)
            source = f"trim{number}"
        settings = dict(filename_prefix="crowd/clip", format="as it is", crf=number, bit_depth="8 bit")
        graph[f"save{number}"] = node("AtelierSaveVideoAs", video=[source, 0], **settings)
    return graph


def test_sound_with_nan_in_it_costs_no_video(server):
    samples = clips.click(2, 1.0)[0]
    samples[1000] = np.nan
    header = struct.pack(
        "<4sI8sIHHIIHH4sI", b"RIFF", 36, b"WAVEfmt ", 16, 3, 1, 48_000, 192_000, 4, 32, b"data", 384_000
    )
    (server.base / "input" / "nan.wav").write_bytes(header + samples.tobytes())
    graph = graphs.text_to_video(seed=312)
    graph["sound"] = node("LoadAudio", audio="nan.wav")
    graph["decode"]["inputs"]["audio"] = ["sound", 0]
    clip = read.of_file(saved_file(server, run(server, graph)))
    assert len(clip.times) == 17
    heard = np.concatenate(list(clip.sound(0, 2).blocks()), axis=1)
    assert abs(clips.clicked(heard, 48_000) - 1.0) < 0.02
    assert "Decode Video: invalid samples in its sound (NaN, infinite), now silent: 1" in server.log.read_text()
