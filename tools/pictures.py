"""Makes the pictures of the node help pages and of the template browser with the built-in model (run.py pictures).

A help page shows what its node does to the first clip of the shots' table. A template shows the video of its saved
graph, run unchanged in a real ComfyUI; one for published files, which are not here, shows the graph. Each has one
seed; none is selected. The time line is a screenshot.
"""

import argparse
import logging
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import comfyui
import pack
from console import Problem, guard, say
from shots.measures import TOOLS
from shots.studio import FPS, Studio, prompt_of, source

PAGES, TEMPLATES = comfyui.ROOT / "web" / "docs", comfyui.ROOT / "workflows"
SHOWN, WIDTH = 9, 72
"""Frames in a row of a help page's picture, and width of a frame in pixels."""
EXTENDED = 25
"""Frames of the longest clip in a help page's picture."""
SIDE, GAP = 128, 4
"""Side of a frame in a template's picture (three rows of three frames) and the gap between frames, in pixels."""
DIMMED = 0.25
TIME_LINE = "AtelierStoryboardTimeLine"
BOARD = """0s: a harbour at dawn, fog over the water
2.63s: the fog lifts, boats set sail
5.63s cut: close-up of hands on a ship's wheel
7.63s: the open sea, gulls above the mast"""
SHOW_BOARD = """([board, frames]) => {
    const set = (type, name, value) => {
        const node = app.graph._nodes.find(node => node.type === type)
        node.widgets.find(widget => widget.name === name).value = value
        return node
    }
    set('AtelierEmptyVideoLatent', 'frames', frames)
    const {pos, size} = set('AtelierStoryboard', 'board', board), ds = app.canvas.ds
    size[0] = 560
    ds.scale = 1.5
    ds.offset[0] = 100 - pos[0]
    ds.offset[1] = 60 - pos[1]
    app.canvas.setDirty(true, true)
}"""


def place_frames(studio: Studio) -> list[Any]:
    """An image, and a clip that begins with it."""
    scene, frames = source(0, studio.length, side=studio.side)
    inputs = dict(vae=studio.vae, latent=_empty(studio), images=frames[:1], position="first", time=0.0, strength=1.0)
    placed = studio.call(studio.nodes.PlaceFrames, **inputs)
    return [frames[:1], studio.decoded(studio.sampled(placed, prompt_of(scene), 0))]


def join_shot(studio: Studio) -> list[Any]:
    """A clip, the piece that was sampled, and the whole clip."""
    scene, frames = source(0, studio.length, side=studio.side)
    clip = studio.encoded(frames)
    inputs = dict(latent=clip, direction="forward", seconds=1.0, overlap=1.0)
    piece = studio.sampled(studio.call(studio.nodes.ExtendShot, vae=studio.vae, **inputs), prompt_of(scene), 0)
    whole = studio.decoded(studio.call(studio.nodes.JoinShot, latent=piece))
    return [_at(studio.decoded(clip), 0), _at(studio.decoded(piece), studio.length - FPS - 1), _at(whole, 0)]


def storyboard(studio: Studio) -> list[Any]:
    """Two cards that flow, and the same two with a cut."""
    first, second = (
        "a blue square moving right on a black background",
        "a yellow circle moving up on a black background",
    )
    return [_of_board(studio, f"0s: {first}\n1.63s{cut}: {second}") for cut in ("", " cut")]


def variation_seeds(studio: Studio) -> list[Any]:
    """One prompt, four seeds in a row."""
    seeds = studio.call(studio.nodes.VariationSeeds, seed=10, count=4)
    return [
        studio.decoded(studio.sampled(_empty(studio), "a green triangle on a white background", seed)) for seed in seeds
    ]


def pick_variation(studio: Studio) -> list[Any]:
    """The third of four variations."""
    return [clip if number == 3 else clip * DIMMED for number, clip in enumerate(variation_seeds(studio), start=1)]


