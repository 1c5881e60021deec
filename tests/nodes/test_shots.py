"""The editor's nodes in a real ComfyUI: every family, what an artist can get wrong."""

from __future__ import annotations

import graphs
import pytest
import tiny
import torch
from client import GraphRejected, JobFailed
from graphs import node
from safetensors.torch import load
from shipped_pocket import CHANNELS, SIDE


def edited(kind: str, changes: dict | None = None, steps: int = 2, **inputs) -> graphs.Prompt:
    """Text to video, then an editing node, Sample Video and Join Shot. `changes` apply to text to video."""
    graph = graphs.text_to_video(steps=steps, **(changes or {}))
    graph["shot"] = node(f"Atelier{kind}", vae=["load", 2], latent=["sample", 0], **inputs)
    again = dict(model=["load", 0], positive=["text", 0], negative=["text", 1], latent=["shot", 0])
    graph["again"] = node("AtelierSampleVideo", **again, seed=2, steps=steps, guidance=0, denoise=1)
    graph["join"] = node("AtelierJoinShot", latent=["again", 0])
    graph["decode"]["inputs"]["latent"] = ["join", 0]
    return graph


def latents(server, prompt: graphs.Prompt, *sources: str) -> list[torch.Tensor]:
    """The outputs of these nodes of a graph, saved by core's Save Latent."""
    graph = {key: value for key, value in prompt.items() if key not in ("decode", "save")}
    graph |= {f"keep {name}": node("SaveLatent", samples=[name, 0], filename_prefix="kept") for name in sources}
    outputs = server.client.run(graph)
    return [load(server.client.view(outputs[f"keep {name}"]["latents"][0]))["latent_tensor"] for name in sources]


EXTEND = dict(seconds=1.0, overlap=1.0)


@pytest.mark.parametrize("overlap,seen", [(0.5, 4), (1.0, 5), (99.0, 9), (0.0, 9)])
def test_what_an_extended_clip_was_stays_to_the_bit(server, overlap, seen):
    graph = edited("ExtendShot", dict(frames=25), direction="forward", seconds=1.0, overlap=overlap)
    clip, shot, longer = latents(server, graph, "sample", "again", "join")
    assert shot.shape[2] == seen and longer.shape[2] == 9
    assert torch.equal(longer[:, :, :7], clip) and longer[:, :, 7:].abs().mean() > 0.1


def test_an_extension_backward_keeps_all_but_the_first_frame(server):
    clip, longer = latents(server, edited("ExtendShot", direction="backward", **EXTEND), "sample", "join")
    assert longer.shape[2] == 7 and torch.equal(longer[:, :, 3:], clip[:, :, 1:])


def test_extending_is_repeated(server):
    graph = edited("ExtendShot", direction="forward", **EXTEND)
    graph["more"] = node("AtelierExtendShot", vae=["load", 2], latent=["join", 0], direction="forward", **EXTEND)
    graph["third"] = node(**{**graph["again"]["inputs"], "class_type": "AtelierSampleVideo", "latent": ["more", 0]})
    graph["all"] = node("AtelierJoinShot", latent=["third", 0])
    clip, longer, longest = latents(server, graph, "sample", "join", "all")
    assert (clip.shape[2], longer.shape[2], longest.shape[2]) == (5, 7, 9)
    assert torch.equal(longest[:, :, :7], longer)


def test_a_core_sampler_fills_a_shot(server):
    graph = edited("ExtendShot", direction="forward", **EXTEND)
    inputs = dict(model=["load", 0], positive=["text", 0], negative=["text", 1], latent_image=["shot", 0])
    settings = dict(seed=3, steps=2, cfg=2.0, sampler_name="euler", scheduler="simple", denoise=1.0)
    graph["again"] = node("KSampler", **inputs, **settings)
    clip, longer = latents(server, graph, "sample", "join")
    assert longer.shape[2] == 7 and torch.equal(longer[:, :, :5], clip)


