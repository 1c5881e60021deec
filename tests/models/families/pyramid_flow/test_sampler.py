"""Whole runs against recordings of the authors' code with the recorded noise; and progress, masks, cancelling."""

from __future__ import annotations

import pyramid_vae
import pytest
import torch
from atelier.models.families.pyramid_flow import sampler
from atelier.models.families.pyramid_flow.causal_vae import STATISTICS, denormalised, normalised
from atelier.models.families.pyramid_flow.sampler import Progress, Settings, sample, seeded_block_noise
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution

LATENTS_TOLERANCE = 1e-3  # of values of order 20, after up to 40 steps under guidance 7


@pytest.fixture(scope="module")
def flux(network):
    return network("flux")


def draws(record, kind: str) -> list[torch.Tensor]:
    return [record[name] for name in sorted(record.tensors) if name.startswith("draw") and name.endswith(kind)]


def settings_of(facts: dict) -> Settings:
    rest = tuple(facts["video_num_inference_steps"])
    first = facts["num_inference_steps (first frame)"]
    return Settings(tuple(first or rest), rest, facts["guidance_scale"], facts["video_guidance_scale"])


class Guided:
    """The tiny network as `prepare`, with both prompts in one batch. It keeps the history that it gets."""

    def __init__(self, network, record, settings):
        self.network, self.settings, self.histories = network, settings, []
        pairs = ("embeds", "mask", "pooled")
        self.text, self.mask, self.pooled = (
            torch.cat([record[f"negative_{name}"], record[f"prompt_{name}"]]) for name in pairs
        )

    def __call__(self, frame, history, shape):
        self.histories.append(history)
        clips = [torch.cat([clip, clip]) for clip in history]
        layout = self.network.layout([*(clip.shape for clip in clips), (2, *shape[1:])], self.mask)
        guidance = self.settings.guidance_of(frame)

        def velocity(x, timestep):
            times = torch.full((2,), timestep)
            both = self.network([*clips, torch.cat([x, x])], times, self.text, self.pooled, layout)
            negative, positive = both.chunk(2)
            return negative + guidance * (positive - negative)

        return velocity


def known_image(record, vae) -> torch.Tensor:
    """The recorded image as the first frame [1, 16, 1, h, w]: the posterior sampled with the recorded noise."""
    pixels = record["input_image_uint8_hwc"].movedim(-1, 0)[None, :, None] / 127.5 - 1
    posterior = DiagonalGaussianDistribution(pyramid_vae.encode(vae, pixels, tile=256))
    (noise,) = draws(record, "vae_posterior_noise")
    return normalised(posterior.mean + posterior.std * noise, STATISTICS["miniflux"])


def replayed(record, flux, vae) -> tuple[torch.Tensor, list[Progress], Guided]:
    (noise,), blocks = draws(record, "initial_latent_noise"), iter(draws(record, "block_noise"))
    settings, reports = settings_of(record.facts), []
    prepare = Guided(flux, record, settings)
    known, make = None, None
    if record.facts["mode"] == "i2v":
        known, make = torch.zeros_like(noise), [False] + [True] * (noise.shape[2] - 1)
        known[:, :, :1] = known_image(record, vae)
    latents = sample(prepare, noise, settings, lambda shape: next(blocks), known, make, reports.append)
    assert next(blocks, None) is None
    return latents, reports, prepare


RUNS = ["flux_generate_t2v_temp3", "flux_generate_t2v_temp5", "flux_generate_i2v_temp3"]


@pytest.mark.parametrize("name", RUNS)
def test_latents_and_frames_equal_the_recorded(name, golden, flux, vae):
    record = golden(name)
    latents, reports, prepare = replayed(record, flux, vae)
    assert (latents - record["latents"]).abs().max() <= LATENTS_TOLERANCE
    steps = reports[0].steps
    assert [report.step for report in reports] == list(range(1, steps + 1))
    check_stages(record, reports, prepare, first=latents.shape[2] - len(record.facts["units"]))
    if "frames_uint8" in record.tensors:
        pixels = pyramid_vae.decode(vae, denormalised(latents, STATISTICS["miniflux"]), window=1, tile=256)
        frames = (pixels * 127.5 + 127.5).clamp(0, 255).to(torch.uint8)[0].movedim(0, -1)
        different = (frames.int() - record["frames_uint8"].int()).abs()
        assert different.max() <= 1 and (different > 0).float().mean() < 1e-3


