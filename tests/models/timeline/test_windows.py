"""A clip in windows: how it is divided, and the result of sampling with the pocket model."""

from __future__ import annotations

import random

import comfy.sample
import comfy.samplers
import pytest
import torch
from atelier.editing import decoding
from atelier.models.bridge.sampling import empty_latent, with_frame_rate, with_options
from atelier.models.bridge.scenes import joined, scenes
from atelier.models.bridge.text_encoder import encode_text
from atelier.models.bridge.vae import decode, encode
from atelier.models.contract.grid import Grid
from atelier.models.library import folders
from atelier.models.loading import load as checkpoint
from atelier.models.loading.identify import open_model
from atelier.models.timeline import placing
from atelier.models.timeline.latent import CUTS
from atelier.models.timeline.openings import openings_of
from atelier.models.timeline.spans import CUT, ONLY, SPAN
from atelier.models.timeline.windows import Turn, Window, prompt_changes, windows
from benchmarks.allocated import Allocated
from pocket.world import draw_scenes, render
from shipped_pocket import CHANNELS, SIDE

START = [Turn(0, True)]
FPS, STEPS, CARD = 8.0, 2, 3
"""Frames a second; steps; latent frames of a card. The pocket makes five at once."""
ONE, TWO, THREE = "a red circle moving left", "a blue square moving up", "a green triangle growing"


def plan(count: int, *changes: Turn, known: tuple[int, ...] = (), longest: int = 8, context: int = 2) -> list[Window]:
    return list(windows([*START, *changes], [frame in known for frame in range(count)], longest, context))


def test_words_change_with_the_first_latent_frame_in_their_span():
    moments = [0.1, 0.5, 1.0, 1.5]
    entries = [{SPAN: (0.0, 0.4)}, {SPAN: (0.4, 1.0)}, {SPAN: (1.0, 9.0), CUT: True}, {SPAN: (5.0, 9.0)}, {}]
    assert prompt_changes(entries, moments) == [Turn(0, True), Turn(1, False), Turn(2, True)]
    assert prompt_changes([{}], moments) == START


def test_a_clip_that_fits_is_one_window():
    assert plan(8) == [Window(0, 0, 8, 8)]


def test_a_long_clip_is_made_in_pieces_that_see_the_end_of_the_one_before():
    assert plan(21) == [Window(0, 0, 8, 8), Window(6, 8, 14, 14), Window(12, 14, 20, 20), Window(18, 20, 21, 21)]


def test_where_words_change_a_window_begins():
    assert plan(6, Turn(1, False), Turn(4, False)) == [Window(0, 0, 1, 1), Window(0, 1, 4, 4), Window(2, 4, 6, 6)]


def test_behind_a_cut_nothing_is_seen_of_what_was_before():
    made = plan(8, Turn(3, True), Turn(4, False))
    assert made == [Window(0, 0, 3, 3), Window(3, 3, 4, 4, opening=1), Window(3, 4, 8, 8)]
    assert [window.lead for window in made] == [0, 1, 1]


def test_a_window_leads_to_what_is_known_right_behind_it_unless_there_is_a_cut():
    known = (3, 4, 5, 7)
    assert plan(8, Turn(3, False), known=known)[0] == Window(0, 0, 3, 5)
    assert plan(8, Turn(3, True), known=known)[0] == Window(0, 0, 3, 3)


def test_never_more_at_once_than_the_network_knows():
    changes = [Turn(frame, frame % 3 == 0) for frame in (5, 6, 30, 31, 33, 60)]
    made = plan(90, *changes)
    assert [(a.end, a.end) for a in made[:-1]] == [(b.start, b.start) for b in made[1:]] and made[-1].end == 90
    assert max(window.opening + window.until - window.begin for window in made) == 8


# ------------------------------------------------------------------------------------------------ with the pocket


@pytest.fixture(scope="module")
def pocket():
    folder = open_model(folders.model_path(folders.POCKET))
    return tuple(load(folder) for load in (checkpoint.load_model, checkpoint.load_clip, checkpoint.load_vae))


