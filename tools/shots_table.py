"""The shots' figures and pictures: every editing node on real clips with the built-in model, into docs/shots.md.

Clips are freshly rendered by the pocket model's world and encoded; what the nodes make of them is read from the
decoded frames. Known frames are compared with what the autoencoder makes of the source, which is its ceiling.
"""

import argparse
import itertools
import logging
import random
import statistics
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import comfyui
import pack
from benchmarks.figure import Figure, short
from console import Problem, guard, say

SEED = 70_500_000
"""Clips from here on belong to this table; neither training nor scoring uses them."""
FPS, STEP, LENGTH = 8, 4, 17
"""Frames a second, frames in a latent frame, and frames of a source clip."""
SIDEWAYS = ("left", "right", "up", "down")
GROWN = 6  # pixels by which a mask is larger than the shape it is drawn around
DOCUMENT = comfyui.ROOT / "docs" / "shots.md"
PICTURES = comfyui.ROOT / "web" / "docs"

HEAD = """# Shots, measured

What the editing nodes do to real clips, read from the pixels. `python run.py shots` makes this page: {clips} clips a
row that neither training nor scoring uses, 64 x 64, 17 frames at 8 frames a second, rendered by
`tools/pocket/world.py`, encoded, edited with the built-in pocket model at its own settings, decoded. One seed each,
nothing selected. {machine}

*Kept* compares the frames that were to stay with the source after the autoencoder, so 100 dB means: the same. A value
is the median over the clips, or the share of them where the row says so.

| tool | what | value | target | | spread over the clips |
|---|---|---|---|---|---|
"""


class Studio:
    """The built-in model, and the pack's nodes called as ComfyUI would call them."""

    def __init__(self) -> None:
        from atelier import nodes

        self.nodes = nodes
        self.model, self.clip, self.vae = self.call(
            nodes.LoadVideoModel,
            model="pocket (built in)",
            weight_dtype="float32",
            text_encoder="automatic",
            vae="automatic",
        )

    def call(self, node: Any, **inputs: Any) -> Any:
        """A node's outputs; the output itself where there is one."""
        node.GET_SCHEMA()
        outputs = node.execute(**inputs).args
        return outputs[0] if len(outputs) == 1 else outputs

    def encoded(self, frames: Any) -> dict:
        """A finished clip from frames [F, H, W, 3]."""
        return {"samples": self.vae.encode(frames), "frame_rate": float(FPS)}

    def decoded(self, latent: dict) -> Any:
        """Frames [F, H, W, 3]."""
        return self.call(self.nodes.DecodeVideo, vae=self.vae, latent=latent, fps=0.0)[1]

    def sampled(self, latent: dict, prompt: str, seed: int, denoise: float = 1.0) -> dict:
        texts = dict(prompt=prompt, negative_prompt="", style="none")
        positive, negative = self.call(self.nodes.EncodeVideoPrompt, clip=self.clip, **texts)
        given = dict(model=self.model, positive=positive, negative=negative, latent=latent)
        return self.call(self.nodes.SampleVideo, **given, seed=seed, steps=0, guidance=0.0, denoise=denoise)

    def filled(self, node: Any, prompt: str, seed: int, **inputs: Any) -> Any:
        """Frames of what an editing node, Sample Video and Join Shot make."""
        shot = self.call(node, vae=self.vae, **inputs)
        return self.decoded(self.call(self.nodes.JoinShot, latent=self.sampled(shot, prompt, seed)))


@dataclass(frozen=True)
class Made:
    """What one measurement of a tool saw on one clip: its figures, and clips for the picture."""

    figures: dict[str, float]
    clips: tuple[Any, ...]


def prompt_of(scene: Any, *left_out: str) -> str:
    """A plain prompt of a scene, for example "a large red circle moving left on a black background"."""
    motion = {"still": "standing still", "grow": "growing"}.get(scene.motion, f"moving {scene.motion}")
    words = dict(size=scene.size, color=scene.color, shape=scene.shape, motion=motion)
    told = [word for name, word in words.items() if name not in left_out]
    return f"a {' '.join(told)} on a {scene.background} background"


def source(number: int, motions: tuple[str, ...] = SIDEWAYS, frames: int = LENGTH) -> tuple[Any, Any]:
    """A scene, and its frames [F, H, W, 3] in 0..1."""
    from pocket.world import draw_scenes

    scene = replace(draw_scenes(1, random.Random(SEED + number))[0], motion=motions[number % len(motions)])
    return scene, rendered(scene, number, frames)


def rendered(scene: Any, number: int, frames: int = LENGTH) -> Any:
    """Frames [F, H, W, 3] in 0..1 of a scene, with the shape wholly in the picture from first to last."""
    from pocket.world import render

    seed = next(seed for seed in itertools.count(1000 * (SEED + number)) if stays_inside(scene, seed, frames))
    return (render([scene], random.Random(seed), frames=frames)[0].movedim(0, -1) + 1) / 2


