"""LTX-2 with the nodes that newer ComfyUI has for latents of picture and sound, and with its own audio VAE."""

from __future__ import annotations

import json
import math

import case_ltx2
import comfy.samplers
import comfy.sd
import comfy.utils
import comfy_extras.nodes_lt as core
import pytest
import tiny_ltx2
import torch
from atelier.models.bridge.vae import decode_sound, encode_sound
from atelier.models.timeline.latent import sound_of, video_of
from case_ltx2 import FPS, FRAMES, SIZE, noise, relative
from comfy.nested_tensor import NestedTensor
from comfy_extras.nodes_custom_sampler import CFGGuider, Noise_RandomNoise, SamplerCustomAdvanced
from diffusers import LTX2Pipeline

pytestmark = pytest.mark.skipif(not hasattr(core, "LTXVConcatAVLatent"), reason="ComfyUI 0.33 and newer have them")

AUTOENCODER = {
    "model": {
        "params": {
            "ddconfig": {
                "double_z": True,
                "mel_bins": 64,
                "z_channels": 8,
                "resolution": 256,
                "downsample_time": False,
                "in_channels": 2,
                "out_ch": 2,
                "ch": 128,
                "ch_mult": [1, 1, 1],
                "num_res_blocks": 1,
                "attn_resolutions": [],
                "dropout": 0.0,
                "mid_block_add_attention": False,
                "norm_type": "pixel",
                "causality_axis": "height",
            },
            "sampling_rate": 16000,
        }
    },
    "preprocessing": {"stft": {"filter_length": 1024, "hop_length": 160}},
}
BIG_VGAN = {
    "resblock": "AMP1",
    "activation": "snakebeta",
    "use_tanh_at_final": False,
    "use_bias_at_final": False,
    "apply_final_activation": False,
    "upsample_initial_channel": 64,
}
VOCODERS = {
    "2.0": {
        "upsample_initial_channel": 64,
        "upsample_rates": [6, 5, 2, 2, 2],
        "upsample_kernel_sizes": [16, 15, 8, 4, 4],
    },
    "2.3": {
        "vocoder": BIG_VGAN | {"upsample_rates": [5, 2, 2, 2, 2, 2], "upsample_kernel_sizes": [11, 4, 4, 4, 4, 4]},
        "bwe": BIG_VGAN
        | {
            "upsample_rates": [6, 5, 2, 2, 2],
            "upsample_kernel_sizes": [12, 11, 4, 4, 4],
            "input_sampling_rate": 16000,
            "output_sampling_rate": 48000,
            "hop_length": 80,
            "n_fft": 512,
            "num_mels": 64,
        },
    },
}
"""What published files say of these parts in their metadata, with the sizes of the tiny ones."""


@pytest.fixture(scope="module", params=tiny_ltx2.VERSIONS)
def made(request, tmp_path_factory) -> case_ltx2.Made:
    return case_ltx2.made(request.param, tmp_path_factory.mktemp("ltx2"))


@pytest.fixture(scope="module")
def cores_audio_vae(made) -> comfy.sd.VAE:
    """As LTXVAudioVAELoader loads it."""
    names = {"audio_vae.": "autoencoder.", "vocoder.": "vocoder."}
    state = comfy.utils.state_dict_prefix_replace(tiny_ltx2.sound_state(made.pipe), names, filter_keys=True)
    config = {"audio_vae": AUTOENCODER, "vocoder": VOCODERS[made.version]}
    return comfy.sd.VAE(sd=state, metadata={"config": json.dumps(config)})


def by_guider(made, guider, latent: dict, steps: int = 3) -> list[torch.Tensor]:
    """The streams that SamplerCustomAdvanced makes with it, from the noise of seed 0."""
    sigmas = made.opened.family.schedule(made.opened.variant, steps, (1, 128, 3, 1, 1))
    sampler = comfy.samplers.sampler_object("euler")
    return SamplerCustomAdvanced.execute(Noise_RandomNoise(0), guider, sampler, sigmas, latent).args[0]["samples"]


def texts(made, latent: dict) -> list:
    return [made.conditioning(words, latent) for words in (tiny_ltx2.PROMPT, tiny_ltx2.NEGATIVE)]


