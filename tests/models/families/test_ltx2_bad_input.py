"""What an artist can give wrongly to LTX-2's sound: each is said in words, and nothing is lost."""

from __future__ import annotations

import case_ltx2
import nodes
import pytest
import tiny_ltx2
import torch
from atelier.editing import decoding
from atelier.editing.placing import place_sound
from atelier.models.bridge.sampling import warnings
from atelier.models.timeline.latent import sound_mask_of, sound_of, video_of
from atelier.nodes.latent import PlaceFrames
from atelier.nodes.sample import schedule
from atelier.nodes.shots import ExtendShot
from case_ltx2 import FPS, FRAMES
from comfy.nested_tensor import NestedTensor

SECONDS = FRAMES / FPS


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> case_ltx2.Made:
    return case_ltx2.made("2.0", tmp_path_factory.mktemp("ltx2"))


def tone(seconds: float, rate: int = 16_000, channels: int = 2, batch: int = 1) -> torch.Tensor:
    wave = 0.5 * torch.sin(torch.arange(round(seconds * rate)) / rate * 2 * torch.pi * 440)
    return wave.expand(batch, channels, -1).clone()


def broken(seconds: float) -> torch.Tensor:
    wave = tone(seconds)
    wave[0, 0, 100:200], wave[0, 1, 50] = torch.nan, torch.inf
    return wave


@pytest.mark.parametrize(
    "wave,rate,time,kept,said",
    [
        (tone(3.0), 16_000, 0.0, 18, "its last 2.29 s are cut off: the shot ends"),
        (tone(0.2), 16_000, 0.0, 5, ""),  # the model makes the rest
        (tone(1.0), 16_000, 0.6, 3, "its last 0.89 s are cut off"),
        (tone(SECONDS, channels=1), 16_000, 0.0, 18, ""),
        (tone(SECONDS, channels=6), 16_000, 0.0, 18, "its 6 channels are mixed to two"),
        (tone(SECONDS, 8_000), 8_000, 0.0, 18, "8000 samples a second, so nothing above 4 kHz"),
        (tone(SECONDS, 44_100), 44_100, 0.0, 18, ""),
        (torch.zeros(1, 2, 16_000), 16_000, 0.0, 18, "it is silent"),
        (broken(SECONDS), 16_000, 0.0, 18, r"invalid samples in its sound \(NaN, infinite\), now silent: 101"),
        (tone(SECONDS) * 40, 16_000, 0.0, 18, "peaked at 20 times full scale and was clipped"),
    ],
)
def test_any_sound_is_placed_and_what_was_changed_is_said(made, wave, rate, time, kept, said):
    placed, begin, end, notes = place_sound(made.vae, made.shot(), wave, rate, time, 1.0)
    sound, mask = sound_of(placed["samples"]), sound_mask_of(placed)[0, 0, :, 0]
    first = round(time * 25)
    assert mask.tolist() == [1] * first + [0] * kept + [1] * (18 - first - kept)
    assert torch.isfinite(sound).all() and (begin, end) == (first / 25, (first + kept) / 25)
    assert said in "; ".join(notes) if "\\" not in said else said.replace("\\", "") in "; ".join(notes)
    assert bool(notes) == bool(said)


def test_five_one_is_mixed_as_players_do(made):
    """The centre is heard on both sides, the low-frequency channel on none."""
    only = torch.zeros(6, 1, 6, 16_000)
    for channel in range(6):
        only[channel, 0, channel] = tone(1.0)[0, 0]
    left, right, centre, low, *_ = (place_sound(made.vae, made.shot(), one, 16_000, 0.0, 1.0)[0] for one in only)
    sounds = [sound_of(each["samples"]) for each in (left, right, centre, low)]
    silence = sound_of(place_sound(made.vae, made.shot(), torch.zeros(1, 2, 16_000), 16_000, 0.0, 1.0)[0]["samples"])
    assert torch.allclose(sounds[3], silence) and not torch.allclose(sounds[2], silence, atol=1e-2)
    assert not torch.allclose(sounds[0], sounds[1], atol=1e-2)


@pytest.mark.parametrize(
    "wave,rate,time,said",
    [
        (tone(0.5), 16_000, 5.0, "is to begin at 5 s, but the shot ends at 0.71 s. Begin earlier"),
        (torch.zeros(1, 2, 0), 16_000, 0.0, "The sound is empty"),
        (tone(0.5), 0, 0.0, "has 0 samples a second, which is not a rate"),
        (tone(0.5, batch=3), 16_000, 0.0, "There are 3 sounds and 1 clips"),
    ],
)
def test_a_sound_that_cannot_be_placed_is_refused(made, wave, rate, time, said):
    with pytest.raises(ValueError, match=said):
        place_sound(made.vae, made.shot(), wave, rate, time, 1.0)


def test_a_sound_without_a_picture_is_refused_everywhere(made):
    """As ComfyUI's Separate AV Latent hands it over."""
    alone = {"samples": sound_of(made.shot()["samples"]) + 0.5, "frame_rate": FPS, "sound_rate": 25.0}
    text = made.conditioning(tiny_ltx2.PROMPT, alone)
    ways = (
        lambda: schedule(made.model, 2, 1.0, alone),
        lambda: list(decoding.frames(made.vae, alone)),
        lambda: nodes.VAEDecode().decode(made.vae, alone),
        lambda: place_sound(made.vae, alone, tone(0.5), 16_000, 0.0, 1.0),
        lambda: PlaceFrames.execute(made.vae, alone, torch.zeros(1, 64, 64, 3), "first", 0.0, 1.0),
        lambda: ExtendShot.execute(vae=made.vae, latent=alone, direction="forward", seconds=1.0, overlap=1.0),
    )
    for way in ways:
        with pytest.raises(ValueError, match="or a sound without its picture: join the two with"):
            way()
    # ComfyUI's KSampler makes a clip of one frame of it.
    with pytest.raises(ValueError, match="but LTX-2.0 samples video latents with 128 channels"):
        nodes.common_ksampler(made.model, 1, 2, 3.0, "euler", "simple", text, text, alone)


def test_a_sound_of_another_model_or_length_is_said(made):
    shot = made.shot()
    picture, text = video_of(shot["samples"]), made.conditioning(tiny_ltx2.PROMPT, shot)
    other = {**shot, "samples": NestedTensor([picture, torch.zeros(1, 4, 18, 8)])}
    with pytest.raises(ValueError, match=r"The sound of this latent has shape \[1, 4, 18, 8\].*another model"):
        made.sampled(other)
    longer = {**shot, "samples": NestedTensor([picture, torch.zeros(1, 8, 50, 16)])}
    assert "its sound is 2.00 s long, its picture 0.71" in warnings(made.model, longer, text)[0]
    heard = decoding.sound(made.vae, longer)
    assert heard["waveform"].shape[-1] / heard["sample_rate"] == pytest.approx(SECONDS, abs=1e-3)
    for rate in (24.0, 25.0, 30.0, 60.0):
        assert warnings(made.model, {**shot, "samples": shot_at(made, rate), "frame_rate": rate}, text) == []
    for rate in (12.0, 48.0, 120.0):
        said = warnings(made.model, {**shot, "samples": shot_at(made, rate), "frame_rate": rate}, text)
        assert f"frames a second, not {rate:g}" in said[0]


def shot_at(made, rate: float) -> NestedTensor:
    from atelier.models.bridge.sampling import empty_shot

    return empty_shot(made.opened.variant, (64, 64, FRAMES), rate)["samples"]
