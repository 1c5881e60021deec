"""LTX-2: tiny random models against diffusers' pipelines, and every layout of published files against each other."""

from __future__ import annotations

import math
from dataclasses import replace

import case_ltx2
import comfy.sample
import comfy.samplers
import pytest
import tiny
import tiny_ltx2
import torch
from atelier.models.bridge.gemma import UNPROCESSED
from atelier.models.bridge.sampling import warnings
from atelier.models.bridge.vae import decode, decode_sound, encode, encode_sound
from atelier.models.families.ltx2 import family as ltx2
from atelier.models.families.ltx2 import sound as ltx2_sound
from atelier.models.families.ltx2.layouts import network_state
from atelier.models.loading import load
from atelier.models.loading.identify import OpenedModel, open_model
from atelier.models.loading.parts import with_parts
from atelier.models.timeline.latent import sound_of, video_of, with_mask
from atelier.models.weights.errors import CheckpointError
from case_ltx2 import FPS, FRAMES, SIZE, noise, relative
from diffusers import LTX2ImageToVideoPipeline, LTX2Pipeline
from safetensors.torch import load_file, save_file


@pytest.fixture(scope="module", params=tiny_ltx2.VERSIONS)
def made(request, tmp_path_factory) -> case_ltx2.Made:
    return case_ltx2.made(request.param, tmp_path_factory.mktemp("ltx2"))


def test_gemma_through_both_connectors(made):
    embeds, mask, *_ = made.pipe.encode_prompt(
        tiny_ltx2.PROMPT, do_classifier_free_guidance=False, max_sequence_length=tiny_ltx2.TOKENS
    )
    video, sound, _ = made.pipe.connectors(embeds, mask)
    ((text, options),) = made.clip.encode_from_tokens_scheduled(made.clip.tokenize(tiny_ltx2.PROMPT))
    assert options[UNPROCESSED] is True
    network = made.model.model.diffusion_model
    prepared = network.prepared_text(text, {UNPROCESSED: True, "device": torch.device("cpu")})
    assert relative(prepared, torch.cat([video, sound], dim=-1)) < 1e-5
    assert torch.equal(network.prepared_text(prepared, {}), prepared)  # as other nodes may hand it over


def test_words_to_latents_pixels_and_waves(made):
    ours, theirs = made.sampled(made.shot()), made.reference(LTX2Pipeline, *noise(made))
    assert [relative(*pair) < 1e-5 for pair in zip(ours, theirs, strict=True)] == [True, True]
    mean, std, sound_mean, sound_std = made.statistics()
    pixels = made.pipe.vae.decode(theirs[0] * std + mean, return_dict=False)[0][0].movedim(0, -1)
    assert (decode(made.vae, ours[0]) - ((pixels + 1) / 2).clamp(0, 1)).abs().max() < 1e-4
    spectrogram = made.pipe.audio_vae.decode(theirs[1] * sound_std + sound_mean, return_dict=False)[0]
    waves, rate = decode_sound(made.vae, ours[1])
    assert rate == {"2.0": 24_000, "2.3": 48_000}[made.version]
    assert (waves - made.pipe.vocoder(spectrogram)).abs().max() < 1e-4
    assert abs(waves.shape[-1] / rate - FRAMES / FPS) < 1 / FPS


def test_image_to_video(made):
    """The first latent frame is clean, at time 0, and the gates get the noise level of the other stream.

    diffusers gives the gates each stream's own timesteps, which Lightricks' code does not since May 2026.
    """
    video, sound = noise(made)
    first = video.flip(2)[:, :, :1]
    shot = made.shot()
    video_of(shot["samples"])[:, :, :1] = first
    mask = torch.ones(1, 1, *video.shape[2:])
    mask[:, :, 0] = 0
    ours = made.sampled(with_mask(shot, mask))
    network, level = made.pipe.transformer, {}
    hooks = [network.register_forward_pre_hook(lambda *a: level.update(sigma=a[2]["sigma"]), with_kwargs=True)]
    hooks += [
        gate.register_forward_pre_hook(lambda _, arguments: (level["sigma"].flatten(), *arguments[1:]))
        for gate in (network.av_cross_attn_video_a2v_gate, network.av_cross_attn_audio_v2a_gate)
    ]
    try:
        start = torch.cat([first, video[:, :, 1:]], dim=2)
        theirs = made.reference(LTX2ImageToVideoPipeline, start, sound)
    finally:
        for hook in hooks:
            hook.remove()
    assert [relative(*pair) < 1e-5 for pair in zip(ours, theirs, strict=True)] == [True, True]
    assert (ours[0][:, :, :1] - first).abs().max() < 1e-5


