"""Clips in a real ComfyUI: written once and copied, read from any file, with the graph inside, with clear errors."""

from __future__ import annotations

import io
import json
from pathlib import Path

import av
import clips
import graphs
import numpy as np
import pytest
import torch
from client import Client, GraphRejected, JobFailed, JobInterrupted
from comfy_server import running
from graphs import node
from PIL import Image
from shipped_pocket import SIDE


def run(server, graph: dict, workflow: dict | None = None) -> dict:
    return server.client.wait(server.client.queue(graph, workflow))


def failure(server, graph: dict) -> str:
    with pytest.raises(JobFailed) as raised:
        server.client.run(graph)
    return raised.value.details["exception_message"]


def opened(server, outputs: dict, name: str = "save") -> av.container.InputContainer:
    (item,) = outputs[name]["images"]
    return av.open(io.BytesIO(server.client.view(item)))


def temporary_files(server) -> list[Path]:
    """Our nodes' files in ComfyUI's temporary folder."""
    options = server.client.system_stats()["system"]["argv"]
    return list((Path(options[options.index("--temp-directory") + 1]) / "temp" / "atelier").glob("*"))


def clip(server, name: str = "clip.mp4", frames: torch.Tensor | None = None, **how) -> dict:
    """A node that loads a clip, from frames of 64 x 64 unless others are given."""
    path = server.base / "input" / name
    clips.make(path, clips.numbered(48, 64, 64) if frames is None else frames, **how)
    return node("LoadVideo", file=name)


def saved(source: list, **how) -> dict:
    return node("SaveVideo", video=source, filename_prefix="test", format="auto", codec="auto", **how)


def encoding(video: dict, **changes) -> dict:
    """Load Video, Encode Video and Decode Video with the pocket model's VAE."""
    settings = dict(width=0, height=0, fit="crop", fps=0, start=0, length=0) | changes
    return {
        "load": graphs.text_to_video()["load"],
        "clip": video,
        "encode": node("AtelierEncodeVideo", vae=["load", 2], video=["clip", 0], **settings),
        "decode": node("AtelierDecodeVideo", vae=["load", 2], latent=["encode", 0], fps=0),
        "save": saved(["decode", 0]),
    }


# ------------------------------------------------------------------------------------------------ Decode Video


def test_save_video_copies_what_decode_video_wrote(server):
    """Every packet of the saved file is one of the temporary file: nothing was encoded twice."""
    for file in temporary_files(server):
        file.unlink()
    outputs = run(server, graphs.text_to_video(seed=101, format="auto"))
    (temporary,) = temporary_files(server)
    with opened(server, outputs) as kept, av.open(str(temporary)) as first:
        assert [bytes(p) for p in kept.demux() if p.size] == [bytes(p) for p in first.demux() if p.size]
        codec = kept.streams.video[0].codec_context
        assert (codec.colorspace, codec.color_primaries, codec.color_trc, codec.color_range) == (1, 1, 1, 1)


def test_the_graph_travels_with_the_file(server):
    graph, workflow = graphs.text_to_video(seed=102), {"nodes": [], "title": "März"}
    with opened(server, run(server, graph, workflow)) as container:
        prompt = json.loads(container.metadata["prompt"])
        assert {name: step["inputs"] for name, step in prompt.items()} == {n: s["inputs"] for n, s in graph.items()}
        assert json.loads(container.metadata["workflow"]) == workflow


def test_images_come_out_where_they_are_wanted_and_are_not_made_where_not(server):
    """If IMAGE is connected after a first run, it gives images, not that run's cached result."""
    graph = graphs.text_to_video(seed=103)
    run(server, graph)
    graph["images"] = node("PreviewImage", images=["decode", 1])
    outputs = run(server, graph)
    assert len(outputs["images"]["images"]) == 17


def test_a_clip_that_goes_nowhere_is_shown_in_the_node(server):
    graph = graphs.text_to_video(seed=104)
    del graph["save"]
    (item,) = run(server, graph)["decode"]["images"]
    assert item["type"] == "temp" and item["filename"].endswith(".mp4")
    assert "decode" not in run(server, graphs.text_to_video(seed=104))


def test_sound_is_put_beside_the_frames(server):
    graph = graphs.text_to_video(seed=105)
    graph["clip"] = clip(server, "tone.mp4", sound=clips.click(2, 1.0))
    graph["parts"] = node("GetVideoComponents", video=["clip", 0])
    graph["decode"]["inputs"]["audio"] = ["parts", 1]
    with opened(server, run(server, graph)) as container:
        (sound,) = container.streams.audio
        samples = np.concatenate([frame.to_ndarray() for frame in container.decode(sound)], axis=1)
    assert abs(clips.clicked(samples, 48_000) - 1.0) < 0.05