def stays_inside(scene: Any, seed: int, frames: int) -> bool:
    """Whether the shape of this seed never touches the picture's edge: the model has seen no other clips."""
    from pocket.world import UNIT, path, reach

    x, y, radius = path([scene] * frames, random.Random(seed), FPS, (UNIT, UNIT))
    room = reach(scene.shape) * radius + 1
    return all(bool((at > room).all() and (UNIT - at > room).all()) for at in (x, y))


def other(number: int, name: str, value: str) -> str:
    """Another value of an attribute than the given one."""
    from pocket.world import ATTRIBUTES

    return random.Random(SEED + number).choice([v for v in ATTRIBUTES[name] if v != value])


def kept(a: Any, b: Any) -> float:
    """Peak signal-to-noise ratio in dB of frames in 0..1; 100 at most."""
    import torch

    return float(-10 * torch.log10((a - b).pow(2).mean().clamp(min=1e-10)))


def steps_of(frames: Any) -> list[float]:
    """Mean absolute difference between each frame and the next."""
    return (frames[1:] - frames[:-1]).abs().flatten(1).mean(1).tolist()


def velocity(frames: Any, motion: str) -> float:
    """Travel along the scene's direction, in world units over 16 frames."""
    from pocket.score import analyse
    from pocket.world import MOTIONS

    seen, (x, y) = analyse(frames), MOTIONS[motion]
    return x * seen.get("dx", 0.0) + y * seen.get("dy", 0.0)


# ------------------------------------------------------------------------------------------------ the tools


def extend(studio: Studio, number: int, direction: str) -> Made:
    scene, whole = source(number, frames=LENGTH + FPS)
    forward = direction == "forward"
    clip = studio.encoded(whole[:LENGTH] if forward else whole[-LENGTH:])
    before = studio.decoded(clip)
    inputs = dict(latent=clip, direction=direction, seconds=1.0, overlap=1.0)
    after = studio.filled(studio.nodes.ExtendShot, prompt_of(scene), number, **inputs)
    join = LENGTH if forward else FPS + 1  # the first frame after the join; backward, the clip's first is made anew
    old, new = (after[:LENGTH], after[LENGTH - 1 :]) if forward else (after[join:], after[: join + 1])
    was, now = velocity(before, scene.motion), velocity(new, scene.motion)
    steps = steps_of(after)
    figures = {
        "velocity changes by": abs(now - was) / abs(was),
        "step at the join / median step": steps[join - 1] / statistics.median(steps),
        "kept": kept(old, before if forward else before[1:]),
    }
    return Made(figures, (before, after))


def loop(studio: Studio, number: int, seam: str) -> Made:
    from atelier.models.shots import SEAMS

    scene, frames = source(number, (*SIDEWAYS, "grow"))
    clip = studio.encoded(frames)
    before = studio.decoded(clip)
    seams = dict(latent=clip, seam=seam, overlap=1.0)
    after = studio.filled(studio.nodes.LoopShot, prompt_of(scene, "motion"), number, **seams)
    steps, around = steps_of(after), float((after[-1] - after[0]).abs().mean())
    unmade = LENGTH - min(round(SEAMS[seam] * FPS), LENGTH - 1 - STEP)
    figures = {
        "step from last to first / median step": around / statistics.median(steps),
        "the same in the source": float((before[-1] - before[0]).abs().mean()) / statistics.median(steps_of(before)),
        "kept": kept(after[:unmade], before[:unmade]),
    }
    return Made(figures, (before, after))


def blend(studio: Studio, number: int, curve: str) -> Made:
    import torch

    scene, frames = source(number)
    another = replace(scene, color=other(number, "color", scene.color), shape=other(number, "shape", scene.shape))
    first, second = studio.encoded(frames), studio.encoded(rendered(another, number))
    one, two = studio.decoded(first), studio.decoded(second)
    inputs = dict(first=first, second=second, seconds=1.5, curve=curve, points="0:0, 1:1", overlap=1.0)
    made = studio.filled(studio.nodes.BlendShots, prompt_of(another), number, **inputs)
    span = round(1.5 * FPS)
    rest = LENGTH - span  # frames of each clip outside the span
    influence = []
    for place in range(rest, LENGTH):
        to_one, to_two = (made[place] - one[place]).abs().mean(), (made[place] - two[place - rest + 1]).abs().mean()
        influence.append(float(to_one / (to_one + to_two)))
    falls = [max(0.0, a - b) for a, b in zip(influence, influence[1:], strict=False)]
    share = torch.linspace(0, 1, span + 2)[1:-1].view(-1, 1, 1, 1)
    fade = (1 - share) * one[rest:] + share * two[1 : span + 1]
    steps = steps_of(made)
    figures = {
        "kept of the first": kept(made[:rest], one[:rest]),
        "kept of the second": kept(made[LENGTH:], two[span + 1 :]),
        "largest fall of the second's influence": max(falls),
        "largest step / median step": max(steps) / statistics.median(steps),
        "likeness of the span to a cross-fade (dB)": kept(made[rest:LENGTH], fade),
    }
    return Made(figures, (one, two, made))


