"""Measures every editing node on real clips with the built-in model, and writes docs/shots.md.

The measurements are in tools/shots/; the targets and the table are here.
"""

import argparse
import logging
import statistics
import sys
import tempfile
from pathlib import Path

import comfyui
import pack
from benchmarks.figure import Figure, short
from console import Problem, guard, say
from shots.measures import TOOLS, Made
from shots.studio import Studio

DOCUMENT = comfyui.ROOT / "docs" / "shots.md"

HEAD = """# Shots, measured

This page shows what the editing nodes do to real clips, measured on the pixels. `python run.py shots` makes it from
{clips} clips per row, which neither training nor scoring uses: 64 x 64, 17 frames at 8 frames per second. They are
rendered by `tools/pocket/world.py`, encoded, edited with the built-in pocket model at its own settings, and decoded.
Each has one seed; none is selected. {machine}

*Storyboard* makes clips from text alone: 50 boards of two cards with 25 frames, and 16 of four cards with 49 frames.
The model makes 17 at once. In every other board the motion changes from card to card, in the rest the colour. Each
card's frames are judged by themselves; if cards flow, without the latent frame (half a second) in which they change.

*Kept* compares the frames to keep with the source after the autoencoder, so 100 dB means identical. A value is the
median over the clips, or the share of them if the row says so.

| tool | what | value | target | | spread over the clips |
|---|---|---|---|---|---|
"""


TARGETS = {
    "velocity changes by": 0.25,
    "step at the join / median step": 1.5,
    "step from last to first / median step": 1.5,
    "largest fall of the second's influence": 0.1,
    "the new colour is there at strong (share)": 0.8,
    "subtle < mild < strong in distance (share)": 0.8,
    "largest step in and around the gap / median step": 1.5,
    "largest step in and around the seam / median step": 1.5,
    "largest step into and out of the middle image / median step": 1.5,
    "the new colour is there (share)": 0.8,
    "flow: every part follows its card (share)": 0.8,
    "cut: every part follows its card (share)": 0.8,
    "every part follows its card (share)": 0.8,
}
KEPT = {"Extend": 35}
"""Target in dB for kept frames; 30 for all other tools."""
CLIPS = {"Storyboard, two cards": 50}
"""Number of clips; 16 for all other tools."""


def target_of(tool: str, what: str) -> tuple[float | None, bool]:
    """The target, and whether higher is better."""
    if what.startswith("kept"):
        return KEPT.get(tool.split(",")[0], 30), True
    return TARGETS.get(what), "(share)" in what


def figures_of(tool: str, made: list[Made]) -> list[Figure]:
    figures = []
    for what in dict.fromkeys(what for each in made for what in each.figures):
        values = tuple(each.figures[what] for each in made if what in each.figures)
        target, more = target_of(tool, what)
        samples = (statistics.mean(values),) if "(share)" in what else values
        note = "" if target is None or "(share)" in what else _within(values, target, more)
        figures.append(Figure(what, samples, target, " dB" if "kept" in what else "", more, note))
    return figures


def _within(values: tuple[float, ...], target: float, more: bool) -> str:
    good = sum(value >= target if more else value <= target for value in values)
    return f"{good} of {len(values)} reach it"


def row(tool: str, figure: Figure) -> str:
    """A line of the table."""
    sign = "at least" if figure.at_least else "at most"
    target = "" if figure.target is None else f"{sign} {figure.target:g}{figure.unit}"
    verdict = {True: "met", False: "**missed**", None: ""}[figure.met]
    many = len(figure.samples) > 1
    spread = f"{short(min(figure.samples))} to {short(max(figure.samples))}" if many else ""
    notes = ", ".join(filter(None, [spread, figure.note]))
    return f"| {tool} | {figure.name} | {short(figure.value)}{figure.unit} | {target} | {verdict} | {notes} |"


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(
        prog="run.py shots", description="Measures the editing nodes and writes docs/shots.md."
    )
    options.add_argument("names", nargs="*", metavar="TOOL", help=f"only these, without writing: {', '.join(TOOLS)}")
    options.add_argument("--clips", type=int, help="clips for each row (default: 16; two-card storyboards: 50)")
    options.add_argument("--pictures", type=Path, metavar="FOLDER", help="also a PNG of every tool's first clips there")
    return options


def main() -> int:
    options = parser().parse_args()
    chosen = {tool: TOOLS[tool] for tool in TOOLS if not options.names or tool.split(",")[0] in options.names}
    if not chosen or options.clips is not None and options.clips < 1:
        raise Problem(f"there is nothing to measure. Known: {', '.join(sorted({t.split(',')[0] for t in TOOLS}))}.")
    with tempfile.TemporaryDirectory(prefix="atelier-shots-") as base:
        pack.prepare_comfyui(Path(base))
        logging.getLogger().setLevel(logging.ERROR)
        pack.load()
        import comfy.utils
        import torch

        comfy.utils.set_progress_bar_enabled(False)
        torch.set_num_threads(1)  # with networks this small, threads would mostly wait for each other
        rows = measure(Studio(), chosen, options)
    if not options.names:
        import bench

        about = ", ".join(f"{key} {value}" for key, value in bench.machine().items() if key not in ("machine", "load"))
        DOCUMENT.write_text(HEAD.format(clips=options.clips or 16, machine=f"Run of {about}.") + "\n".join(rows) + "\n")
        say(f"Written: {DOCUMENT.relative_to(comfyui.ROOT)}")
    return 0


def measure(studio: Studio, chosen: dict, options: argparse.Namespace) -> list[str]:
    rows = []
    for tool, (_, measured) in chosen.items():
        made = [measured(studio, number) for number in range(options.clips or CLIPS.get(tool, 16))]
        for figure in figures_of(tool, made):
            rows.append(row(tool, figure))
            say(f"{tool}: {figure.line()}")
        if options.pictures:
            look(options.pictures / f"{tool.replace(', ', '-').replace(' ', '-').lower()}.png", made[:6])
    return rows


def look(path: Path, made: list[Made]) -> None:
    from atelier.media.sheet import contact_sheet
    from PIL import Image

    sheet = contact_sheet([clip for each in made for clip in each.clips], 25, 64)[0]
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray((sheet * 255).round().byte().numpy()).save(path)


if __name__ == "__main__":
    sys.exit(guard(main))