@pytest.mark.parametrize("name,codec,pixels", [("mp4 (AV1)", "av1", "yuv420p10le"), ("webm (VP9)", "vp9", "yuv420p")])
def test_other_codecs_are_kept_by_core_too(server, name, codec, pixels):
    graph = graphs.text_to_video(seed=106)
    graph["decode"]["inputs"] |= dict(format=name, bit_depth="10 bit", crf=20)
    with opened(server, run(server, graph)) as container:
        stream = container.streams.video[0]
        assert stream.codec.canonical_name == codec and stream.codec_context.pix_fmt == pixels


def test_a_format_that_is_not_there_is_refused_when_queued(server):
    graph = graphs.text_to_video()
    graph["decode"]["inputs"]["format"] = "mp4 (H.267)"
    with pytest.raises(GraphRejected, match=r"mp4 \(H.264\)"):
        server.client.queue(graph)


# ------------------------------------------------------------------------------------------------ Encode Video


def test_a_clip_comes_back_from_its_latent(server):
    frames = torch.zeros(17, 64, 64, 3)
    for number in range(17):
        frames[number, 20:44, 2 * number : 2 * number + 24, 0] = 1
    made = graphs.frames(server.client, run(server, encoding(clip(server, "red.mp4", frames, fps=8))))
    assert made.shape == (17, 64, 64, 3)
    assert (made - frames).abs().mean() < 0.06


@pytest.mark.parametrize(
    "changes,shape",
    [
        (dict(), (45, 64, 96)),
        (dict(width=50), (45, 32, 64)),
        (dict(width=64, height=64, fit="pad"), (45, 64, 64)),
        (dict(fps=12), (21, 64, 96)),
        (dict(start=0.5, length=0.8), (17, 64, 96)),
        (dict(start=1.99), (1, 64, 96)),
    ],
)
def test_sizes_and_lengths_move_to_legal_ones(server, changes, shape):
    video = clip(server, "wide.mp4", clips.numbered(48, 94, 64))
    graph = encoding(video, **changes)
    outputs = run(server, graph)
    assert graphs.frames(server.client, outputs).shape == (*shape, 3)
    with opened(server, outputs) as container:
        assert container.streams.video[0].average_rate == changes.get("fps", 24)


def test_images_are_encoded_too(server):
    graph = encoding(clip(server), fps=12)
    del graph["encode"]["inputs"]["video"]
    graph["parts"] = node("GetVideoComponents", video=["clip", 0])
    graph["encode"]["inputs"]["images"] = ["parts", 0]
    before = len(server.log.read_text())
    made = graphs.frames(server.client, run(server, graph))
    assert made.shape == (45, 64, 64, 3)
    assert "images carry no frame rate" not in server.log.read_text()[before:]
    graph["encode"]["inputs"]["fps"] = 0
    run(server, graph)
    said = server.log.read_text()[before:]
    assert "25 fps is assumed" in said and "To a model for 8 fps, 25 fps is slow motion" in said


def test_that_sound_stays_behind_is_said(server):
    for sound, said in ((clips.click(2, 1.0), 1), (None, 0)):
        before = len(server.log.read_text())
        run(server, encoding(clip(server, "tone.mp4" if said else "mute.mp4", sound=sound), length=0.8))
        assert server.log.read_text()[before:].count("this model has no sound: connect it from Get Video") == said


def test_one_clip_is_needed_and_no_more(server):
    graph = encoding(clip(server))
    graph["parts"] = node("GetVideoComponents", video=["clip", 0])
    graph["encode"]["inputs"]["images"] = ["parts", 0]
    assert "not both" in failure(server, graph)
    del graph["encode"]["inputs"]["images"], graph["encode"]["inputs"]["video"]
    assert "has no clip" in failure(server, graph)


def test_a_start_behind_the_end(server):
    assert "2.00 s long" in failure(server, encoding(clip(server), start=5))


