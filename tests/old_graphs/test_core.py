"""Graphs of core's nodes: ComfyUI's own templates. The loader swap is offered, never forced."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest
import saved
from atelier.old_graphs import Installed, convert
from saved import by_id, of_type, source

INSTALLED = Installed(
    models=("checkpoints/ltx-video-2b-v0.9.5.safetensors",), text_encoders=("t5xxl_fp16.safetensors",)
)


def template(name: str) -> dict:
    package = pytest.importorskip("comfyui_workflow_templates_media_video")
    return json.loads((Path(package.__file__).parent / "templates" / f"{name}.json").read_text(encoding="utf-8"))


def ltx() -> dict:
    """Text to video with core's LTXV nodes, and a picture at frame 50."""
    nodes = {
        1: ("CheckpointLoaderSimple", [], ["MODEL", "CLIP", "VAE"], ["ltx-video-2b-v0.9.5.safetensors"]),
        2: ("CLIPLoader", [], ["CLIP"], ["t5xxl_fp16.safetensors", "ltxv", "default"]),
        3: ("CLIPTextEncode", [("clip", "CLIP", 2, 0)], ["CONDITIONING"], ["a fox"]),
        4: ("EmptyLTXVLatentVideo", [], ["LATENT"], [768, 512, 97, 1]),
        8: ("LoadImage", [], ["IMAGE", "MASK"], ["a.png", "image"]),
        5: ("LTXVConditioning", [("positive", "CONDITIONING", 3, 0), ("negative", "CONDITIONING", 3, 0)],
            ["CONDITIONING", "CONDITIONING"], [25]),
        6: ("LTXVAddGuide", [("positive", "CONDITIONING", 5, 0), ("negative", "CONDITIONING", 5, 1),
                             ("vae", "VAE", 1, 2), ("latent", "LATENT", 4, 0), ("image", "IMAGE", 8, 0)],
            ["CONDITIONING", "CONDITIONING", "LATENT"], [50, 0.9]),
        7: ("KSampler", [("model", "MODEL", 1, 0), ("positive", "CONDITIONING", 6, 0),
                         ("negative", "CONDITIONING", 6, 1), ("latent_image", "LATENT", 6, 2)], ["LATENT"],
            [1, "fixed", 20, 3, "euler", "normal", 1]),
        9: ("LTXVCropGuides", [("positive", "CONDITIONING", 6, 0), ("negative", "CONDITIONING", 6, 1),
                               ("latent", "LATENT", 7, 0)], ["CONDITIONING", "CONDITIONING", "LATENT"], []),
        10: ("VAEDecode", [("samples", "LATENT", 9, 2), ("vae", "VAE", 1, 2)], ["IMAGE"], []),
    }  # fmt: skip
    return saved.graph(nodes)


def test_the_swap_is_offered_and_nothing_is_changed_unasked():
    old = ltx()
    converted = convert(old, INSTALLED)
    assert converted.graph is old and not converted.changed and converted.offer == "ltx-video-2b-v0.9.5.safetensors"


def test_the_loaders_are_swapped_when_asked():
    old = ltx()
    before = copy.deepcopy(old)
    converted = convert(old, INSTALLED, loaders=True)
    new = converted.graph
    assert old == before and converted.swapped and "CLIPLoader" not in {node["type"] for node in new["nodes"]}
    load = of_type(new, "AtelierLoadVideoModel")
    expected = ["checkpoints/ltx-video-2b-v0.9.5.safetensors", "default", "t5xxl_fp16.safetensors", "automatic"]
    assert load["widgets_values"] == expected
    assert source(new, by_id(new)[3], "clip") == ("AtelierLoadVideoModel", 1)
    assert source(new, by_id(new)[10], "vae") == ("AtelierLoadVideoModel", 2)
    assert "LTXVAddGuide" in {node["type"] for node in new["nodes"]} and any("--guides" in r for r in converted.remarks)
    again = convert(new, INSTALLED, loaders=True, guides=False)
    assert again.graph is new and not again.changed


def test_guides_become_place_frames_when_asked():
    new = convert(ltx(), INSTALLED, loaders=True, guides=True).graph
    kinds = {node["type"] for node in new["nodes"]}
    assert not kinds & {"LTXVAddGuide", "LTXVCropGuides"}
    place = of_type(new, "AtelierPlaceFrames")
    assert place["widgets_values"] == ["at time", 2.0, 0.9]
    sampler = of_type(new, "KSampler")
    assert source(new, sampler, "positive") == ("LTXVConditioning", 0)
    assert source(new, sampler, "latent_image") == ("AtelierPlaceFrames", 0)
    assert source(new, of_type(new, "VAEDecode"), "samples") == ("KSampler", 0)


@pytest.mark.parametrize("name", ["ltxv_text_to_video", "ltxv_image_to_video", "mochi_text_to_video_example"])
def test_comfyuis_own_templates(name):
    old = template(name)
    assert convert(old, INSTALLED).offer
    converted = convert(old, INSTALLED, loaders=True, guides=True)
    kinds = {node["type"] for node in converted.graph["nodes"]}
    assert converted.swapped and "AtelierLoadVideoModel" in kinds
    assert not kinds & {"CheckpointLoaderSimple", "UNETLoader", "VAELoader", "CLIPLoader", "LTXVImgToVideo"}


@pytest.mark.parametrize("name", ["ltx-2-19b-dev.safetensors", "ltxv2_av.safetensors", "flux1-dev.safetensors",
                                  "sd_xl_base_1.0.safetensors"])  # fmt: skip
def test_models_of_other_packs_and_ltx_2_are_not_offered(name):
    old = ltx()
    by_id(old)[1]["widgets_values"] = [name]
    assert convert(old, INSTALLED).offer == "" and not convert(old, INSTALLED, loaders=True).changed
