"""Measures how every file of tests/support/films.py is read, copied, encoded or refused, and writes docs/media.md."""

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
"""Targets: mean difference of the chart's patches in 255ths; milliseconds that sound may be out of sync."""

HEAD = """# Files, measured

This page shows what Atelier does with files from cameras, phones and editors. `python run.py media` makes it, and the
tests assert its figures. Each file has 48 numbered frames with a colour chart and, if its container holds sound, a tone
at 1.0 s. *Copied* is Save Video As with *as it is*: the streams are remuxed with the graph and compared with the source
packet by packet. If remuxing would change them, the file is copied byte for byte, without the graph, and the node says
so. *Encoded* is Save Video As with *mp4 (H.264)* at its default quality.

- *frames*: of the source, and of the saved file.
- *times*: the largest difference between a frame's time and the time it was drawn for, in ms. Encoding makes a variable
  frame rate constant.
- *size*: in pixels, after rotation to upright. Edit lists are applied.
- *colour*: mean difference of the 24 patches from the drawn ones, of 255; in brackets from the source as read, if that
  is HDR or has 256 colours. At most {colour:g}.
- *sound*: the time between the tone and its frame, in ms. At most {step:g}.

| file | action | frames | times | size | colour | sound |
|---|---|---|---|---|---|---|
"""
REFUSED = """
## Refused

| file | error message |
|---|---|
"""


@dataclass(frozen=True)
class Row:
    """A line of the table; HEAD explains the figures. sound: None if the file has none."""

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
    """Copy and encode a file, and measure both results."""
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
    saved = {EXACT if copied.notes else COPIED: copied.path, ENCODED: encoded.path}
    return [_measured(film, action, clip, read.of_file(file), read) for action, file in saved.items()]


def _measured(film, action: str, source, saved, read) -> Row:
    import clips
    import films
    import numpy as np
    import torch

    frames = torch.cat(list(read.read(saved, range(len(saved.times)))))
    numbers = films.numbers(frames)
    begin = film.cut[0] if film.cut else film.times[0]
    times = max(abs(at - (film.times[n] - begin)) for at, n in zip(saved.times, numbers, strict=True))
    reference = films.drawn()[0] if film.same_colours else next(source.pictures(0, 0))
    colour = (films.patches(frames[0]) - films.patches(reference)).abs().mean().item() * 255
    sound = saved.sound(0.0, saved.length)
    step = None
    if sound:
        samples = np.concatenate(list(sound.blocks()), axis=1)
        step = abs(clips.clicked(samples, sound.rate) - (films.TONE - begin)) * 1000
    size = saved.width, saved.height
    return Row(film.about, action, len(source.times), len(frames), times * 1000, size, colour, film.same_colours, step)


def refusals(folder: Path, package: str = "atelier_media") -> dict[str, str]:
    """Each broken file -> the error message for it."""
    from importlib import import_module

    import films

    read, errors = import_module(f"{package}.read"), import_module(package)
    messages = {}
    for about, path in films.broken(folder).items():
        try:
            read.of_file(path)
        except errors.MediaError as error:
            messages[about] = str(error)
    return messages


def main() -> int:
    argparse.ArgumentParser(prog="run.py media", description="Measures files and writes docs/media.md.").parse_args()
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