def test_broken_files_are_named(server):
    folder = server.base / "input"
    whole = clips.make(folder / "whole.mp4", torch.rand(24, 64, 64, 3)).read_bytes()
    (folder / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    (folder / "empty.mp4").touch()
    (folder / "words.mp4").write_text("words " * 1000)
    clips.sound_only(folder / "song.mp4")
    expected = {"cut.mp4": "incomplete", "empty.mp4": "0 bytes", "words.mp4": "not a video", "song.mp4": "no picture"}
    for name, words in expected.items():
        message = failure(server, encoding(node("LoadVideo", file=name)))
        assert name in message and words in message


# ------------------------------------------------------------------------------------------------ Trim Video


def test_trimmed_and_turned_round_with_its_sound(server):
    graph = {
        "clip": clip(server, "tone.mp4", sound=clips.click(2, 1.0)),
        "trim": node("AtelierTrimVideo", video=["clip", 0], start=0.5, end=1.5, fps=12, reverse=True),
        "save": saved(["trim", 0]),
    }
    outputs = run(server, graph)
    assert clips.numbers(graphs.frames(server.client, outputs)) == list(range(34, 10, -2))
    with opened(server, outputs) as container:
        samples = np.concatenate([frame.to_ndarray() for frame in container.decode(audio=0)], axis=1)
    assert abs(clips.clicked(samples, 48_000) - 0.4) < 0.05


def test_an_end_before_the_start(server):
    graph = {
        "clip": clip(server),
        "trim": node("AtelierTrimVideo", video=["clip", 0], start=1.5, end=0.5, fps=0, reverse=False),
        "save": saved(["trim", 0]),
    }
    assert "after the start" in failure(server, graph)


def test_stopped_half_way_nothing_is_left(server):
    for file in temporary_files(server):
        file.unlink()
    frames = torch.rand(4, 256, 256, 3).repeat(75, 1, 1, 1)
    graph = {
        "clip": clip(server, "long.mp4", frames, options={"crf": "30", "preset": "ultrafast"}),
        "trim": node("AtelierTrimVideo", video=["clip", 0], start=0, end=0, fps=0, reverse=False, crf=1),
        "save": saved(["trim", 0]),
    }

    def stop(kind, data):
        if kind == "progress" and data["value"] < data["max"]:
            server.client.interrupt()

    with pytest.raises(JobInterrupted):
        server.client.run(graph, stop)
    assert temporary_files(server) == []


# ------------------------------------------------------------------------------------------------ Join Videos


@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_joined_with_sound_where_there_is_some(server, direction):
    graph = {
        "one": clip(server, "tone.mp4", sound=clips.click(2, 1.0)),
        "other": clip(server, "silent.mp4", clips.numbered(12, 32, 32)),
        "join": node("AtelierJoinVideos", first=["one", 0], second=["other", 0], direction=direction, fit="crop"),
        "save": saved(["join", 0]),
    }
    outputs = run(server, graph)
    made = graphs.frames(server.client, outputs)
    whole, added = list(range(48)), list(range(12))
    assert made.shape[1:3] == (64, 64)
    assert clips.numbers(made) == (whole + added if direction == "forward" else added + whole)
    with opened(server, outputs) as container:
        samples = np.concatenate([frame.to_ndarray() for frame in container.decode(audio=0)], axis=1)
    assert abs(clips.clicked(samples, 48_000) - (1.0 if direction == "forward" else 1.5)) < 0.05


# ------------------------------------------------------------------------------------------------ Re-cut Video


def recutting(server, cuts: str, **filling) -> dict:
    return {
        "clip": clip(server, "tone.mp4", sound=clips.click(2, 1.0)),
        "other": clip(server, "grey.mp4", torch.full((12, 64, 64, 3), 0.5)),
        "cut": node("AtelierRecutVideo", video=["clip", 0], cuts=cuts, **filling),
        "save": saved(["cut", 0]),
    }


def test_pieces_in_a_new_order_with_their_sound(server):
    outputs = run(server, recutting(server, "1.5 -, 0.5 - 1.5\n1.75 - 2"))
    made = clips.numbers(graphs.frames(server.client, outputs))
    assert made == [*range(36, 48), *range(12, 36), *range(42, 48)]
    with opened(server, outputs) as container:
        samples = np.concatenate([frame.to_ndarray() for frame in container.decode(audio=0)], axis=1)
    assert abs(clips.clicked(samples, 48_000) - 1.0) < 0.05


def test_gaps_show_what_fills_them_or_hold_still(server):
    cuts = "0 - 0.5, gap 0.5, 1 - 1.25, gap 0.25"
    made = graphs.frames(server.client, run(server, recutting(server, cuts)))
    assert clips.numbers(made) == [*range(12), *[11] * 6, *[24] * 6, *range(24, 30), *[29] * 6]
    filled = graphs.frames(server.client, run(server, recutting(server, cuts, filling=["other", 0], filling_start=0.5)))
    assert (filled[12:24] - 0.5).abs().max() < 0.1
    assert clips.numbers(filled[24:]) == [*range(24, 30), *[29] * 6]  # the second gap is longer than what is left


def test_pieces_that_cannot_be_read(server):
    assert "'1 to 2' is not a piece or a gap" in failure(server, recutting(server, "0 - 1, 1 to 2"))


# ------------------------------------------------------------------------------------------------ Save Video As


def saving(server, workflow: dict | None = None, **changes) -> tuple[dict, dict]:
    graph = graphs.text_to_video(seed=107)
    settings = dict(filename_prefix="as/clip", format="as it is", crf=16, bit_depth="8 bit") | changes
    graph["save"] = node("AtelierSaveVideoAs", video=["decode", 0], **settings)
    return graph, run(server, graph, workflow)


def newest(server) -> Path:
    return max((server.base / "output" / "as").iterdir(), key=lambda path: path.stat().st_mtime)


def test_saved_as_it_is(server):
    graph, outputs = saving(server)
    assert graphs.frames(server.client, outputs).shape == (17, SIDE, SIDE, 3)
    with opened(server, outputs) as container:
        assert json.loads(container.metadata["prompt"]) == graph


def test_saved_for_editors_with_the_graph_inside(server):
    for name, codec in (("mov (ProRes 422 HQ)", "prores"), ("mkv (FFV1, lossless)", "ffv1")):
        graph, _ = saving(server, format=name)
        with av.open(str(newest(server))) as container:
            assert container.streams.video[0].codec.canonical_name == codec
            tags = {key.lower(): value for key, value in container.metadata.items()}
            assert json.loads(tags["prompt"]) == graph


def test_saved_as_pictures_with_the_graph_inside(server):
    workflow = {"nodes": []}
    graph, outputs = saving(server, workflow, format="webp (animated)")
    with Image.open(io.BytesIO(server.client.view(outputs["save"]["images"][0]))) as image:
        fields = dict(str(value).split(":", 1) for value in image.getexif().values())
        assert image.n_frames == 17 and json.loads(fields["prompt"]) == graph
        assert json.loads(fields["workflow"]) == workflow
    graph, outputs = saving(server, workflow, format="png (folder of pictures)", bit_depth="10 bit")
    assert len(list(newest(server).iterdir())) == 17
    with Image.open(io.BytesIO(server.client.view(outputs["save"]["images"][0]))) as image:
        assert json.loads(image.text["prompt"]) == graph
    _, outputs = saving(server, workflow, format="gif")
    with Image.open(io.BytesIO(server.client.view(outputs["save"]["images"][0]))) as image:
        assert image.n_frames == 17


@pytest.mark.parametrize("prefix", ["../outside", "a/../../outside", "/tmp/outside"])
def test_a_path_out_of_the_output_folder_is_refused(server, prefix):
    """It is refused when the graph is queued, or, if the path comes from another node, when the node runs."""
    save = node("AtelierSaveVideoAs", video=["clip", 0], filename_prefix=prefix)
    graph = {"clip": clip(server, "short.mp4", clips.numbered(2)), "save": save}
    with pytest.raises(GraphRejected, match="leads out of ComfyUI's output folder"):
        server.client.queue(graph)
    graph["words"] = node("PrimitiveString", value=prefix)
    graph["save"]["inputs"]["filename_prefix"] = ["words", 0]
    assert "leads out of ComfyUI's output folder" in failure(server, graph)
    assert not list(server.base.glob("outside*"))


@pytest.mark.slow
def test_without_metadata_no_file_carries_the_graph(tmp_path):
    with running(tmp_path, "private", options=("--disable-metadata",)) as process, Client(process.url) as client:
        graph = graphs.text_to_video(seed=108, steps=1)
        for name in ("as it is", "webp (animated)", "png (folder of pictures)", "mkv (FFV1, lossless)"):
            graph["save"] = node("AtelierSaveVideoAs", video=["decode", 0], filename_prefix="clip", format=name)
            client.wait(client.queue(graph, {"nodes": []}))
        made = [path for path in (tmp_path / "output").rglob("*") if path.is_file()]
    assert len(made) == 3 + 17
    assert [path for path in made if b"AtelierDecodeVideo" in path.read_bytes()] == []
