"""The tables of old node classes: complete, and each saved version is read as what it was."""

from __future__ import annotations

import pytest
from atelier.old_graphs.roles import ROLES
from atelier.old_graphs.widgets import KINDS, dealt
from atelier.old_graphs.wrappers import PACK_OF, RULES


def test_every_widget_of_every_version_is_translated_lost_or_unneeded():
    unknown = []
    for name, rule in RULES.items():
        assert rule.role in ROLES or (not rule.role and rule.why), name
        for version in rule.versions:
            for widget in version.split():
                own, _, kind = widget.partition(":")
                assert kind in KINDS, f"{name}: {widget}"
                if rule.role and own not in {*rule.takes, *rule.lost, *rule.unneeded}:
                    unknown.append(f"{name}: {own}")
        twice = [n for n in rule.takes if n in rule.lost or n in rule.unneeded]
        assert not twice, f"{name}: {twice}"
    assert unknown == []


def test_how_many_classes_are_known():
    counts = {pack: sum(of == pack for of in PACK_OF.values()) for pack in set(PACK_OF.values())}
    assert counts == {"CogVideoXWrapper": 33, "MochiWrapper": 13, "PyramidFlowWrapper": 10}


LOADER = "DownloadAndLoadCogVideoModel"
VERSIONS = [
    ("CogVideoSampler", [49, 25, 6, 3, "fixed", "DPM++", 0.8],
     {"num_frames": 49, "steps": 25, "cfg": 6, "seed": 3, "scheduler": "DPM++", "denoise_strength": 0.8}),
    ("CogVideoSampler", [480, 720, 49, 25, 6, 3, "fixed", "DPM", 16, 8, 0.8],
     {"height": 480, "width": 720, "t_tile_length": 16, "denoise_strength": 0.8, "scheduler": "DPM"}),
    ("CogVideoSampler", [480, 720, 48, 8, 25, 6.5, 3, "randomize", "DDIM", 0.8],
     {"height": 480, "width": 720, "num_frames": 48, "fps": 8, "steps": 25, "cfg": 6.5, "denoise_strength": 0.8}),
    ("CogVideoSampler", [720, 480, 49, 25, 6, 3, "fixed", "DPM", 1], {"width": 720, "height": 480, "num_frames": 49}),
    ("CogVideoSampler", [480, 720, 49, 25, 6, 3, "fixed", "DPM", 1], {"width": 720, "height": 480, "num_frames": 49}),
    ("CogVideoImageEncode", [16, False], {"chunk_size": 16, "enable_tiling": False}),
    ("CogVideoImageEncode", [False, 0.05, 1, 0, 0.5], {"noise_aug_strength": 0.05, "end_percent": 0.5}),
    ("CogVideoTextEncode", ["words"], {"prompt": "words"}),
    ("CogVideoTextEncode", ["words", 1.2, True], {"prompt": "words", "strength": 1.2}),
    (LOADER, ["THUDM/CogVideoX-2b", "fp16"], {"model": "THUDM/CogVideoX-2b", "precision": "fp16"}),
    (LOADER, ["THUDM/CogVideoX-5b", "bf16", True], {"fp8_transformer": True}),
    (LOADER, ["THUDM/CogVideoX-5b", "bf16", "enabled", "torch", True, "sdpa", "main_device"],
     {"fp8_transformer": "enabled", "compile": "torch", "attention_mode": "sdpa"}),
    (LOADER, ["THUDM/CogVideoX-5b", "bf16", "fp8_e4m3fn", False, "comfy", "main_device"],
     {"quantization": "fp8_e4m3fn", "attention_mode": "comfy"}),
    ("DownloadAndLoadCogVideoGGUFModel", ["a.safetensors", "bf16", False, "main_device", False, "disabled"],
     {"model": "a.safetensors", "compile": "disabled"}),
    ("PyramidFlowSampler", [640, 384, "20, 20, 20", "10, 10, 10", 16, 7, 5, 9, "fixed", False],
     {"width": 640, "height": 384, "video_steps": "10, 10, 10", "temp": 16, "video_guidance_scale": 5, "seed": 9}),
    ("PyramidFlowSampler", [384, 640, 20, 10, 16, 7, 5, 9, "fixed", "a fox", False],
     {"width": 640, "height": 384, "video_steps": 10, "temp": 16, "prompt": "a fox"}),
    ("MochiSampler", [848, 480, 49, 30, 4.5, 0, "fixed", 0], {"width": 848, "num_frames": 49, "cfg_schedule": 0}),
]  # fmt: skip


@pytest.mark.parametrize("name,saved,expected", VERSIONS)
def test_versions_are_told_apart_by_number_and_type_of_the_values(name, saved, expected):
    read = dealt(RULES[name].versions, saved).values
    assert {key: read.get(key) for key in expected} == expected


def test_the_seeds_control_word_is_kept():
    assert dealt(RULES["CogVideoSampler"].versions, [49, 25, 6, 3, "increment", "DPM++", 1]).control == "increment"
    assert dealt(RULES["CogVideoSampler"].versions, [49, 25, 6, 3]).control is None


@pytest.mark.parametrize(
    "saved", [None, {}, [], "words", 7, [None] * 40, ["x"] * 40, {"steps": "many"}, [float("nan")]]
)
def test_values_of_any_form_are_read_without_an_error(saved):
    for rule in RULES.values():
        dealt(rule.versions, saved)
