"""A graph in the queue of the head's own ComfyUI, whose scenes and seeds two workers sample."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from client import Client, JobInterrupted
from farm_head import head, until, workers
from safetensors.torch import load_file

if TYPE_CHECKING:
    from conftest import Machines

MACHINES = 2
SEEDS = 2
BOARD = "0s: a red circle moving left\n2s cut: a blue square moving up\n4s: a green triangle growing"


def graph(on_the_farm: bool, steps: int) -> dict:
    """Two seeds of a board of two scenes, the second of two cards; their latents are saved."""
    model = {"model": "pocket (built in)", "weight_dtype": "float32", "text_encoder": "automatic", "vae": "automatic"}
    board = {"clip": ["1", 1], "vae": ["1", 2], "latent": ["2", 0], "board": BOARD, "negative_prompt": ""}
    sampled = {"model": ["1", 0], "positive": ["3", 0], "negative": ["3", 1], "latent": ["3", 2], "seed": ["4", 0]}
    sampled |= {"steps": steps, "guidance": 2.0, "denoise": 1.0, "on_the_farm": on_the_farm}
    nodes = {
        "1": ("AtelierLoadVideoModel", model),
        "2": ("AtelierEmptyVideoLatent", {"model": ["1", 0], "seconds": 6.0, **size()}),
        "3": ("AtelierStoryboard", {**board, "style": "none"}),
        "4": ("AtelierVariationSeeds", {"seed": 7, "count": SEEDS}),
        "5": ("AtelierSampleVideo", sampled),
        "6": ("SaveLatent", {"samples": ["5", 0], "filename_prefix": f"latents/farm_{on_the_farm}"}),
    }
    return {name: {"class_type": kind, "inputs": inputs} for name, (kind, inputs) in nodes.items()}


def size() -> dict:
    return {"width": 0, "height": 0, "frames": 0, "fps": 0.0, "batch_size": 1}


def latents(base: Path, outputs: dict) -> list[torch.Tensor]:
    files = [base / "output" / item["subfolder"] / item["filename"] for item in outputs["6"]["latents"]]
    return [load_file(file)["latent_tensor"] for file in files]


@pytest.mark.slow
def test_two_workers_make_the_latents_of_one_machine(machines: Machines, monkeypatch):
    with head(machines, monkeypatch) as (server, http):
        until(lambda: [each["state"] for each in workers(http)] == ["idle"] * MACHINES)
        with Client(server.url) as client:
            here, before = latents(server.base, client.run(graph(False, 20))), made(http)
            steps = []
            there = latents(server.base, client.run(graph(True, 20), lambda *event: steps.append(event)))
            assert len(here) == len(there) == SEEDS and not torch.equal(*here)
            assert all(torch.equal(*pair) for pair in zip(here, there, strict=True)), "to the bit"
            assert sum(made(http)) == sum(before) + 2 * SEEDS, "two pieces of each seed"
            shown = [data["value"] for kind, data in steps if kind == "progress" and data["node"] == "5"]
            assert shown == sorted(shown) and len(set(shown)) > 3, "the sum of all pieces"
            assert not list((server.base / "output" / "atelier" / "farm").iterdir())
            cancelled(client, http)


def cancelled(client: Client, http) -> None:
    """A running graph is interrupted: its pieces are, and both workers are free again."""
    begun = client.queue(graph(True, 900))
    until(lambda: [each["state"] for each in workers(http)] == ["busy"] * MACHINES, 60)
    time.sleep(1)
    client.interrupt()
    with pytest.raises(JobInterrupted):
        client.wait(begun, timeout=20)
    until(lambda: [each["state"] for each in workers(http)] == ["idle"] * MACHINES, 20)


def made(http) -> list[int]:
    return [each["made"] for each in workers(http)]