def check_stages(record, reports, prepare, first):
    """Check each stage's last latent and history against the recording."""
    settings, histories, step = settings_of(record.facts), iter(prepare.histories), 0
    for unit in range(len(record.facts["units"])):
        for stage, steps in enumerate(settings.steps_of(first + unit)):
            step += steps
            end = record[f"unit{unit}.stage{stage}.end"]
            assert (reports[step - 1].x - end).abs().max() <= LATENTS_TOLERANCE
            seen = next(histories)
            name = f"unit{unit}.stage{stage}.past"
            past = [record[key] for key in sorted(record.tensors) if key.startswith(name)]
            if stage == 0 and past:  # recorded in two clips of one size, which is the same to the network
                past = [torch.cat(past, dim=2)]
            for ours, theirs in zip(seen, past, strict=False):
                assert ours.shape == theirs.shape and (ours - theirs).abs().max() <= LATENTS_TOLERANCE


def still(frame, history, shape):
    """A network whose velocity is always 0."""
    return lambda x, timestep: torch.zeros_like(x)


@pytest.mark.parametrize(
    "finished,expected",
    [
        (0, [[], [], []]),
        (1, [["1@0"], ["1@1"], ["1@2"]]),
        (2, [["2@0"], ["1@0", "1@1"], ["1@1", "1@2"]]),
        (5, [["5@0"], ["4@0", "1@1"], ["3@0", "1@1", "1@2"]]),
    ],
)
def test_history_is_coarser_the_longer_ago(finished, expected):
    frames = [torch.full((1, 1, 1, 8, 8), float(n)) for n in range(finished)]
    pyramids = [sampler.pyramid(frame) for frame in frames]
    for stage, clips in zip(sampler.STAGES, expected, strict=True):
        seen = sampler.history(pyramids, stage)
        level = {2: 0, 4: 1, 8: 2}
        assert [f"{clip.shape[2]}@{level[clip.shape[-1]]}" for clip in seen] == clips
        assert [x for clip in seen for x in clip[0, 0, :, 0, 0].tolist()] == list(range(finished))


def test_known_frames_stay_and_become_history():
    known, noise = torch.randn(2, 1, 1, 4, 8, 8)
    make, seen = [False, True, False, True], {}

    def watching(frame, history, shape):
        seen[frame] = torch.cat([clip.mean((3, 4), keepdim=True) for clip in history], dim=2)
        return still(frame, history, shape)

    before = known.clone()
    settings = Settings((1, 1, 1), (1, 1, 1))
    made = sample(watching, noise, settings, seeded_block_noise(0), known, make)
    assert torch.equal(known, before)
    assert torch.equal(made[:, :, [0, 2]], known[:, :, [0, 2]])
    assert sorted(seen) == [1, 3]
    torch.testing.assert_close(seen[3], made[:, :, :3].mean((3, 4), keepdim=True))


def test_going_on_from_a_clip_equals_never_having_stopped(flux, golden):
    """A clip's last frames serve as history, so the frames after them are the same."""
    record, settings = golden("flux_generate_t2v_temp3"), Settings((2, 2, 2), (2, 2, 2))
    prepare = Guided(flux, record, settings)
    noise = torch.randn(1, 16, 5, 8, 16, generator=torch.manual_seed(3))
    whole = sample(prepare, noise, settings, torch.zeros)
    known = torch.cat([whole[:, :, :3], torch.zeros_like(whole[:, :, 3:])], dim=2)
    make = [False] * 3 + [True] * 2
    # Generated frames take the first slices of the noise.
    made = sample(prepare, noise.roll(2, dims=2), settings, torch.zeros, known, make)
    assert torch.equal(made, whole)


def test_a_run_can_be_cancelled_at_any_step():
    class Cancelled(Exception):
        pass

    steps = []

    def stop(progress):
        steps.append(progress.step)
        if progress.step == 5:
            raise Cancelled

    settings = Settings((2, 2, 2), (1, 1, 1))
    with pytest.raises(Cancelled):
        sample(still, torch.randn(1, 1, 3, 8, 8), settings, seeded_block_noise(0), callback=stop)
    assert steps == [1, 2, 3, 4, 5]


def test_progress_counts_all_frames_stages_and_steps():
    reports = []
    settings = Settings((3, 2, 1), (1, 2, 1))
    sample(still, torch.randn(1, 1, 3, 8, 8), settings, seeded_block_noise(0), callback=reports.append)
    assert [report.steps for report in reports] == [14] * 14
    assert [report.finished.shape[2] for report in reports] == [0] * 6 + [1] * 4 + [2] * 4