def _empty(studio: Studio, frames: int = 0) -> dict:
    sizes = dict(width=0, height=0, seconds=0.0, frames=frames, fps=0.0, batch_size=1)
    return studio.call(studio.nodes.EmptyVideoLatent, model=studio.model, **sizes)


def _of_board(studio: Studio, board: str) -> Any:
    texts = dict(clip=studio.clip, vae=studio.vae, board=board, negative_prompt="", style="none")
    positive, negative, latent = studio.call(studio.nodes.Storyboard, latent=_empty(studio, 25), **texts)
    given = dict(model=studio.model, positive=positive, negative=negative, latent=latent)
    return studio.decoded(studio.call(studio.nodes.SampleVideo, **given, seed=0, steps=0, guidance=0.0, denoise=1.0))


def _at(clip: Any, start: int) -> Any:
    """The clip moved to frame `start` of a row, so that each column is one moment."""
    import torch

    blank = torch.full((EXTENDED, *clip.shape[1:]), 32 / 255)
    blank[start : start + len(clip)] = clip
    return blank


HELP: dict[str, Callable[[Studio], list[Any]]] = {
    "AtelierPlaceFrames": place_frames,
    "AtelierJoinShot": join_shot,
    "AtelierStoryboard": storyboard,
    "AtelierVariationSeeds": variation_seeds,
    "AtelierPickVariation": pick_variation,
} | {
    node: lambda studio, measured=measured: list(measured(studio, 0).clips) for node, measured in TOOLS.values() if node
}
"""Node -> the clips on its help page, one per row."""