def cards(pocket, *words: str, cut: bool = False) -> list:
    """CONDITIONING of prompts that apply for CARD latent frames each."""
    grid, entries = pocket[0].model.variant.grid, []
    for place, text in enumerate(words):
        begin, end = ((grid.frames(at * CARD) if at else 0) / FPS for at in (place, place + 1))
        entries += with_options(encode_text(pocket[1], text)[0], {SPAN: (begin, end), CUT: cut})
    return entries


def empty(count: int) -> dict:
    return empty_latent((1, CHANNELS, count, 4, 4), FPS)


def sampled(pocket, positive: list, latent: dict, *, sampler="euler", sigmas=None, callback=None) -> torch.Tensor:
    """Latents by one of ComfyUI's samplers, without its progress bar."""
    texts = (with_frame_rate(each, latent) for each in (positive, encode_text(pocket[1], "")[0]))
    levels = torch.linspace(1, 0, STEPS + 1) if sigmas is None else sigmas
    samples, mask = latent["samples"], latent.get("noise_mask")
    noise = comfy.sample.prepare_noise(samples, 5)
    method = comfy.samplers.sampler_object(sampler)
    given = dict(noise_mask=mask, callback=callback, disable_pbar=True, seed=5)
    return comfy.sample.sample_custom(pocket[0], noise, 3.0, method, levels, *texts, samples, **given)


def test_one_card_that_fits_is_a_prompt(pocket):
    plain = encode_text(pocket[1], ONE)[0]
    assert torch.equal(sampled(pocket, cards(pocket, ONE), empty(CARD)), sampled(pocket, plain, empty(CARD)))


@pytest.mark.parametrize("cut", [False, True], ids=["flow", "cut"])
def test_each_part_is_made_with_its_own_words(pocket, cut):
    made, other, begun_otherwise = (
        sampled(pocket, cards(pocket, *words, cut=cut), empty(2 * CARD))
        for words in ((ONE, TWO), (ONE, THREE), (THREE, TWO))
    )
    first, second = made.split(CARD, dim=2)
    assert torch.equal(first, other[:, :, :CARD]), "what comes later changes nothing before it"
    assert not torch.allclose(second, other[:, :, CARD:], atol=1e-2)
    assert torch.equal(second, begun_otherwise[:, :, CARD:]) == cut, "behind a cut nothing is seen of what was before"


def test_what_is_known_stays_and_the_part_before_leads_there(pocket):
    positive, known = cards(pocket, ONE, TWO), torch.randn(1, CHANNELS, 1, 4, 4, generator=torch.manual_seed(1))
    free = sampled(pocket, positive, empty(2 * CARD))
    made = sampled(pocket, positive, placing.place(empty(2 * CARD), known, CARD, 1.0))
    assert torch.allclose(made[:, :, CARD : CARD + 1], known, atol=1e-6)
    assert not torch.allclose(made[:, :, :CARD], free[:, :, :CARD], atol=1e-2)
    late = sampled(pocket, positive, placing.place(empty(2 * CARD), known, CARD + 1, 1.0))
    assert torch.equal(late[:, :, :CARD], free[:, :, :CARD]), "only what is known right behind it"


def test_a_clip_that_is_known_already_is_left_alone(pocket):
    known = torch.randn(1, CHANNELS, 2 * CARD, 4, 4, generator=torch.manual_seed(1))
    made = sampled(pocket, cards(pocket, ONE, TWO), placing.place(empty(2 * CARD), known, 0, 1.0))
    assert torch.allclose(made, known, atol=1e-6)


def test_where_noise_is_left_all_is_made_at_once_with_the_words_over_time(pocket):
    """As with the first of two KSampler (Advanced): there is no finished frame to continue from."""
    half = torch.tensor([1.0, 0.5])
    made, one, two = (
        sampled(pocket, cards(pocket, *words), empty(2 * CARD), sigmas=half)
        for words in ((ONE, TWO), (ONE, ONE), (TWO, TWO))
    )
    assert torch.allclose(made, torch.cat([one[:, :, :CARD], two[:, :, CARD:]], dim=2), atol=1e-5)