def test_guidance_of_lightricks(made):
    """Text, skipped self-attention, isolated streams and rescaling, each stream by its own numbers."""
    scales = dict(guidance_scale=3.0, stg_scale=1.0, modality_scale=3.0, guidance_rescale=0.7)
    own = ltx2.GUIDANCE[made.version]
    assert (own.video.text, own.video.stg, own.video.modality, own.video.rescale) == tuple(scales.values())
    more = {f"audio_{name}": value for name, value in {**scales, "guidance_scale": own.sound.text}.items()}
    theirs = made.reference(LTX2Pipeline, *noise(made), **scales, **more, spatio_temporal_guidance_blocks=[1])
    variant, inner = made.opened.variant, made.model.model
    inner.variant = replace(variant, guidance=replace(own, skipped=(1,)))
    try:
        ours = made.sampled(made.shot(), guidance=0.0)
    finally:
        inner.variant = variant
    assert [relative(*pair) < 1e-5 for pair in zip(ours, theirs, strict=True)] == [True, True]


def test_streamed_coders_equal_one_go(made, monkeypatch):
    generator = torch.Generator().manual_seed(1)
    pixels = torch.rand(1, 25, 64, 64, 3, generator=generator)
    mean, std, *_ = made.statistics()
    whole = made.pipe.vae.encode(pixels.movedim(-1, 1) * 2 - 1).latent_dist.mode()
    latents = encode(made.vae, pixels)
    assert relative(latents, (whole - mean) / std) < 1e-5
    decoded = made.pipe.vae.decode(latents * std + mean, return_dict=False)[0][0].movedim(0, -1)
    assert (decode(made.vae, latents) - ((decoded + 1) / 2).clamp(0, 1)).abs().max() < 1e-5
    if made.version == "2.0":  # its decoder mirrors the picture at the edges
        with pytest.raises(ValueError, match="at least 64 x 64 pixels"):
            decode(made.vae, latents[..., :1])
    sound = torch.randn(1, 8, 36, 16, generator=generator)
    one_go, _ = decode_sound(made.vae, sound)
    monkeypatch.setattr(ltx2_sound, "PIECE", 70)
    pieces, _ = decode_sound(made.vae, sound)
    assert (pieces - one_go).abs().max() < 1e-5


def test_sound_to_latents_has_their_length_and_takes_any_wave(made):
    generator = torch.Generator().manual_seed(2)
    for channels, rate, seconds in ((1, 8_000, 0.3), (2, 48_000, 2.0), (6, 44_100, 0.001)):
        waves = torch.rand(1, channels, max(1, round(rate * seconds)), generator=generator) * 2 - 1
        latents = encode_sound(made.vae, waves, rate, 18)
        assert latents.shape == (1, 8, 18, 16) and torch.isfinite(latents).all()
    assert torch.isfinite(encode_sound(made.vae, torch.zeros(1, 2, 100), 16_000, 1)).all()


def test_samplers_of_core_take_both_streams(made):
    """KSampler in one go and in two halves, SamplerCustomAdvanced with both of its outputs."""
    import nodes
    from comfy_extras.nodes_custom_sampler import CFGGuider, Noise_RandomNoise, SamplerCustomAdvanced

    shot = made.shot()
    positive, negative = (made.conditioning(words, shot) for words in (tiny_ltx2.PROMPT, tiny_ltx2.NEGATIVE))
    shared = (7, 4, 3.0, "euler", "simple", positive, negative)
    (whole,) = nodes.common_ksampler(made.model, *shared, shot)
    advanced = nodes.KSamplerAdvanced().sample
    (half,) = advanced(made.model, "enable", *shared, shot, 0, 2, "enable")
    (rest,) = advanced(made.model, "disable", *shared, half, 2, 4, "disable")
    streams = zip(rest["samples"].unbind(), whole["samples"].unbind(), strict=True)
    assert [relative(*pair) < 1e-5 for pair in streams] == [True, True]
    guider = CFGGuider.execute(made.model, positive, negative, 3.0)[0]
    arguments = Noise_RandomNoise(7), guider, comfy.samplers.sampler_object("euler"), torch.tensor([1.0, 0.6, 0.0])
    out, denoised = SamplerCustomAdvanced.execute(*arguments, shot).args
    pairs = zip(out["samples"].unbind(), denoised["samples"].unbind(), strict=True)
    assert [relative(*pair) < 1e-5 for pair in pairs] == [True, True]
    assert nodes.VAEDecode().decode(made.vae, whole)[0].shape == (FRAMES, SIZE[1], SIZE[0], 3)