@pytest.mark.parametrize("seam,made", [("short", 1), ("normal", 2), ("long", 3)])
def test_a_loop_keeps_its_length_and_what_is_not_the_seam(server, seam, made):
    clip, shot, loop = latents(server, edited("LoopShot", seam=seam, overlap=0.5), "sample", "shot", "join")
    assert loop.shape == clip.shape
    end = 5 - made - 1  # the loop begins one latent frame later than the clip
    assert torch.equal(loop[:, :, 1:end], clip[:, :, 2 : 5 - made]) and torch.equal(loop[:, :, -1], clip[:, :, 1])
    assert shot[:, :, -1 - made : -1].eq(0).all()
    assert loop[:, :, end : end + made].abs().mean() > 0.1


def test_a_loop_is_decoded_round_and_round(server):
    """Its first and last frames are decoded as in the clip, where they are neighbours."""
    graph = edited("LoopShot", dict(frames=33), steps=6, seam="normal", overlap=1.0)
    loop = graphs.frames(server.client, server.client.run(graph))
    graph["decode"]["inputs"]["latent"] = ["sample", 0]
    clip = graphs.frames(server.client, server.client.run(graph))
    assert (len(clip), len(loop)) == (33, 32)
    begin = 4 * 2 + 1 + 2  # the loop begins in the middle of the clip's fourth latent frame
    for mine, its in ((loop[:2], clip[begin : begin + 2]), (loop[-2:], clip[begin - 2 : begin])):
        assert (mine - its).abs().mean() < 2 / 255


def blend(**inputs) -> graphs.Prompt:
    graph = edited("ExtendShot", direction="forward", **EXTEND)
    settings = dict(model=["load", 0], positive=["text", 0], negative=["text", 1], latent=["empty", 0])
    graph["other"] = node("AtelierSampleVideo", **settings, seed=9, steps=2, guidance=0, denoise=1)
    given = dict(first=["sample", 0], second=["other", 0], seconds=1.0, curve="linear", points="0:0, 1:1", overlap=1.0)
    graph["shot"] = node("AtelierBlendShots", **(dict(vae=["load", 2]) | given | inputs))
    return graph


def test_a_blend_begins_as_one_clip_and_ends_as_the_other(server):
    one, other, both = latents(server, blend(), "sample", "other", "join")
    assert both.shape[2] == 7
    assert torch.equal(both[:, :, :3], one[:, :, :3]) and torch.equal(both[:, :, 5:], other[:, :, 3:])


def test_remix_strengths_are_shares_of_noise(server):
    graph = edited("ExtendShot", steps=8, direction="forward", **EXTEND)
    given = dict(model=["load", 0], latent=["sample", 0], strength="mild", custom=1.0)
    graph["shot"] = node("AtelierRemixShot", **given)
    graph["again"]["inputs"]["denoise"] = ["shot", 1]
    graph["join"] = graph["again"]

    def distance(strength: str) -> float:
        graph["shot"]["inputs"]["strength"] = strength
        clip, made = latents(server, graph, "sample", "again")
        return float((clip - made).abs().mean())

    subtle, mild, strong, custom = (distance(name) for name in ("subtle", "mild", "strong", "custom"))
    assert 0 < subtle < mild < strong < custom


