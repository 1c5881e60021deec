"""Diffusers scripts in the shape of the four families' model cards, read without being run."""

from __future__ import annotations

import pytest
from atelier.old_graphs import Installed, UnreadableGraph, from_script
from saved import of_type, source

COGVIDEOX = """
import torch
from diffusers import CogVideoXImageToVideoPipeline
from diffusers.utils import export_to_video, load_image

prompt = "A little girl is riding a bicycle, " + "wearing a red dress"
image = load_image(image="pictures/girl.png")
pipe = CogVideoXImageToVideoPipeline.from_pretrained("THUDM/CogVideoX-5b-I2V", torch_dtype=torch.bfloat16)
pipe.enable_sequential_cpu_offload()
pipe.vae.enable_tiling()
pipe.load_lora_weights("a/lora", weight_name="orbit.safetensors", adapter_name="orbit")
pipe.set_adapters(["orbit"], [0.8])
video = pipe(
    prompt=prompt, image=image, num_videos_per_prompt=1, num_inference_steps=50, num_frames=48 + 1, guidance_scale=6,
    generator=torch.Generator(device="cuda").manual_seed(42), eta=0.0,
).frames[0]
export_to_video(video, "output.mp4", fps=8)
"""
LTX = """
import torch
from diffusers import LTXConditionPipeline
from diffusers.pipelines.ltx.pipeline_ltx_condition import LTXVideoCondition
from diffusers.utils import export_to_video, load_image

pipe = LTXConditionPipeline.from_pretrained("Lightricks/LTX-Video-0.9.5", torch_dtype=torch.bfloat16).to("cuda")
first = LTXVideoCondition(image=load_image("a.png"), frame_index=0)
second = LTXVideoCondition(image=load_image("b.png"), frame_index=80)
width, height = 768, 512
pipe(conditions=[first, second], prompt="a car", negative_prompt="blurry", width=width, height=height,
     num_frames=161, num_inference_steps=40)
"""
MOCHI = """
pipe = MochiPipeline.from_pretrained("genmo/mochi-1-preview", variant="bf16", torch_dtype=torch.bfloat16)
frames = pipe("a panda", num_frames=84).frames[0]
export_to_video(frames, "mochi.mp4", fps=30)
"""
PYRAMID = """
model = PyramidDiTForVideoGeneration('pyramid-flow-miniflux', 'bf16', model_name="pyramid_flux",
                                     model_variant='diffusion_transformer_768p')
prompt = "A movie trailer"
with torch.no_grad(), torch.cuda.amp.autocast(enabled=True):
    frames = model.generate(prompt=prompt, num_inference_steps=[20, 20, 20], video_num_inference_steps=[10, 10, 10],
                            height=768, width=1280, temp=16, guidance_scale=7.0, video_guidance_scale=5.0,
                            output_type="pil", save_memory=True)
export_to_video(frames, "./text_to_video_sample.mp4", fps=24)
"""
INSTALLED = Installed(models=("diffusers/LTX-Video-0.9.5",), loras=("orbit.safetensors",))


def graph(script: str):
    converted = from_script(script.encode(), INSTALLED)
    return converted, converted.graph


def test_cogvideox_with_a_picture_and_a_lora():
    converted, new = graph(COGVIDEOX)
    assert of_type(new, "AtelierLoadVideoModel")["widgets_values"][:2] == ["diffusers/CogVideoX-5b-I2V", "bfloat16"]
    assert of_type(new, "AtelierLoadVideoLoRA")["widgets_values"] == ["orbit.safetensors", 0.8]
    words = of_type(new, "AtelierEncodeVideoPrompt")["widgets_values"]
    assert words[0] == "A little girl is riding a bicycle, wearing a red dress"
    assert of_type(new, "AtelierEmptyVideoLatent")["widgets_values"] == [0, 0, 0.0, 49, 0.0, 1]
    assert of_type(new, "AtelierSampleVideo")["widgets_values"] == [42, "fixed", 50, 6.0, 1.0]
    assert of_type(new, "AtelierDecodeVideo")["widgets_values"][0] == 8.0
    assert of_type(new, "LoadImage")["widgets_values"] == ["girl.png"]
    assert source(new, of_type(new, "AtelierPlaceFrames"), "images") == ("LoadImage", 0)
    assert converted.lost == ["eta 0 is lost: Sample Video has no such setting."]
    assert any("eta" in node["widgets_values"][0] for node in new["nodes"] if node["type"] == "Note")


def test_ltx_with_conditions_at_frames():
    _, new = graph(LTX)
    assert of_type(new, "AtelierLoadVideoModel")["widgets_values"][0] == "diffusers/LTX-Video-0.9.5"
    placed = [node["widgets_values"] for node in new["nodes"] if node["type"] == "AtelierPlaceFrames"]
    assert placed == [["first", 0.0, 1.0], ["at time", 3.333, 1.0]]
    assert of_type(new, "AtelierEmptyVideoLatent")["widgets_values"][:2] == [768, 512]


def test_mochi_and_pyramid():
    _, mochi = graph(MOCHI)
    assert of_type(mochi, "AtelierEncodeVideoPrompt")["widgets_values"][0] == "a panda"
    assert of_type(mochi, "AtelierEmptyVideoLatent")["widgets_values"][3] == 84
    _, pyramid = graph(PYRAMID)
    choice = of_type(pyramid, "AtelierLoadVideoModel")["widgets_values"][0]
    assert choice == "diffusers/pyramid-flow-miniflux/diffusion_transformer_768p"
    assert of_type(pyramid, "AtelierEmptyVideoLatent")["widgets_values"] == [1280, 768, 0.0, 121, 0.0, 1]
    assert of_type(pyramid, "AtelierSampleVideo")["widgets_values"][2:4] == [10, 5.0]


def test_a_script_is_never_run(tmp_path):
    trap = tmp_path / "ran"
    graph(f"open({str(trap)!r}, 'w').close()\n{MOCHI}")
    assert not trap.exists()


BAD = {
    "no Python": ("pipe = (", "line 1"),
    "nothing to see": ("print('hello')", "does not load and run a pipeline"),
    "another pipeline": ("p = FluxPipeline.from_pretrained('x'); p('y')", "CogVideoXPipeline"),
    "zero bytes": ("a = '\x00'", "that can be read"),
    "nested": ("(" * 5000 + ")" * 5000, "read"),
    "a long sum": ("+".join(["1"] * 60_000), "read|pipeline"),
    "large": ("#" * (300 << 10), "up to 256 KB"),
}


@pytest.mark.parametrize("script,words", BAD.values(), ids=BAD)
def test_what_is_no_such_script_gets_a_clear_word(script, words):
    with pytest.raises(UnreadableGraph, match=words):
        from_script(script.encode(), INSTALLED)


@pytest.mark.parametrize("call", ["pipe(**kwargs)", "pipe(prompt=input(), width=w, num_frames=f(3), generator=g)",
                                  "pipe(prompt=[1, None], width='wide', num_frames=10**400, guidance_scale=-1)",
                                  "pipe(conditions=[3], image=7, video=load_video(), temp='x')"])  # fmt: skip
def test_odd_arguments_are_left_to_the_models_own(call):
    converted, new = graph(f"pipe = LTXPipeline.from_pretrained('Lightricks/LTX-Video')\n{call}")
    assert of_type(new, "AtelierSampleVideo")["widgets_values"][0] == 0
