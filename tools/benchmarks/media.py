"""Measures writing and reading clips: time over core's Save Video, colours after both, memory at 8x the frames."""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import comfyui
import pack
import torch
from console import Problem

from benchmarks.figure import Figure, interleaved, ratios, seconds_of
from benchmarks.load import status

WIDTH, HEIGHT, FRAMES, ROUNDS = 1280, 720, 48, 7
CRF_OF_CORE = 23
SHORT, LONG = 120, 960
CHECKER = (
    "735244 c29682 627a9d 576c43 8580b1 67bdaa d67e2c 505ba6 c15a63 5e3c6c 9dbc40 e0a32e "
    "383d96 469449 af363c e7c71f bb5695 0885a1 f3f3f2 c8c8c8 a0a0a0 7a7a79 555555 343434"
)
"""The ColorChecker's patches in sRGB."""


def media() -> list[Figure]:
    with tempfile.TemporaryDirectory(prefix="atelier-media-") as folder:
        root = Path(folder)
        return [_time(root), *(_colours(root, name) for name in ("ours", "core")), *_memory(root)]


def _time(root: Path) -> Figure:
    """CPU time for the same frames, codec, preset and CRF."""
    frames = torch.cat(list(_moving(FRAMES, WIDTH, HEIGHT)))
    contenders = {name: lambda write=write: write(root / "clip.mp4", frames, CRF_OF_CORE) for name, write in WRITERS}
    seconds = interleaved(ROUNDS, contenders, time.process_time)
    return Figure("media, write", ratios(seconds["ours"], seconds["core"]), 1.1, note=seconds_of(seconds))


def _colours(root: Path, name: str) -> Figure:
    """Mean difference of a colour chart, in 255ths, after H.264 at CRF 10 and our reader. Core's CRF cannot be set."""
    from atelier.media import read

    values = [int(patch[n : n + 2], 16) / 255 for patch in CHECKER.split() for n in (0, 2, 4)]
    chart = torch.tensor(values).reshape(4, 6, 3).repeat_interleave(96, 0).repeat_interleave(96, 1)
    frames = chart.repeat(8, 1, 1, 1)
    dict(WRITERS)[name](root / "chart.mp4", frames, 10)
    decoded = torch.cat(list(read.read(read.of_file(root / "chart.mp4"), range(8))))
    off = (decoded - frames).abs().mean().item() * 255
    return Figure(f"media, colours, {name}", (off,), 2.0 if name == "ours" else None, note="mean, of 255")


def _memory(root: Path) -> list[Figure]:
    """Peak memory above the imports at eight times the frames over that at one time, for writing and for reading."""
    if status("VmRSS") is None:
        return []
    figures = []
    for what in ("write", "read"):
        short, long = ([_fresh_process(what, root, count) for _ in range(3)] for count in (SHORT, LONG))
        note = f"{LONG} frames {min(long) / 2**20:.0f} MiB at least, {SHORT} frames {min(short) / 2**20:.0f} MiB"
        figures.append(Figure(f"media, memory to {what}", ratios(long, short), 1.1, note=note))
    return figures


def _moving(count: int, width: int, height: int) -> Iterator[torch.Tensor]:
    """A grainy picture that drifts, four frames at a time."""
    torch.manual_seed(0)
    picture = torch.nn.functional.interpolate(torch.rand(1, 3, 18, 32), (height, width), mode="bilinear")[0]
    picture = (picture + 0.03 * torch.randn(3, height, width)).clamp(0, 1).movedim(0, -1)
    for start in range(0, count, 4):
        yield torch.stack([picture.roll(3 * n, dims=1) for n in range(start, min(start + 4, count))])


def _write(path: Path, frames: torch.Tensor, crf: int) -> None:
    from atelier.media import formats
    from atelier.media.write import Target, write

    write(path, iter(frames.split(16)), Target(formats.named(formats.DEFAULT), Fraction(24), crf))


def _write_with_core(path: Path, frames: torch.Tensor, _: int) -> None:
    from comfy_api.latest import InputImpl, Types

    video = InputImpl.VideoFromComponents(Types.VideoComponents(images=frames, frame_rate=Fraction(24)))
    video.save_to(str(path))


WRITERS = (("ours", _write), ("core", _write_with_core))


def _fresh_process(what: str, root: Path, count: int) -> int:
    command = [sys.executable, "-m", "benchmarks.media", what, str(root / f"{count}.mp4"), str(count)]
    result = subprocess.run(command, cwd=comfyui.ROOT / "tools", capture_output=True, text=True)
    if result.returncode:
        raise Problem(f"it failed: {result.stderr.strip()[-800:]}")
    return json.loads(result.stdout.splitlines()[-1])


def _measure_memory(what: str, path: Path, count: int) -> int:
    """In the fresh process: peak bytes above the imports."""
    from atelier.media import formats, read
    from atelier.media.write import Target, write

    before = status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # resets VmHWM
    if what == "write":
        write(path, _moving(count, 480, 270), Target(formats.named(formats.DEFAULT), Fraction(24), 23))
    else:
        clip = read.of_file(path)
        for _ in read.read(clip, range(len(clip.times))):
            pass
    return status("VmHWM") - before


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("write", "read"))
    parser.add_argument("path", type=Path)
    parser.add_argument("count", type=int)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="atelier-media-") as base:
        pack.prepare_comfyui(Path(base))
        pack.load()
        print(json.dumps(_measure_memory(options.what, options.path, options.count)))