def test_inpainting_keeps_what_is_not_masked(server):
    graph = edited("ExtendShot", direction="forward", **EXTEND)
    graph |= {
        "black": node("SolidMask", value=0.0, width=SIDE, height=SIDE),
        "white": node("SolidMask", value=1.0, width=SIDE * 5 // 16, height=SIDE),
        "mask": node("MaskComposite", destination=["black", 0], source=["white", 0], x=0, y=0, operation="add"),
    }
    graph["shot"] = node("AtelierInpaintShot", vae=["load", 2], latent=["sample", 0], mask=["mask", 0], strength=1.0)
    clip, made = latents(server, graph, "sample", "again")
    assert torch.allclose(made[..., 2:], clip[..., 2:], atol=1e-5)
    assert not torch.allclose(made[..., :2], clip[..., :2], atol=0.1)


def keyframes(times: str, strengths: str = "1", count: int = 3, **model) -> graphs.Prompt:
    graph = graphs.text_to_video(steps=2, **model)
    graph["image"] = node("EmptyImage", width=100, height=80, batch_size=count, color=0xF5F5F5)
    given = dict(vae=["load", 2], latent=["empty", 0], images=["image", 0], times=times, strengths=strengths)
    graph["shot"] = node("AtelierPlaceKeyframes", **given)
    graph["sample"]["inputs"]["latent"] = ["shot", 0]
    return graph


def test_keyframes_are_there_at_their_times(server):
    """In the latents of an early LTX Video; later ones read them beside the shot, as the pocket does."""
    tiny.folder(server.base / "models" / "diffusers" / "early", "0.9.0")
    model = dict(model="diffusers/early", width=64, height=64, frames=33, fps=16)
    placed, made = latents(server, keyframes("first, 1.0, last", **model), "shot", "sample")
    for where in (0, 2, 4):
        assert placed[:, :, where].abs().mean() > 0.1
        assert torch.allclose(made[:, :, where], placed[:, :, where], atol=1e-5)
    assert placed[:, :, [1, 3]].eq(0).all()


def test_variations_are_what_each_seed_makes_alone(server):
    graph = graphs.text_to_video(steps=2)
    graph["seeds"] = node("AtelierVariationSeeds", seed=7, count=3)
    graph["sample"]["inputs"]["seed"] = ["seeds", 0]
    graph["sheet"] = node("AtelierContactSheet", images=["decode", 1], frames=5, width=64, batch_size=1)
    graph["look"] = node("PreviewImage", images=["sheet", 0])
    graph["pick"] = node("AtelierPickVariation", latent=["sample", 0], number=2)
    graph["keep"] = node("SaveLatent", samples=["pick", 0], filename_prefix="kept")
    del graph["save"]
    outputs = server.client.run(graph)
    (sheet,) = outputs["look"]["images"]
    assert len(server.client.view(sheet)) > 1000
    chosen = load(server.client.view(outputs["keep"]["latents"][0]))["latent_tensor"]
    (alone,) = latents(server, graphs.text_to_video(steps=2, seed=8), "sample")
    assert torch.equal(chosen, alone)


def test_a_batch_is_picked_from_too(server):
    graph = graphs.text_to_video(steps=2, batch_size=3)
    graph["pick"] = node("AtelierPickVariation", latent=["sample", 0], number=3)
    batch, chosen = latents(server, graph, "sample", "pick")
    assert torch.equal(batch[2:], chosen)


@pytest.mark.parametrize(
    "kind,inputs",
    [
        ("ExtendShot", dict(direction="forward", seconds=0.3, overlap=0.3)),
        ("ExtendShot", dict(direction="backward", seconds=0.3, overlap=0.3)),
        ("LoopShot", dict(seam="short", overlap=0.5)),
        ("RecutShot", dict(cuts="0-0.3, gap 0.2, 0.5-", overlap=0.4)),
    ],
)
def test_another_family_is_edited_the_same_way(server, kind, inputs):
    tiny.folder(server.base / "models" / "diffusers" / "tiny-ltx", "0.9.5")
    model = dict(model="diffusers/tiny-ltx", width=64, height=64, frames=33)
    made = graphs.frames(server.client, server.client.run(edited(kind, model, **inputs)))
    assert (len(made) - (kind != "LoopShot")) % 8 == 0 and made.shape[1:] == (64, 64, 3)  # a loop has no first frame


def test_a_batch_is_extended_clip_by_clip(server):
    graph = edited("ExtendShot", dict(batch_size=2), direction="forward", **EXTEND)
    clips, longer = latents(server, graph, "sample", "join")
    assert longer.shape[:3] == (2, CHANNELS, 7) and torch.equal(longer[:, :, :5], clips)


def said(server, prompt: graphs.Prompt) -> str:
    """The lines that this graph's nodes write into ComfyUI's log."""
    before = len(server.log.read_text())
    latents(server, prompt, "again")
    return server.log.read_text()[before:]


def test_a_clip_of_another_rate_is_taken_and_said(server):
    graph = blend()
    graph["other size"] = node("AtelierEmptyVideoLatent", **{**graph["empty"]["inputs"], "fps": 16})
    graph["other"]["inputs"]["latent"] = ["other size", 0]
    assert "made for 16 fps, plays at 8" in said(server, graph)


def test_a_mask_of_another_size_and_length_is_taken_and_said(server):
    graph = edited("ExtendShot", direction="forward", **EXTEND)
    graph["white"] = node("EmptyImage", width=96, height=48, batch_size=3, color=0xFFFFFF)
    graph["mask"] = node("ImageToMask", image=["white", 0], channel="red")
    given = dict(vae=["load", 2], latent=["sample", 0], mask=["mask", 0], strength=1.0)
    graph["shot"] = node("AtelierInpaintShot", **given)
    words = said(server, graph)
    assert f"mask 96 x 48 scaled to {SIDE} x {SIDE}" in words and "3 masks stretched over 17 frames" in words


def complaint(server, prompt: graphs.Prompt) -> str:
    with pytest.raises(JobFailed) as raised:
        server.client.run(prompt)
    return raised.value.details["exception_message"]


def test_clips_of_other_sizes_are_not_blended(server):
    graph = blend(second=["wide", 0])
    graph["image"] = node("EmptyImage", width=SIDE * 3 // 2, height=SIDE, batch_size=17, color=0)
    graph["wide"] = node("VAEEncode", pixels=["image", 0], vae=["load", 2])
    message = complaint(server, graph)
    assert "4 x 4" in message and "6 x 4" in message and "size of the first" in message


def test_a_span_longer_than_a_clip(server):
    assert "shorter span" in complaint(server, blend(seconds=60.0))


def test_a_sampled_piece_is_to_be_joined_first(server):
    graph = edited("ExtendShot", direction="forward", **EXTEND)
    graph["more"] = node("AtelierExtendShot", vae=["load", 2], latent=["again", 0], direction="forward", **EXTEND)
    graph["join"]["inputs"]["latent"] = ["more", 0]
    assert "Join Shot" in complaint(server, graph)


def test_joining_what_was_never_cut(server):
    graph = edited("ExtendShot", direction="forward", **EXTEND)
    graph["join"]["inputs"]["latent"] = ["sample", 0]
    assert "nothing to join" in complaint(server, graph)


def test_an_image_is_too_short_for_a_loop(server):
    assert "too short for a loop" in complaint(server, edited("LoopShot", dict(frames=1), seam="short", overlap=1.0))


@pytest.mark.parametrize("cuts,named", [("0-1\nthen", "'then'"), ("3-4", "'3-4' holds no frame")])
def test_cuts_that_cannot_be_read(server, cuts, named):
    assert named in complaint(server, edited("RecutShot", cuts=cuts, overlap=1.0))


@pytest.mark.parametrize(
    "times,strengths,named",
    [
        ("first, last", "1", "3 images and 2 times"),
        ("first, 1, last", "1, 1", "3 images and 2 strengths"),
        ("first, soon, last", "1", "'soon'"),
        ("first, 9, last", "1", "'9'"),
        ("first, 2.0, last", "1", "'2.0' and 'last'"),
        ("first, 1, last", "1, 2, 1", "'2'"),
    ],
)
def test_keyframes_that_cannot_be_placed(server, times, strengths, named):
    assert named in complaint(server, keyframes(times, strengths))


def test_a_variation_that_is_not_there(server):
    graph = graphs.text_to_video(steps=1)
    graph["pick"] = node("AtelierPickVariation", latent=["sample", 0], number=3)
    graph["decode"]["inputs"]["latent"] = ["pick", 0]
    assert "There is no variation 3. Choose a number from 1 to 1" in complaint(server, graph)


@pytest.mark.parametrize(
    "prompt,named",
    [
        (edited("ExtendShot", direction="sideways", **EXTEND), "sideways"),
        (edited("LoopShot", seam="endless", overlap=1.0), "endless"),
        (blend(curve="wavy"), "wavy"),
        (blend(curve="points", points="0:0, later:1"), "later:1"),
    ],
)
def test_wrong_choices_are_rejected_before_anything_runs(server, prompt, named):
    with pytest.raises(GraphRejected, match=named):
        server.client.queue(prompt)