def help_pictures(nodes: list[str]) -> None:
    with tempfile.TemporaryDirectory(prefix="atelier-pictures-") as base:
        pack.prepare_comfyui(Path(base))
        logging.getLogger().setLevel(logging.ERROR)
        pack.load()
        import comfy.utils
        import torch
        from atelier.media.sheet import contact_sheet
        from PIL import Image

        comfy.utils.set_progress_bar_enabled(False)
        torch.set_num_threads(1)
        studio = Studio()
        for node in nodes:
            clips = HELP[node](studio)
            every = -(-max(map(len, clips)) // SHOWN)  # the same for all rows, so that a column is one moment
            sheet = contact_sheet([clip[::every] for clip in clips], SHOWN, WIDTH)[0]
            target = PAGES / f"{node}.webp"
            Image.fromarray((sheet * 255).round().byte().numpy()).save(target, quality=80, method=6)
            say(f"Picture: {target.relative_to(comfyui.ROOT)}")


def template_pictures(names: list[str]) -> None:
    """Make the JPEG beside each saved graph, which ComfyUI's template browser shows."""
    import json

    pack.load_media()
    from atelier_media import probe, read, sheet
    from client import Client
    from comfy_server import running
    from demo import make_video

    with tempfile.TemporaryDirectory(prefix="atelier-pictures-") as base, running(Path(base), "comfyui") as server:
        with Client(server.url) as client:
            for name in names:
                workflow = json.loads((TEMPLATES / f"{name}.json").read_text(encoding="utf-8"))
                result = make_video(client, workflow, [], Path(base) / name)
                target = TEMPLATES / f"{name}.jpg"
                clip = read.of_file(result.video)
                pictures = probe.pictures_of(clip, sheet.evenly(len(clip.times), 9))
                _tiled(pictures).save(target, quality=85, optimize=True)
                say(f"Picture: {target.relative_to(comfyui.ROOT)}")


def _is_for_published_files(name: str) -> bool:
    """Whether a saved graph loads other models than the built-in ones."""
    import json

    nodes = json.loads((TEMPLATES / f"{name}.json").read_text(encoding="utf-8"))["nodes"]
    chosen = [node["widgets_values"][0] for node in nodes if node["type"] == "AtelierLoadVideoModel"]
    return not all("built in" in model for model in chosen)


def graph_pictures(names: list[str]) -> None:
    """Make the JPEG beside each saved graph that cannot run here: the graph in the editor."""
    import io

    import editor
    from comfy_server import running
    from PIL import Image, ImageOps

    with (
        tempfile.TemporaryDirectory(prefix="atelier-pictures-") as base,
        running(Path(base), "comfyui") as server,
        editor.chromium() as browser,
    ):
        for name in names:
            # So large that the widest graph has its words: the editor leaves them out where they are small.
            with editor.opened(browser, server.url, width=2200, height=1400) as view:
                view.open_template(name)
                view.page.wait_for_timeout(1000)
                view.page.keyboard.press("Escape")  # ComfyUI's dialog about the missing files
                view.fit()
                view.page.wait_for_timeout(1000)  # until the canvas is drawn at its new scale
                shown = Image.open(io.BytesIO(view.page.screenshot()))
                areas = list(view.areas().values())
            left, top = (min(area[i] for area in areas) - GAP for i in (0, 1))
            right, bottom = (max(area[i] + area[i + 2] for area in areas) + GAP for i in (0, 1))
            picture = ImageOps.pad(
                shown.convert("RGB").crop((left, top, right, bottom)),
                (3 * (SIDE + GAP) - GAP,) * 2,
                Image.Resampling.LANCZOS,
                shown.convert("RGB").getpixel((int(left), int(bottom) - 1)),
            )
            target = TEMPLATES / f"{name}.jpg"
            picture.save(target, quality=85, optimize=True)
            say(f"Picture: {target.relative_to(comfyui.ROOT)}")


def _tiled(pictures: list[Any]) -> Any:
    from PIL import Image

    tiled = Image.new("RGB", (3 * (SIDE + GAP) - GAP,) * 2, "#606060")
    for number, picture in enumerate(pictures):
        at = tuple(place * (SIDE + GAP) for place in (number % 3, number // 3))
        tiled.paste(picture.resize((SIDE, SIDE), Image.Resampling.LANCZOS), at)
    return tiled


def time_line_picture() -> None:
    """Take a screenshot of the node's time line with four cards."""
    import io

    import editor
    from comfy_server import running
    from PIL import Image

    with tempfile.TemporaryDirectory(prefix="atelier-pictures-") as base, running(Path(base), "comfyui") as server:
        with editor.chromium() as browser, editor.opened(browser, server.url, height=1300) as view:
            view.open_template("storyboard")
            view.page.evaluate(SHOW_BOARD, [BOARD, 81])
            line = view.page.locator(".atelier-storyboard")
            line.get_by_text("10.12 s").wait_for()
            view.page.wait_for_timeout(1000)  # until the node has its new width
            picture = Image.open(io.BytesIO(line.screenshot()))
    target = PAGES / f"{TIME_LINE}.webp"
    picture.convert("RGB").save(target, quality=90, method=6)
    say(f"Picture: {target.relative_to(comfyui.ROOT)}")


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(
        prog="run.py pictures", description="Makes the help pages' and templates' pictures."
    )
    options.add_argument(
        "names", nargs="*", metavar="NAME", help="only these nodes (AtelierLoopShot) and graphs (loop)"
    )
    return options


def main() -> int:
    graphs, names = sorted(path.stem for path in TEMPLATES.glob("*.json")), parser().parse_args().names
    known = [TIME_LINE, *HELP, *graphs]
    unknown = [name for name in names if name not in known]
    if unknown:
        raise Problem(f"there is no picture of {', '.join(unknown)}. Known: {', '.join(known)}.")
    chosen = names or known
    if TIME_LINE in chosen:
        time_line_picture()
    templates = [name for name in graphs if name in chosen]
    if drawn := [name for name in templates if _is_for_published_files(name)]:
        graph_pictures(drawn)
    if made := [name for name in templates if name not in drawn]:
        template_pictures(made)
    if nodes := [node for node in HELP if node in chosen]:
        help_pictures(nodes)
    return 0


if __name__ == "__main__":
    sys.exit(guard(main))