def remix(studio: Studio, number: int) -> Made:
    from pocket.score import analyse

    scene, frames = source(number)
    clip, wanted = studio.encoded(frames), replace(scene, color=other(number, "color", scene.color))
    before = studio.decoded(clip)
    distances, made = [], []
    for strength in ("subtle", "mild", "strong"):
        settings = dict(model=studio.model, latent=clip, strength=strength, custom=1.0)
        latent, denoise = studio.call(studio.nodes.RemixShot, **settings)
        made.append(studio.decoded(studio.sampled(latent, prompt_of(wanted), number, denoise)))
        distances.append(float((made[-1] - before).abs().mean()))
    followed = [float(analyse(clip)["color"] == wanted.color) for clip in made]
    figures = {
        "the new colour is there at strong (share)": followed[2],
        "at mild (share)": followed[1],
        "at subtle (share)": followed[0],
        "subtle < mild < strong in distance (share)": float(distances[0] < distances[1] < distances[2]),
        **{
            f"distance from the source, {name}": d
            for name, d in zip(("subtle", "mild", "strong"), distances, strict=True)
        },
    }
    return Made(figures, (before, *made))


def keyframes(studio: Studio, number: int) -> Made:
    scene, frames = source(number)
    empty = {"samples": studio.encoded(frames)["samples"] * 0, "frame_rate": float(FPS)}
    at = (0, LENGTH // 2, LENGTH - 1)
    inputs = dict(images=frames[list(at)], times="first, 50%, last", strengths="1")
    shot = studio.call(studio.nodes.PlaceKeyframes, vae=studio.vae, latent=empty, **inputs)
    made = studio.decoded(studio.sampled(shot, prompt_of(scene), number))
    ceiling = [studio.decoded(studio.encoded(frames[[place] * (1 + STEP * bool(place))])) for place in at]
    there = [kept(made[place], alone[-1]) for place, alone in zip(at, ceiling, strict=True)]
    figures = {f"kept, {name} image": value for name, value in zip(("first", "middle", "last"), there, strict=True)}
    return Made(figures, (frames, made))


def recut(studio: Studio, number: int) -> Made:
    scene, frames = source(number)
    clip = studio.encoded(frames)
    before = studio.decoded(clip)
    inputs = dict(latent=clip, cuts="0 - 0.625\ngap 0.5\n1.125 -", overlap=1.0)
    made = studio.filled(studio.nodes.RecutShot, prompt_of(scene), number, **inputs)
    steps = steps_of(made)
    figures = {
        "largest step in and around the gap / median step": max(steps[4:9]) / statistics.median(steps),
        "kept": kept(made[[*range(5), *range(9, LENGTH)]], before[[*range(5), *range(9, LENGTH)]]),
    }
    return Made(figures, (before, made))


def inpaint(studio: Studio, number: int) -> Made:
    import torch
    from pocket.score import analyse

    scene, frames = source(number)
    clip, wanted = studio.encoded(frames), replace(scene, color=other(number, "color", scene.color))
    before = studio.decoded(clip)
    seen = (frames - frames[:, :1, :1]).abs().amax(-1).gt(0.1).float()  # where the shape is, frame by frame
    mask = torch.nn.functional.max_pool2d(seen[:, None], 2 * GROWN + 1, stride=1, padding=GROWN)[:, 0]
    shot = studio.call(studio.nodes.InpaintShot, vae=studio.vae, latent=clip, mask=mask, strength=1.0)
    made = studio.decoded(studio.sampled(shot, prompt_of(wanted), number))
    away = torch.nn.functional.interpolate(shot["noise_mask"][0], size=(64, 64), mode="nearest")[0]
    away = torch.cat([away[:1], away[1:].repeat_interleave(STEP, dim=0)]).eq(0)
    figures = {
        "the new colour is there (share)": float(analyse(made)["color"] == wanted.color),
        "kept outside the mask": kept(made[away], before[away]),
    }
    return Made(figures, (before, mask[..., None].expand(-1, -1, -1, 3), made))


def variations(studio: Studio, number: int) -> Made:
    scene, _ = source(number)
    sizes = dict(width=0, height=0, seconds=0.0, frames=0, fps=0.0, batch_size=1)
    empty = studio.call(studio.nodes.EmptyVideoLatent, model=studio.model, **sizes)
    seeds = studio.call(studio.nodes.VariationSeeds, seed=number, count=4)
    made = [studio.decoded(studio.sampled(empty, prompt_of(scene, "size"), seed)) for seed in seeds]
    apart = [kept(a, b) for place, a in enumerate(made) for b in made[:place]]
    return Made({"likeness of the two most alike (dB)": max(apart)}, tuple(made))


TOOLS: dict[str, tuple[str, Callable[[Studio, int], Made]]] = {
    "Extend, forward": ("AtelierExtendShot", lambda studio, number: extend(studio, number, "forward")),
    "Extend, backward": ("", lambda studio, number: extend(studio, number, "backward")),
    "Loop, normal": ("AtelierLoopShot", lambda studio, number: loop(studio, number, "normal")),
    "Loop, long": ("", lambda studio, number: loop(studio, number, "long")),
    "Blend, linear": ("AtelierBlendShots", lambda studio, number: blend(studio, number, "linear")),
    "Blend, sharp": ("", lambda studio, number: blend(studio, number, "sharp")),
    "Remix": ("AtelierRemixShot", remix),
    "Keyframes": ("AtelierPlaceKeyframes", keyframes),
    "Re-cut": ("AtelierRecutShot", recut),
    "Inpaint": ("AtelierInpaintShot", inpaint),
    "Variations": ("AtelierContactSheet", variations),
}
"""Name -> the node whose help page shows its first clip, and how it is measured."""

TARGETS = {
    "velocity changes by": 0.25,
    "step at the join / median step": 1.5,
    "step from last to first / median step": 1.5,
    "largest fall of the second's influence": 0.1,
    "the new colour is there at strong (share)": 0.8,
    "subtle < mild < strong in distance (share)": 0.8,
    "largest step in and around the gap / median step": 1.5,
    "the new colour is there (share)": 0.8,
}
KEPT = {"Extend": 35, "Loop": 35}
"""dB that what is kept must reach; 30 elsewhere."""


def target_of(tool: str, what: str) -> tuple[float | None, bool]:
    """The target, and whether more is better."""
    if what.startswith("kept"):
        return KEPT.get(tool.split(",")[0], 30), True
    return TARGETS.get(what), "(share)" in what


def figures_of(tool: str, made: list[Made]) -> list[Figure]:
    figures = []
    for what in made[0].figures:
        values = tuple(each.figures[what] for each in made)
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


def picture(node: str, made: Made) -> None:
    """The first clip's source and result, a row each, for the node's help page."""
    from atelier.media.sheet import contact_sheet
    from PIL import Image

    sheet = contact_sheet(list(made.clips), 9, 72)[0]
    Image.fromarray((sheet * 255).round().byte().numpy()).save(PICTURES / f"{node}.webp", quality=80, method=6)


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(prog="run.py shots", description="Measures the editing nodes: docs/shots.md.")
    options.add_argument("names", nargs="*", metavar="TOOL", help=f"only these, not written: {', '.join(TOOLS)}")
    options.add_argument("--clips", type=int, default=16, help="clips for each row (default: 16)")
    options.add_argument("--pictures", type=Path, metavar="FOLDER", help="also a PNG of every tool's first clips there")
    return options


def main() -> int:
    options = parser().parse_args()
    chosen = {tool: TOOLS[tool] for tool in TOOLS if not options.names or tool.split(",")[0] in options.names}
    if not chosen or options.clips < 1:
        raise Problem(f"there is nothing to measure. Known: {', '.join(sorted({t.split(',')[0] for t in TOOLS}))}.")
    with tempfile.TemporaryDirectory(prefix="atelier-shots-") as base:
        pack.prepare_comfyui(Path(base))
        logging.getLogger().setLevel(logging.ERROR)
        pack.load()
        import comfy.utils
        import torch

        comfy.utils.set_progress_bar_enabled(False)
        torch.set_num_threads(1)  # the networks are so small that threads would mostly wait for each other
        rows = measure(Studio(), chosen, options)
    if not options.names:
        import bench

        about = ", ".join(f"{key} {value}" for key, value in bench.machine().items() if key not in ("machine", "load"))
        DOCUMENT.write_text(HEAD.format(clips=options.clips, machine=f"Run of {about}.") + "\n".join(rows) + "\n")
        say(f"Written: {DOCUMENT.relative_to(comfyui.ROOT)}")
    return 0


def measure(studio: Studio, chosen: dict, options: argparse.Namespace) -> list[str]:
    rows = []
    for tool, (node, measured) in chosen.items():
        made = [measured(studio, number) for number in range(options.clips)]
        for figure in figures_of(tool, made):
            rows.append(row(tool, figure))
            say(f"{tool}: {figure.line()}")
        if node and not options.names:
            picture(node, made[0])
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