def test_cores_empty_latents_and_ours_are_sampled_alike(made, cores_audio_vae):
    """Core's empty latents, joined, against Empty Video Latent; separated and joined again, nothing is lost."""
    from comfy_extras.nodes_lt_audio import LTXVEmptyLatentAudio

    (video,) = core.EmptyLTXVLatentVideo.execute(*SIZE, FRAMES, 1).args
    (audio,) = LTXVEmptyLatentAudio.execute(FRAMES, FPS, 1, cores_audio_vae).args
    (joined,) = core.LTXVConcatAVLatent.execute(video, audio).args
    ours = made.shot()
    for stream, own in zip(joined["samples"].unbind(), ours["samples"].unbind(), strict=True):
        assert torch.equal(stream, own)
    guider = CFGGuider.execute(made.model, *texts(made, ours), 3.0).args[0]
    sampled, expected = by_guider(made, guider, joined).unbind(), made.sampled(ours)
    assert [relative(*pair) < 1e-6 for pair in zip(sampled, expected, strict=True)] == [True, True]

    mask = NestedTensor([torch.ones(1, 1, 3, 3, 2), torch.zeros(1, 1, expected[1].shape[2], 1)])
    whole = {**ours, "samples": NestedTensor(list(expected)), "noise_mask": mask}
    again = core.LTXVConcatAVLatent.execute(*core.LTXVSeparateAVLatent.execute(whole).args).args[0]
    for key in ("samples", "noise_mask"):
        assert all(torch.equal(a, b) for a, b in zip(again[key].unbind(), whole[key].unbind(), strict=True))
    assert (again["frame_rate"], again["sound_rate"]) == (whole["frame_rate"], whole["sound_rate"])
    (other,) = core.LTXVConcatAVLatent.execute(whole, {"samples": expected[1][:, :, :5] + 1}).args
    assert torch.equal(video_of(other["samples"]), expected[0])
    assert sound_of(other["samples"]).shape == expected[1].shape  # core fits another sound to the picture


def test_cores_guidance_nodes_are_lightricks_guidance(made):
    """LTXVDualCFGGuider, LTXVSpatioTemporalGuidance and LTXVModalityGuidance on our MODEL, against LTX2Pipeline."""
    scales = dict(guidance_scale=3.0, stg_scale=1.0, modality_scale=3.0)
    more = {f"audio_{name}": value for name, value in {**scales, "guidance_scale": 7.0}.items()}
    theirs = made.reference(LTX2Pipeline, *noise(made), **scales, **more, spatio_temporal_guidance_blocks=[1])
    (model,) = core.LTXVSpatioTemporalGuidance.execute(made.model, 1.0, "1", 0.0, 1.0).args
    (model,) = core.LTXVModalityGuidance.execute(model, 3.0, 0.0, 1.0).args
    latent = made.shot()
    (guider,) = core.LTXVDualCFGGuider.execute(model, *texts(made, latent), 3.0, 7.0).args
    ours = by_guider(made, guider, latent).unbind()
    assert [relative(*pair) < 1e-5 for pair in zip(ours, theirs, strict=True)] == [True, True]


def test_sound_latents_are_those_of_cores_audio_vae(made, cores_audio_vae):
    """Core's audio VAE decodes our sound, and encodes a wave as ours does."""
    from comfy_extras.nodes_lt_audio import LTXVAudioVAEDecode

    generator = torch.Generator().manual_seed(3)
    latents = torch.randn(1, 8, 18, 16, generator=generator)
    (audio,) = LTXVAudioVAEDecode.execute({"samples": latents}, cores_audio_vae).args
    waves, rate = decode_sound(made.vae, latents)
    assert audio["sample_rate"] == rate and (audio["waveform"] - waves).abs().max() < 1e-4
    tones = torch.sin(torch.arange(16_000) / 16_000 * math.tau * torch.tensor([220.0, 3000.0])[:, None])[None]
    cores = cores_audio_vae.first_stage_model.encode(tones, 16_000)
    ours = encode_sound(made.vae, tones, 16_000, 20)
    assert relative(ours, cores[:, :, :20]) < 1e-5
