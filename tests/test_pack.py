"""The pack as ComfyUI sees it: what a saved graph may rely on, and what start-up costs."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
from pathlib import Path

import atelier
import pytest

ROOT = Path(__file__).parent.parent

# A saved graph is a promise: names and order of a landed node never change. New inputs go at the end, with a default.
PROMISED = {
    "AtelierLoadVideoModel": ["model", "weight_dtype", "text_encoder", "vae"],
    "AtelierLoadVideoLoRA": ["model", "lora", "strength"],
    "AtelierEncodeVideoPrompt": ["clip", "prompt", "negative_prompt", "style"],
    "AtelierEmptyVideoLatent": ["model", "width", "height", "seconds", "frames", "fps", "batch_size"],
    "AtelierPlaceFrames": ["vae", "latent", "images", "position", "time", "strength"],
    "AtelierControlVideo": ["positive", "negative", "vae", "latent", "images", "video", "strength", "model"],
    "AtelierDynamicGuidance": ["model"],
    "AtelierVideoSchedule": ["model", "latent", "steps", "denoise"],
    "AtelierSampleVideo": ["model", "positive", "negative", "latent", "seed", "steps", "guidance", "denoise"],
    "AtelierDecodeVideo": ["vae", "latent", "fps", "format", "crf", "bit_depth", "audio", "sound"],
    "AtelierEncodeVideo": ["vae", "width", "height", "fit", "fps", "start", "length", "video", "images"],
    "AtelierTrimVideo": ["video", "start", "end", "fps", "reverse", "format", "crf", "bit_depth"],
    "AtelierSaveVideoAs": ["video", "filename_prefix", "format", "crf", "bit_depth"],
    "AtelierPlaceKeyframes": ["vae", "latent", "images", "times", "strengths"],
    "AtelierExtendShot": ["vae", "latent", "direction", "seconds", "overlap"],
    "AtelierLoopShot": ["vae", "latent", "seam", "overlap"],
    "AtelierBlendShots": ["vae", "first", "second", "seconds", "curve", "points", "overlap"],
    "AtelierRecutShot": ["vae", "latent", "cuts", "overlap"],
    "AtelierRemixShot": ["model", "latent", "strength", "custom"],
    "AtelierInpaintShot": ["vae", "latent", "mask", "strength"],
    "AtelierJoinShot": ["latent"],
    "AtelierVariationSeeds": ["seed", "count"],
    "AtelierContactSheet": ["images", "frames", "width", "batch_size"],
    "AtelierPickVariation": ["latent", "number"],
    "AtelierStoryboard": ["clip", "vae", "latent", "board", "negative_prompt", "style", "images", "flow"],
    "AtelierExpandPrompt": ["prompt", "expander", "seed", "expanded", "model"],
    "AtelierJoinVideos": ["first", "second", "direction", "fit", "format", "crf", "bit_depth"],
    "AtelierLoadVideoUpscaleModel": ["upscale_model"],
    "AtelierUpscaleVideoLatent": ["latent", "upscale_model", "vae", "adain", "tone_map"],
    "AtelierRecutVideo": ["video", "cuts", "filling", "filling_start", "format", "crf", "bit_depth"],
    "AtelierSpeedUpVideo": ["model", "speed"],
    "AtelierPlaceSound": ["vae", "latent", "audio", "time", "strength"],
    "AtelierVideoGuidance": [
        "model",
        "recipe",
        "guidance",
        "stg_scale",
        "stg_blocks",
        "rescale",
        "cfg_zero_star",
        "zero_init_steps",
    ],
}
PROMISED_OUTPUTS = {
    "AtelierLoadVideoModel": ["MODEL", "CLIP", "VAE"],
    "AtelierLoadVideoLoRA": ["MODEL"],
    "AtelierEncodeVideoPrompt": ["CONDITIONING", "CONDITIONING"],
    "AtelierEmptyVideoLatent": ["LATENT"],
    "AtelierPlaceFrames": ["LATENT"],
    "AtelierControlVideo": ["CONDITIONING", "CONDITIONING"],
    "AtelierDynamicGuidance": ["MODEL"],
    "AtelierVideoSchedule": ["SIGMAS"],
    "AtelierSampleVideo": ["LATENT"],
    "AtelierDecodeVideo": ["VIDEO", "IMAGE", "AUDIO"],
    "AtelierEncodeVideo": ["LATENT"],
    "AtelierTrimVideo": ["VIDEO"],
    "AtelierSaveVideoAs": [],
    "AtelierPlaceKeyframes": ["LATENT"],
    "AtelierExtendShot": ["LATENT"],
    "AtelierLoopShot": ["LATENT"],
    "AtelierBlendShots": ["LATENT"],
    "AtelierRecutShot": ["LATENT"],
    "AtelierRemixShot": ["LATENT", "FLOAT"],
    "AtelierInpaintShot": ["LATENT"],
    "AtelierJoinShot": ["LATENT"],
    "AtelierVariationSeeds": ["INT"],
    "AtelierContactSheet": ["IMAGE"],
    "AtelierPickVariation": ["LATENT"],
    "AtelierStoryboard": ["CONDITIONING", "CONDITIONING", "LATENT"],
    "AtelierExpandPrompt": ["STRING"],
    "AtelierJoinVideos": ["VIDEO"],
    "AtelierLoadVideoUpscaleModel": ["LATENT_UPSCALE_MODEL"],
    "AtelierUpscaleVideoLatent": ["LATENT"],
    "AtelierRecutVideo": ["VIDEO"],
    "AtelierSpeedUpVideo": ["MODEL"],
    "AtelierPlaceSound": ["LATENT"],
    "AtelierVideoGuidance": ["MODEL"],
}


@pytest.fixture(scope="module")
def schemas():
    import utils.extra_config  # noqa: F401  before `server`: ComfyUI's `utils` must win over the one inside `comfy`

    nodes = asyncio.run(asyncio.run(atelier.comfy_entrypoint()).get_node_list())
    return {schema.node_id: schema for schema in (node.GET_SCHEMA() for node in nodes)}


def test_nodes_keep_their_promise(schemas):
    assert {name: [i.id for i in s.inputs][: len(PROMISED[name])] for name, s in schemas.items()} == PROMISED
    outputs = {name: [o.io_type for o in s.outputs] for name, s in schemas.items()}
    assert {name: kinds[: len(PROMISED_OUTPUTS[name])] for name, kinds in outputs.items()} == PROMISED_OUTPUTS


def test_every_input_explains_itself(schemas):
    silent = [f"{name}.{i.id}" for name, s in schemas.items() for i in s.inputs if not i.tooltip]
    assert not silent
    assert all(s.display_name and s.description and s.category == "Atelier" for s in schemas.values())


def test_every_node_has_a_help_page(schemas):
    for name, schema in schemas.items():
        page = (ROOT / "web" / "docs" / f"{name}.md").read_text(encoding="utf-8")
        assert page.startswith(f"# {schema.display_name}\n")
        missing = [i.id for i in schema.inputs if i.id not in page]
        assert not missing


def test_pictures_of_help_pages_are_there_and_small():
    pages = ROOT / "web" / "docs"
    named = {
        name for page in pages.glob("*.md") for name in re.findall(r"!\[[^]]+\]\((.+?)\)", page.read_text("utf-8"))
    }
    assert named == {picture.name for picture in pages.glob("*.webp")}
    assert all((pages / name).stat().st_size < 100_000 for name in named)


def test_every_saved_graph_has_a_small_picture_for_the_template_browser():
    graphs, pictures = ((ROOT / "workflows").glob(f"*.{kind}") for kind in ("json", "jpg"))
    small = {picture.stem for picture in pictures if picture.stat().st_size < 100_000}
    assert small == {graph.stem for graph in graphs}


def test_the_styles_are_whole():
    styles = json.loads((ROOT / "styles.json").read_text(encoding="utf-8"))
    assert {"archival", "film noir", "cardboard & papercraft", "whimsical stop motion", "balloon world"} <= set(styles)
    for name, style in styles.items():
        assert set(style) == {"prompt", "negative"} and style["prompt"].count("{prompt}") == 1, name


def test_start_up_is_light():
    """In a fresh process, after ComfyUI's own modules: neither diffusers nor anything else that takes its time."""
    script = (
        "import sys, json, runpy; sys.argv = ['x']\n"
        "import conftest, utils.extra_config, nodes, server\n"
        "before = set(sys.modules)\n"
        "import asyncio, atelier\n"
        "asyncio.run(asyncio.run(atelier.comfy_entrypoint()).get_node_list())\n"
        "print(json.dumps(sorted(set(sys.modules) - before)))\n"
    )
    run = subprocess.run([sys.executable, "-c", script], cwd=ROOT / "tests", capture_output=True, text=True, check=True)
    new = json.loads(run.stdout.splitlines()[-1])
    assert [name for name in new if not name.startswith("atelier")] == []
    assert "atelier.models.families.ltx_video.family" not in new
