"""What is read, copied, encoded and refused, measured: every film of tests/support/films.py, into docs/media.md."""

import argparse
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import comfyui
import pack
from console import guard, say

sys.path.insert(0, str(comfyui.ROOT / "tests" / "support"))

DOCUMENT = comfyui.ROOT / "docs" / "media.md"
COPIED, EXACT, ENCODED = "copied", "copied byte for byte", "encoded"
MOST_COLOUR, MOST_STEP = 2.0, 20.0
"""Targets: mean difference of the chart's patches in 255ths, milliseconds that sound may be off."""

HEAD = """# Files, measured

What Atelier does with the files that people bring. `python run.py media` makes this page, and the tests assert its
figures: each file has 48 numbered frames above a colour chart and, where its container holds sound, a tone at 1.0 s.
*Copied* is Save Video As with *as it is*: the same streams in a new file with the graph inside, compared with the
source packet by packet. Where that cannot be done without a change, the file is copied byte for byte, without the
graph, and the node says so. *Encoded* is Save Video As with *mp4 (H.264)* at its default quality.

- *frames*: of the file, and of what was saved.
- *times*: the most by which a frame is seen earlier or later than it was drawn, in ms. A changing frame rate becomes
  even when it is encoded.
- *seen as*: sides in pixels, turned upright, edit lists followed.
- *colour*: mean difference of the 24 patches from what was drawn, of 255; in brackets from what is seen of the source,
  where that is HDR or has 256 colours. At most {colour:g}.
- *sound*: how far the tone is from the frame it belongs to, in ms. At most {step:g}.

| file | action | frames | times | seen as | colour | sound |
|---|---|---|---|---|---|---|
"""
REFUSED = """
## Refused

| file | what the node says |
|---|---|
"""


@dataclass(frozen=True)
class Row:
    """What became of a film: see HEAD for the figures. None where there is nothing to measure."""

    about: str
    action: str
    before: int
    frames: int
    times: float
    size: tuple[int, int]
    colour: float
    drawn: bool
    sound: float | None

    def line(self) -> str:
        colour = f"{self.colour:.2f}" if self.drawn else f"({self.colour:.2f})"
        sound = "" if self.sound is None else f"{self.sound:.1f}"
        size = f"{self.size[0]} x {self.size[1]}"
        frames = f"{self.before} -> {self.frames}"
        return f"| {self.about} | {self.action} | {frames} | {self.times:.1f} | {size} | {colour} | {sound} |"


def rows(name: str, folder: Path, package: str = "atelier_media") -> list[Row]:
    """A film copied and encoded, both measured."""
    from importlib import import_module

    import films

    read, formats, copy, write = (import_module(f"{package}.{room}") for room in ("read", "formats", "copy", "write"))
    film = films.FILMS[name]
    path = film.file(folder / name)
    clip = read.of_file(path)
    copied = copy.copy(path, folder / f"copied-{name}", {"prompt": "{}"})
    wanted, target = read.frames_at(clip, clip.rate), write.Target(formats.named(formats.DEFAULT), clip.rate)
    sound = clip.sound(0.0, float(len(wanted) / clip.rate))
    encoded = write.write(folder / f"encoded-{name}.mp4", read.read(clip, wanted), target, sound)
    made = {EXACT if copied.notes else COPIED: copied.path, ENCODED: encoded.path}
    return [_measured(film, action, clip, read.of_file(file), read) for action, file in made.items()]


def _measured(film, action: str, source, made, read) -> Row:
    import clips
    import films
    import numpy as np
    import torch

    frames = torch.cat(list(read.read(made, range(len(made.times)))))
    numbers = films.numbers(frames)
    begin = film.cut[0] if film.cut else film.times[0]
    times = max(abs(at - (film.times[n] - begin)) for at, n in zip(made.times, numbers, strict=True))
    reference = films.drawn()[0] if film.same_colours else next(source.pictures(0, 0))
    colour = (films.patches(frames[0]) - films.patches(reference)).abs().mean().item() * 255
    sound = made.sound(0.0, made.length)
    step = None
    if sound:
        samples = np.concatenate(list(sound.blocks()), axis=1)
        step = abs(clips.clicked(samples, sound.rate) - (films.TONE - begin)) * 1000
    size = made.width, made.height
    return Row(film.about, action, len(source.times), len(frames), times * 1000, size, colour, film.same_colours, step)


def refusals(folder: Path, package: str = "atelier_media") -> dict[str, str]:
    """What cannot be read -> what is said of it."""
    from importlib import import_module

    import films

    read, errors = import_module(f"{package}.read"), import_module(package)
    said = {}
    for about, path in films.broken(folder).items():
        try:
            read.of_file(path)
        except errors.MediaError as error:
            said[about] = str(error)
    return said


def main() -> int:
    argparse.ArgumentParser(prog="run.py media", description="Measures files in and out: docs/media.md.").parse_args()
    pack.load_media()
    import films
    import torch

    torch.set_num_threads(2)
    lines = []
    with tempfile.TemporaryDirectory(prefix="atelier-media-") as folder:
        for name in films.FILMS:
            for row in rows(name, Path(folder)):
                lines.append(row.line())
                say(lines[-1])
        refused = [f"| {about} | {words} |" for about, words in refusals(Path(folder)).items()]
    head = HEAD.format(colour=MOST_COLOUR, step=MOST_STEP)
    DOCUMENT.write_text(head + "\n".join(lines) + "\n" + REFUSED + "\n".join(refused) + "\n", encoding="utf-8")
    say(f"Written: {DOCUMENT.relative_to(comfyui.ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(guard(main))