def test_what_cannot_be_sampled_is_said(made):
    shot = made.shot()
    with pytest.raises(ValueError, match="only a picture. Create it with Empty Video Latent"):
        made.sampled({**shot, "samples": video_of(shot["samples"])})
    assert "not 120" in warnings(made.model, {**shot, "frame_rate": 120.0}, made.conditioning("a", shot))[0]
    assert warnings(made.model, shot, made.conditioning("a", shot)) == []


def test_schedule_is_lightricks(made):
    variant = made.opened.variant
    sigmas = ltx2.schedule(variant, 30, (1, 128, 16, 16, 24))
    times = torch.linspace(1, 1 / 30, 30, dtype=torch.float64)
    shifted = math.exp(2.05) / (math.exp(2.05) + 1 / times - 1)
    stretched = 1 - (1 - shifted) * (1 - 0.1) / (1 - shifted[-1])
    assert (sigmas[:-1] - stretched).abs().max() < 1e-6 and sigmas[-1] == 0
    assert torch.equal(sigmas, ltx2.schedule(variant, 30, (1, 128, 3, 2, 2)))  # whatever the size
    distilled = replace(variant, scheduler={"sigmas": ltx2.DISTILLED_SIGMAS})
    assert ltx2.schedule(distilled, 8, ()).tolist() == pytest.approx([*ltx2.DISTILLED_SIGMAS, 0.0])


# ---------------------------------------------------------------------------------------------- published files


def loaded_network(opened: OpenedModel) -> dict[str, torch.Tensor]:
    return load.load_model(opened, "float32").model.diffusion_model.state_dict()


@pytest.mark.parametrize("kind", ["whole", "fp8", "scaled"])
def test_single_files_hold_what_the_folder_holds(made, tmp_path, kind):
    opened = open_model(
        tiny_ltx2.single_file(tmp_path / f"ltx-{made.version}.safetensors", made.version, made.pipe, kind)
    )
    own, ours = loaded_network(made.opened), loaded_network(opened)
    assert own.keys() == ours.keys()
    exact = kind == "whole"
    for key, weight in own.items():
        if ours[key].dtype == weight.dtype and ours[key].shape == weight.shape:
            assert torch.equal(ours[key], weight) if exact else relative(ours[key].float(), weight) < 0.05, key
    vae, theirs = load.load_vae(opened).first_stage_model.state_dict(), made.vae.first_stage_model.state_dict()
    assert vae.keys() == theirs.keys() and all(torch.equal(vae[key], theirs[key]) for key in vae)
    gemma = tiny_ltx2.gemma_file(tmp_path / "gemma_3_12B_it.safetensors", made.pipe, scaled=kind == "scaled")
    clip = load.load_clip(opened, lambda: [gemma])
    ((text, _),) = clip.encode_from_tokens_scheduled(clip.tokenize("a red circle"))
    assert text.shape[-1] == opened.variant.text.channels and torch.isfinite(text).all()