def test_progress_counts_all_windows_and_shows_the_clip_so_far(pocket):
    told = []
    callback = lambda step, denoised, x, steps: told.append((step, steps, denoised.shape[2], x.shape[2]))  # noqa: E731
    made = sampled(pocket, cards(pocket, ONE, TWO, THREE), empty(3 * CARD), callback=callback)
    assert told == [(step, 6, 3 * (1 + step // 2), 3 * (1 + step // 2)) for step in range(6)]
    assert made.shape[2] == 3 * CARD


def test_cancelled_half_way_and_begun_again(pocket):
    def stop(step: int, *_) -> None:
        if step == STEPS:
            raise InterruptedError

    positive = cards(pocket, ONE, TWO)
    before = sampled(pocket, positive, empty(2 * CARD))
    with pytest.raises(InterruptedError):
        sampled(pocket, positive, empty(2 * CARD), callback=stop)
    assert torch.equal(sampled(pocket, positive, empty(2 * CARD)), before)


def test_samplers_that_add_noise_add_other_noise_in_each_window(pocket):
    made = sampled(pocket, cards(pocket, ONE, ONE, cut=True), empty(2 * CARD), sampler="euler_ancestral")
    assert made.isfinite().all() and not torch.allclose(made[:, :, :CARD], made[:, :, CARD:], atol=0.1)


@pytest.mark.parametrize("sampler", ["euler", "euler_ancestral"])
def test_scenes_sampled_apart_are_those_of_the_whole_clip(pocket, sampler):
    """Three scenes, the first of two cards, with a known frame behind a cut; also where a sampler adds noise."""
    positive = cards(pocket, ONE, TWO) + cards(pocket, ONE, TWO, THREE, ONE, cut=True)[2:]
    known = torch.randn(1, CHANNELS, 1, 4, 4, generator=torch.manual_seed(1))
    latent, levels = placing.place(empty(4 * CARD), known, 2 * CARD, 1.0), torch.linspace(1, 0, STEPS + 1)
    texts = with_frame_rate(positive, latent), with_frame_rate(encode_text(pocket[1], "")[0], latent)
    parts = scenes(pocket[0], latent, *texts, levels)
    assert parts == [(0, 2 * CARD), (2 * CARD, 3 * CARD), (3 * CARD, 4 * CARD)]
    apart, steps = [], []
    for only in parts:
        callback = lambda step, denoised, x, of: steps.append((step, of))  # noqa: E731
        asked = with_options(positive, {ONLY: only})
        apart.append((only, sampled(pocket, asked, latent, sampler=sampler, callback=callback)))
    whole = sampled(pocket, positive, latent, sampler=sampler)
    together = joined(pocket[0], *texts, apart)
    assert torch.equal(together, whole)
    assert list(openings_of(together)) == list(openings_of(whole)) == [2 * CARD, 3 * CARD]
    assert all(torch.equal(opening, openings_of(whole)[at]) for at, opening in openings_of(together).items())
    assert steps == [(0, 4), (1, 4), (2, 4), (3, 4), (0, 2), (1, 2), (0, 2), (1, 2)], "of its own windows alone"
    assert not torch.equal(apart[0][1], whole)
    for flowing in (cards(pocket, ONE, TWO), encode_text(pocket[1], ONE)[0]):
        assert scenes(pocket[0], latent, flowing, texts[1], levels) == [(0, 4 * CARD)]
    assert scenes(pocket[0], latent, *texts, levels[:-1]) == [(0, 4 * CARD)], "noise is left"


def peak(pocket, positive: list, count: int) -> int:
    """The peak of bytes in tensors during sampling, without the weights; and the sampled clip."""
    network = pocket[0].model.diffusion_model
    latent = empty(count)
    with torch.inference_mode(), Allocated([*network.parameters(), *network.buffers(), latent["samples"]]) as memory:
        sampled(pocket, positive, latent)
    return memory.peak


def test_memory_does_not_grow_with_the_board(pocket):
    few, many, cards_of_many = 2 * CARD, 24 * CARD, cards(pocket, *[ONE, TWO] * 12)
    clip = 4 * empty(many)["samples"].numel()  # bytes
    sampled(pocket, cards_of_many[:2], empty(few))  # what is made once
    small, large = peak(pocket, cards_of_many[:2], few), peak(pocket, cards_of_many, many)
    whole = peak(pocket, encode_text(pocket[1], ONE)[0], many)
    assert large - small <= 5 * clip, "only the clip, its noise and what is known of it are as long as the board"
    assert whole > 4 * large


# ------------------------------------------------------------------------------------------------ cuts in the decoder


def test_scenes_are_decoded_each_by_itself(pocket):
    one, two, other = torch.randn(3, CHANNELS, CARD, 4, 4, generator=torch.manual_seed(2)).split(1)
    made, begun_otherwise = (
        torch.cat(list(decoding.frames(pocket[2], {"samples": torch.cat([first, two], dim=2), CUTS: [CARD, 99]})))
        for first in (one, other)
    )
    frames = pocket[0].model.variant.grid.frames(CARD)
    assert len(made) == len(decode(pocket[2], torch.cat([one, two], dim=2)))
    assert torch.allclose(made[:frames], decode(pocket[2], one), atol=1e-6)
    assert torch.equal(made[frames:], begun_otherwise[frames:])


def test_a_later_scene_is_decoded_behind_the_opening_that_was_made_with_it(pocket):
    """Through one of ComfyUI's samplers; another clip made of it has no opening."""
    positive, latent = cards(pocket, ONE, TWO, cut=True), empty(2 * CARD)
    latent = {**latent, "samples": latent["samples"].repeat(2, 1, 1, 1, 1)}
    made = sampled(pocket, positive, latent)
    (start, opening), *others = openings_of(made).items()
    assert (start, others) == (CARD, []) and opening.shape == made[:, :, :1].shape
    shown = torch.cat(list(decoding.scenes_apart(pocket[2], made, [CARD]))).unflatten(0, (2, -1))
    own = decode(pocket[2], torch.cat([opening, made[:, :, CARD:]], dim=2)).unflatten(0, (2, -1))[:, 1:]
    assert torch.allclose(shown[:, -own.shape[1] :], own, atol=1e-5)
    assert not openings_of(made.clone())


def test_the_first_frame_of_a_later_scene_is_nearer_to_the_uncut_one(pocket):
    """Real clips, each cut where nothing changes: their frames at that place, against the whole clip's."""
    rng = random.Random(3)
    clips = (render(draw_scenes(6, rng), rng, width=SIDE, height=SIDE) + 1).movedim(1, -1) / 2
    latents, place = encode(pocket[2], clips), pocket[0].model.variant.grid.frames(2)

    def at(frames: list[torch.Tensor], place: int) -> torch.Tensor:
        return torch.cat(frames).unflatten(0, (len(clips), -1))[:, place]

    whole = at([decode(pocket[2], latents)], place)
    apart = at(list(decoding.scenes_apart(pocket[2], latents, [2])), place)
    doubled = at([decode(pocket[2], latents[:, :, [2, 2, 3, 4]])], 1)
    assert 0 < (apart - whole).pow(2).mean() < (doubled - whole).pow(2).mean()


@pytest.mark.parametrize("group", [1, 2])
def test_every_scene_is_a_clip_that_the_decoder_takes(group):
    grid, clip = Grid(channels=1, temporal=4, spatial=8, group=group), torch.arange(9.0).view(1, 1, 9, 1, 1)
    found = list(decoding.scenes(clip, [4, 7], grid))
    assert [start for start, *_ in found] == [0, 4, 7]
    assert sum(len(shown) for *_, shown in found) == grid.frames(9)
    assert all((part.shape[2] - 1) % group == 0 for _, part, _ in found)
    assert [part.flatten().tolist()[:2] for _, part, _ in found] == [[0, 1], [4, 4], [7, 7]]
