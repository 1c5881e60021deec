"""LoRAs and GGUF files in a real ComfyUI, from its own folders."""

from __future__ import annotations

from pathlib import Path

import adapters
import graphs
import pytest
import quantised
import safetensors.torch
import tiny
import torch
from atelier.models.loading.lora import Applied
from atelier.nodes.lora import summary
from reference import relative
from safetensors.torch import load_file

POCKET = Path(__file__).parents[2] / "models" / "pocket" / "transformer"


@pytest.fixture(scope="module")
def lora(server) -> str:
    """A LoRA of the pocket model in models/loras."""
    state = {key: weight for file in POCKET.glob("*.safetensors") for key, weight in load_file(file).items()}
    modules = [name for name in adapters.matrices(state) if ".attn1.to_" in name]
    return adapters.file(server.base / "models" / "loras" / "style.safetensors", adapters.adapter(state, modules)).name


def latent(server, *strengths: float, node: str = "AtelierLoadVideoLoRA", lora: str = "") -> torch.Tensor:
    graph, last = graphs.text_to_video(steps=2), ["load", 0]
    names = {"AtelierLoadVideoLoRA": ("lora", "strength"), "LoraLoaderModelOnly": ("lora_name", "strength_model")}[node]
    for number, strength in enumerate(strengths):
        graph[f"lora {number}"] = graphs.node(node, model=last, **dict(zip(names, (lora, strength), strict=True)))
        last = [f"lora {number}", 0]
    graph["sample"]["inputs"]["model"] = last
    graph["save"] = graphs.node("SaveLatent", samples=["sample", 0], filename_prefix="lora")
    (saved,) = [item for node in server.client.run(graph).values() for item in node.get("latents", [])]
    return safetensors.torch.load(server.client.view(saved))["latent_tensor"]


def test_loras_change_a_video_and_leave_no_trace(server, lora):
    plain = latent(server)
    changed = latent(server, 1.0, lora=lora)
    assert relative(changed, plain) > 0.1
    assert relative(latent(server, 0.5, 0.5, lora=lora), changed) < 1e-4
    assert relative(latent(server), plain) < 1e-5


def test_names_of_files_with_the_slashes_of_windows(server, lora):
    """A graph that was saved there: the LoRA and the model lie in subfolders."""
    loras, checkpoints = (server.base / "models" / kind for kind in ("loras", "checkpoints"))
    adapters.file(loras / "deep" / "er" / lora, load_file(loras / lora))
    assert relative(latent(server, 1.0, lora=f"deep\\er\\{lora}"), latent(server, 1.0, lora=lora)) < 1e-5
    for folder in (checkpoints / "deep" / "er", server.base / "models" / "text_encoders" / "deep"):
        folder.mkdir(parents=True, exist_ok=True)
    tiny.single_file(checkpoints / "deep" / "er" / "ltx.safetensors", "0.9.5")
    t5 = tiny.t5_file(server.base / "models" / "text_encoders" / "deep" / "t5xxl.safetensors")
    files = dict(model="checkpoints/deep\\er\\ltx.safetensors", text_encoder=f"deep\\{t5.name}")
    graph = graphs.text_to_video(**files, width=64, height=64, frames=9)
    assert graphs.frames(server.client, server.client.run(graph)).shape == (9, 64, 64, 3)


def test_cores_loader_loads_every_trainers_names(server, lora):
    """The same numbers under each trainer's names. Two ways of scaling: with an alpha in the file, and without."""
    state = {key: weight for file in POCKET.glob("*.safetensors") for key, weight in load_file(file).items()}
    modules = [name for name in adapters.matrices(state) if ".attn1.to_" in name]
    expected = {}
    for style, named in adapters.STYLES.items():
        path = server.base / "models" / "loras" / f"{style}.safetensors"
        file = adapters.file(path, adapters.adapter(state, modules, style))
        alpha = bool(named.alpha)
        if alpha not in expected:
            expected[alpha] = latent(server, 1.0, lora=file.name)
        made = latent(server, 1.0, node="LoraLoaderModelOnly", lora=file.name)
        assert relative(made, expected[alpha]) < 1e-5, style
    assert relative(expected[True], expected[False]) > 1e-2 < relative(expected[False], latent(server))


def test_what_the_node_tells():
    few = Applied(None, 8, (), (2, 2))
    many = Applied(None, 8, ("a", "b", "c", "d"), (1, 2))
    assert summary(few) == "8 weights changed, in 2 of 2 blocks."
    assert summary(many).splitlines()[1:] == [
        "4 parts of the file have no place here",
        "a",
        "b",
        "c",
        "... (all in the log)",
    ]


@pytest.mark.parametrize("chosen", ["automatic", "t5-v1_1-xxl-encoder-Q8_0.gguf"])
def test_gguf_network_and_text_encoder(server, chosen):
    models = server.base / "models"
    quantised.write(models / "diffusion_models" / "deeper" / "ltxv-2b-Q8_0.gguf", tiny.core_network().state_dict())
    state = {key: weight for key, weight in tiny.t5().state_dict().items() if "embed_tokens" not in key}
    names = quantised.t5_names(state)
    quantised.write(models / "text_encoders" / "t5-v1_1-xxl-encoder-Q8_0.gguf", names, architecture="t5encoder")
    (models / "vae").mkdir(exist_ok=True)
    tiny.single_file(models / "vae" / "ltx.safetensors")
    model = "diffusion_models/deeper/ltxv-2b-Q8_0.gguf"
    graph = graphs.text_to_video(model=model, text_encoder=chosen, width=64, height=64, frames=9)
    assert graphs.frames(server.client, server.client.run(graph)).shape == (9, 64, 64, 3)