def test_a_file_of_the_network_alone_finds_its_parts(made, tmp_path):
    state = tiny_ltx2.text_state(made.pipe)
    inside = {key: weight for key, weight in state.items() if key.startswith("model.")}
    files = {"text_encoders": [tmp_path / "ltx-2_connector.safetensors"], "vae": [tmp_path / "ltx-2_audio.safetensors"]}
    save_file(state, files["text_encoders"][0])
    save_file(tiny_ltx2.sound_state(made.pipe), files["vae"][0])
    path = tiny_ltx2.single_file(tmp_path / "ltx-2.safetensors", made.version, made.pipe, "network")
    alone = open_model(path)
    with pytest.raises(CheckpointError, match="connector"):
        load.load_model(alone)
    opened = with_parts(alone, lambda kind: files[kind])
    own, ours = loaded_network(made.opened), loaded_network(opened)
    assert own.keys() == ours.keys() and all(torch.equal(own[key], ours[key]) for key in own)
    assert inside and network_state(inside).keys() <= own.keys()
    video = tmp_path / "video.safetensors"
    save_file({key[4:]: weight for key, weight in tiny_ltx2.video_vae_state(made.pipe).items()}, video)
    assert load.load_vae(opened, lambda: [video]).first_stage_model.sound is not None
    with pytest.raises(CheckpointError, match="no audio VAE inside, and models/vae has no file with one"):
        load.load_vae(alone, lambda: [video])


def test_wrong_files_are_refused_by_name(made, tmp_path):
    path = tiny_ltx2.single_file(tmp_path / "model.safetensors", made.version, made.pipe, "network")
    state, key = load_file(path), "model.diffusion_model.transformer_blocks.0.attn1.to_q."
    newer = {name: weight for name, weight in state.items() if not name.endswith("ff.net.0.proj.bias")}
    save_file(newer, tmp_path / "newer.safetensors", tiny_ltx2.metadata(made.version))
    with pytest.raises(CheckpointError, match="is LTX-2.5, which needs a Gemma 4"):
        open_model(tmp_path / "newer.safetensors")
    fp4 = {f"{key}weight": torch.zeros(64, 32, dtype=torch.uint8), f"{key}weight_scale": torch.zeros(64, 4)}
    save_file(state | fp4 | {f"{key}weight_scale_2": torch.ones(1)}, tmp_path / "fp4.safetensors")
    with pytest.raises(CheckpointError, match="nvfp4"):
        open_model(tmp_path / "fp4.safetensors")
    whole = tiny_ltx2.single_file(tmp_path / "whole.safetensors", made.version, made.pipe)
    eight = {f"{key}weight": torch.zeros(64, 64, dtype=torch.int8), f"{key}weight_scale": torch.ones(64)}
    save_file(load_file(whole) | eight, tmp_path / "int8.safetensors", tiny_ltx2.metadata(made.version))
    with pytest.raises(CheckpointError, match="int8, perhaps convrot"):
        load.load_model(open_model(tmp_path / "int8.safetensors"))
    old = tmp_path / "vae.safetensors"
    save_file({k: w.contiguous() for k, w in tiny.core_autoencoder("0.9.5").state_dict().items()}, old)
    with pytest.raises(CheckpointError, match="is not a VAE of LTX-2"):
        load.load_vae(made.opened, chosen=old)
    wide = tmp_path / "gemma.safetensors"
    weights = load_file(tiny_ltx2.gemma_file(wide, made.pipe))
    save_file({k: w for k, w in weights.items() if "layers.1." not in k}, wide)
    with pytest.raises(CheckpointError, match=r"Gemma 3 of another size \(1 layers, 32 wide\)"):
        load.load_clip(made.opened, chosen=wide)
    with pytest.raises(CheckpointError, match="is not a Gemma 3"):
        load.load_clip(made.opened, chosen=tiny.t5_file(tmp_path / "t5.safetensors"))


def test_an_older_diffusers_is_told_what_to_install(made, monkeypatch):
    monkeypatch.setattr(ltx2, "version", lambda _: "0.36.0")
    with pytest.raises(CheckpointError, match="needs diffusers 0.39 or newer, this is 0.36.0. Install it"):
        load.load_model(made.opened)
    assert open_model(made.path).variant.name.startswith("LTX-2")


def test_an_ltx_video_model_refuses_the_vae_of_ltx2(made, tmp_path):
    path = tiny.folder(tmp_path / "ltx", "0.9.5")
    with pytest.raises(CheckpointError, match="is not a VAE of LTX Video|is not one of LTX Video"):
        save_file({k[4:]: w for k, w in tiny_ltx2.video_vae_state(made.pipe).items()}, tmp_path / "vae.safetensors")
        load.load_vae(open_model(path), chosen=tmp_path / "vae.safetensors")
    assert sound_of(made.shot()["samples"]).shape == (1, 8, 18, 16)
