"""What an artist can get wrong, on a real server: the error is clear, and the server still makes a video."""

from __future__ import annotations

import os
import pickle
import shutil
import time
from pathlib import Path

import adapters
import graphs
import pytest
import quantised
import tiny
import tiny_cogvideox
import tiny_mochi
import tiny_pyramid
import torch
from benchmarks.layout import in_sat_layout
from client import GraphRejected, JobFailed, JobInterrupted
from safetensors.torch import load_file, save_file
from shipped_pocket import SPATIAL

POCKET = Path(__file__).parents[2] / "models" / "pocket"


@pytest.fixture(autouse=True)
def still_makes_a_video(server):
    """After a job that failed or was stopped, the next graph runs. A graph that was refused never reached the queue."""
    yield
    until = time.monotonic() + 60  # an error is reported before its job leaves the queue
    while any(server.client.get("/queue").values()):
        assert time.monotonic() < until, "a job is left in the queue"
        time.sleep(0.05)
    newest = list(server.client.get("/history?max_items=1").values())
    if newest and newest[-1]["status"]["status_str"] != "success":
        assert len(graphs.frames(server.client, server.client.run(graphs.text_to_video(steps=1, frames=9)))) == 9


def put(folder: Path, name: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder / name


def error(server, **changes) -> str:
    with pytest.raises(JobFailed) as raised:
        server.client.run(graphs.text_to_video(**changes))
    return raised.value.details["exception_message"]


def test_a_model_that_is_not_there_is_rejected_before_anything_runs(server):
    with pytest.raises(GraphRejected, match="model"):
        server.client.queue(graphs.text_to_video(model="checkpoints/gone.safetensors"))


def test_truncated_file(server, models):
    whole = tiny.single_file(put(models / "checkpoints", "cut.safetensors"))
    with whole.open("r+b") as file:
        file.truncate(whole.stat().st_size // 2)
    assert "incomplete" in error(server, model="checkpoints/cut.safetensors")


def test_text_file_with_a_models_name(server, models):
    put(models / "checkpoints", "words.safetensors").write_text(
        "version https://git-lfs.github.com/spec/v1\noid sha256:0\n"
    )
    assert "not a safetensors file" in error(server, model="checkpoints/words.safetensors")


def test_empty_file(server, models):
    put(models / "checkpoints", "nothing.safetensors").touch()
    assert "not a safetensors file" in error(server, model="checkpoints/nothing.safetensors")


@pytest.mark.parametrize("at_fault", ["model", "text encoder"])
def test_blocks_in_a_safetensors_file_are_the_fault_of_the_file_that_has_them(server, models, at_fault):
    """Rows of blocks are short, so the model seemed to need a narrower text encoder than the correct one."""
    folders = {"model": "checkpoints", "text encoder": "text_encoders"}
    paths = {part: put(models / folder, f"{folder}.safetensors") for part, folder in folders.items()}
    tiny.single_file(paths["model"])
    tiny.t5_file(paths["text encoder"])
    spoilt = quantised.write_blocks(put(models / folders[at_fault], "q4.safetensors"), load_file(paths[at_fault]))
    paths[at_fault] = spoilt
    message = error(server, model=f"checkpoints/{paths['model'].name}", text_encoder=paths["text encoder"].name)
    assert "q4.safetensors is quantised in a way that cannot be read" in message and "stored as U8" in message


def test_pickle_is_refused_and_never_run(server, models):
    trace = server.base / "the-pickle-ran"
    file = put(models / "checkpoints", "model.ckpt")
    file.write_bytes(pickle.dumps(_Touch(str(trace))))
    assert "pickle" in error(server, model="checkpoints/model.ckpt")
    assert not trace.exists()


class _Touch:
    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_model_of_another_kind(server, models):
    keys = ["model.diffusion_model.input_blocks.0.0.weight", "first_stage_model.encoder.conv_in.weight"]
    save_file({key: torch.zeros(4, 4) for key in keys}, put(models / "checkpoints", "sd15.safetensors"))
    message = error(server, model="checkpoints/sd15.safetensors")
    assert "sd15.safetensors" in message and "LTX Video" in message


def test_folder_without_an_index(server, models):
    put(models / "diffusers" / "half", "README.md").touch()
    message = error(server, model="diffusers/half")
    assert "model_index.json" in message and "README.md" in message


def test_folder_with_a_missing_shard(server, models):
    folder = tiny.folder(models / "diffusers" / "ltx")
    next(folder.glob("transformer/*00002-of*")).unlink()
    assert "00002-of" in error(server, model="diffusers/ltx")


def test_weights_that_do_not_fit(server, models):
    file = tiny.single_file(put(models / "checkpoints", "ltx.safetensors"))
    state = load_file(file)
    del state["model.diffusion_model.proj_out.bias"]
    save_file(state, file)
    tiny.t5_file(put(models / "text_encoders", "t5xxl.safetensors"))
    assert "proj_out.bias" in error(server, model="checkpoints/ltx.safetensors")


def test_cogvideox_fine_tune_that_is_not_known(server, models):
    folder = tiny_cogvideox.folder(models / "diffusers" / "tuned", "Fun 5B InP")
    config = folder / "transformer" / "config.json"
    config.write_text(config.read_text().replace('"in_channels": 33', '"in_channels": 21'))
    assert "takes 5 channels beside the clip's 16" in error(server, model="diffusers/tuned")


def test_cogvideox_fun_under_the_config_of_the_plain_model(server, models):
    folder = tiny_cogvideox.folder(models / "diffusers" / "plain", "Fun 5B InP")
    config = folder / "transformer" / "config.json"
    config.write_text(config.read_text().replace('"in_channels": 33', '"in_channels": 16'))
    message = error(server, model="diffusers/plain")
    assert "patch_embed.proj.weight" in message and "another variant" in message


def test_sat_file_with_keys_missing(server, models):
    state = in_sat_layout(tiny_cogvideox.network("5B").state_dict())
    del state["transformer.layers.1.mlp.dense_4h_to_h.weight"]
    tiny_cogvideox.single_file(put(models / "diffusion_models", "sat.safetensors"), state)
    tiny.t5_file(put(models / "text_encoders", "t5xxl.safetensors"))
    tiny_cogvideox.single_file(put(models / "vae", "cog.safetensors"), tiny_cogvideox.vae("5B").state_dict())
    assert "ff.net.2.weight" in error(server, model="diffusion_models/sat.safetensors")


def test_length_that_cogvideox_cannot_make_moves_to_the_nearest(server, models):
    tiny_cogvideox.folder(models / "diffusers" / "later", "1.5 5B")
    graph = graphs.text_to_video(model="diffusers/later", width=64, height=48, frames=14, steps=1)
    assert len(graphs.frames(server.client, server.client.run(graph))) == 17
    assert "frames 14 -> 17" in server.log.read_text()


def test_video_of_pyramid_flows_image_model(server, models):
    tiny_pyramid.folder(models / "diffusers" / "pyramid", "miniflux", ("image",))
    found = error(server, model="diffusers/pyramid/diffusion_transformer_image", frames=9)
    assert "makes single pictures, but this latent has 2 frames" in found and "384p, 768p" in found


@pytest.mark.slow
def test_float16_for_a_model_that_overflows_in_it(server, models):
    tiny_pyramid.folder(models / "diffusers" / "pyramid", "miniflux")
    graph = graphs.text_to_video(model="diffusers/pyramid/diffusion_transformer_384p", steps=1, frames=9)
    graph["load"]["inputs"]["weight_dtype"] = "float16"
    assert len(graphs.frames(server.client, server.client.run(graph))) == 9
    assert "cannot compute in float16" in server.log.read_text()


def test_control_clip_for_a_model_that_follows_none(server):
    graph = graphs.text_to_video(model="pocket mochi (built in)")
    graph["poses"] = graphs.node("EmptyImage", width=64, height=64, batch_size=17, color=0)
    inputs = dict(vae=["load", 2], latent=["empty", 0], images=["poses", 0])
    graph["control"] = graphs.node("AtelierControlVideo", positive=["text", 0], negative=["text", 1], **inputs)
    graph["sample"]["inputs"] |= dict(positive=["control", 0], negative=["control", 1])
    with pytest.raises(JobFailed) as raised:
        server.client.run(graph)
    assert "cannot use a control clip" in raised.value.details["exception_message"]


def test_no_text_encoder(server, models):
    tiny.single_file(put(models / "checkpoints", "ltx.safetensors"))
    message = error(server, model="checkpoints/ltx.safetensors")
    assert "T5-XXL" in message and "models/text_encoders" in message


def test_text_encoder_of_another_kind(server, models):
    save_file(
        {"text_model.embeddings.token_embedding.weight": torch.zeros(4, 4)},
        put(models / "text_encoders", "clip_l.safetensors"),
    )
    assert "not a T5 encoder" in error(server, text_encoder="clip_l.safetensors")


def test_text_encoder_of_another_size(server, models):
    tiny.t5_file(put(models / "text_encoders", "t5.safetensors"))
    assert "trained on" in error(server, text_encoder="t5.safetensors")


def test_vae_of_another_model(server, models):
    save_file({"decoder.conv_in.weight": torch.zeros(4, 4)}, put(models / "vae", "sd.safetensors"))
    assert "not a VAE of LTX Video" in error(server, vae="sd.safetensors")


@pytest.mark.parametrize(
    "width,height,frames,expected",
    [(70, 90, 12, (13, 96, 64)), (1, 1, 1, (1, SPATIAL, SPATIAL)), (64, 64, 2, (1, 64, 64))],
)
def test_illegal_sizes_move_to_the_nearest_legal(server, width, height, frames, expected):
    graph = graphs.text_to_video(width=width, height=height, frames=frames)
    made = graphs.frames(server.client, server.client.run(graph))
    assert made.shape == (*expected, 3)


WRONG = [dict(frames=-1), dict(width=10**6), dict(steps=-3), dict(fps="fast"), dict(style="nice")]


@pytest.mark.parametrize("changes", WRONG)
def test_numbers_out_of_range_are_rejected(server, changes):
    with pytest.raises(GraphRejected, match=next(iter(changes))):
        server.client.queue(graphs.text_to_video(**changes))


@pytest.mark.parametrize("prompt", ["", "   ", "red " * 10_000, "🔴⬅️ 赤い円", "((((", "a \\(circle\\) (moving:1.3)"])
def test_any_prompt_makes_a_video(server, prompt):
    assert len(graphs.frames(server.client, server.client.run(graphs.text_to_video(prompt=prompt)))) == 17


def test_latent_of_another_model_in_the_decoder(server):
    graph = graphs.text_to_video()
    graph["other"] = {"class_type": "EmptyLatentImage", "inputs": {"width": 64, "height": 64, "batch_size": 1}}
    graph["decode"]["inputs"]["latent"] = ["other", 0]
    with pytest.raises(JobFailed) as raised:
        server.client.run(graph)
    message = raised.value.details["exception_message"]
    assert "has shape [1, 4, 8, 8]. Expected: a video latent" in message and "Empty Video Latent" in message


@pytest.mark.parametrize(
    "sampler, words",
    [
        ("AtelierSampleVideo", "has shape [1, 4, 8, 8]. Expected: a video latent"),
        ("KSampler", "belongs to another model"),
    ],
)
def test_latent_of_another_model_in_the_sampler(server, sampler, words):
    put(server.base / "input", "")
    save_file(
        {"latent_tensor": torch.randn(1, 4, 8, 8), "latent_format_version_0": torch.tensor([])},
        server.base / "input" / "sd.latent",
    )
    graph = graphs.text_to_video()
    graph["other"] = {"class_type": "LoadLatent", "inputs": {"latent": "sd.latent"}}
    graph["sample"]["inputs"]["latent"] = ["other", 0]
    if sampler == "KSampler":
        graph["sample"] = _ksampler(latent=["other", 0])
    with pytest.raises(JobFailed) as raised:
        server.client.run(graph)
    assert words in raised.value.details["exception_message"]


def _ksampler(latent):
    inputs = dict(
        model=["load", 0], positive=["text", 0], negative=["text", 1], latent_image=latent, seed=1, steps=2, cfg=3.0
    )
    return {"class_type": "KSampler", "inputs": inputs | dict(sampler_name="euler", scheduler="simple", denoise=1.0)}


def test_text_of_another_model(server, models):
    tiny.folder(models / "diffusers" / "ltx")
    graph = graphs.text_to_video()
    graph["text"]["inputs"]["clip"] = ["other", 1]
    graph["other"] = {
        "class_type": "AtelierLoadVideoModel",
        "inputs": graph["load"]["inputs"] | {"model": "diffusers/ltx"},
    }
    with pytest.raises(JobFailed) as raised:
        server.client.run(graph)
    assert "another model's text encoder" in raised.value.details["exception_message"]


@pytest.mark.parametrize("part,word", [("transformer", "Sampling gave"), ("vae", "The VAE decoded")])
def test_not_a_number_in_the_weights(server, models, part, word):
    folder = shutil.copytree(POCKET, models / "diffusers" / "broken")
    (file,) = (folder / part).glob("*.safetensors")
    state = load_file(file)
    key = next(
        key
        for key in state
        if key.endswith("proj_out.weight" if part == "transformer" else "decoder.conv_out.conv.weight")
    )
    state[key][:] = torch.nan
    save_file(state, file)
    message = error(server, model="diffusers/broken")
    assert word in message and "NaN" in message


def test_interrupted_half_way_and_queued_again(server):
    steps = []

    def stop_half_way(kind, data):
        if kind == "progress" and data["value"] >= 5 and not steps:
            steps.append(data["value"])
            server.client.interrupt()

    graph = graphs.text_to_video(steps=400, seed=77)
    with pytest.raises(JobInterrupted):
        server.client.run(graph, stop_half_way)
    assert steps and steps[0] < 400
    graph["sample"]["inputs"]["steps"] = 2
    assert len(graphs.frames(server.client, server.client.run(graph))) == 17


def with_lora(model: str = "pocket (built in)") -> dict:
    graph = graphs.text_to_video(model=model)
    graph["lora"] = graphs.node("AtelierLoadVideoLoRA", model=["load", 0], lora="bad.safetensors", strength=1.0)
    graph["sample"]["inputs"]["model"] = ["lora", 0]
    return graph


def lora_error(server, graph: dict) -> str:
    with pytest.raises(JobFailed) as raised:
        server.client.run(graph)
    return raised.value.details["exception_message"]


def test_lora_that_is_not_there_is_rejected_before_anything_runs(server):
    with pytest.raises(GraphRejected, match="lora"):
        server.client.queue(with_lora())


def test_lora_of_another_family(server, models):
    state = tiny_mochi.network().state_dict()
    names = [name for name in adapters.matrices(state) if "add_" in name]
    adapters.file(put(models / "loras", "bad.safetensors"), adapters.adapter(state, names))
    message = lora_error(server, with_lora())
    assert "bad.safetensors" in message and "Mochi 1" in message


def test_lora_of_another_size(server, models):
    state = tiny.pipeline().transformer.state_dict()
    adapters.file(put(models / "loras", "bad.safetensors"), adapters.adapter(state, adapters.matrices(state)))
    message = lora_error(server, with_lora())
    assert "does not fit" in message and "another size of LTX Video" in message


def test_lora_whose_halves_have_no_rank_in_common(server, models):
    halves = {
        "transformer.proj_in.lora_A.weight": torch.zeros(4, 128),
        "transformer.proj_in.lora_B.weight": torch.zeros(64, 8),
    }
    adapters.file(put(models / "loras", "bad.safetensors"), halves)
    message = lora_error(server, with_lora())
    assert "no rank in common" in message and "proj_in" in message


def test_lora_with_one_half(server, models):
    adapters.file(put(models / "loras", "bad.safetensors"), {"transformer.proj_in.lora_A.weight": torch.zeros(4, 128)})
    assert "lora_B" in lora_error(server, with_lora())


def test_text_file_with_a_loras_name(server, models):
    put(models / "loras", "bad.safetensors").write_text("trigger word: watercolour, 1girl, masterpiece")
    assert "not a safetensors file" in lora_error(server, with_lora())


def test_model_where_a_lora_belongs(server, models):
    tiny.single_file(put(models / "loras", "bad.safetensors"))
    assert "is not a LoRA" in lora_error(server, with_lora())


def test_truncated_gguf(server, models):
    whole = quantised.write(put(models / "diffusion_models", "ltx-q8_0.gguf"), tiny.core_network().state_dict())
    with whole.open("r+b") as file:
        file.truncate(whole.stat().st_size // 2)
    assert "incomplete GGUF" in error(server, model="diffusion_models/ltx-q8_0.gguf")


def test_gguf_of_an_unknown_architecture(server, models):
    state = {"double_blocks.0.img_attn.qkv.weight": torch.zeros(96, 32), "img_in.weight": torch.zeros(32, 64)}
    quantised.write(put(models / "diffusion_models", "flux-q8_0.gguf"), state, architecture="flux")
    message = error(server, model="diffusion_models/flux-q8_0.gguf")
    assert "flux-q8_0.gguf is not a model of a family" in message


def test_gguf_where_a_text_encoder_belongs(server, models):
    quantised.write(put(models / "text_encoders", "ltx.gguf"), tiny.core_network().state_dict())
    assert "not a T5 encoder" in error(server, text_encoder="ltx.gguf")


def test_two_jobs_at_once_both_finish(server):
    jobs = [server.client.queue(graphs.text_to_video(seed=seed, steps=3)) for seed in (5, 6)]
    first, second = (graphs.frames(server.client, server.client.wait(job)) for job in jobs)
    assert first.shape == second.shape and not torch.equal(first, second)
