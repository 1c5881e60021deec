"""Speed Up Video on picture and sound: both streams take from the step before, and both decide whether they may."""

from __future__ import annotations

import case_ltx2
import pytest
import torch
from atelier.models.bridge.hooks.step_cache import STEP_CACHE, StepCache
from atelier.models.bridge.wrappers import speed
from atelier.models.contract.guidance import ISOLATED
from atelier.models.timeline.latent import streams_of
from benchmarks.speed import counted
from case_ltx2 import FPS, relative

ALWAYS = 1e9


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> case_ltx2.Made:
    return case_ltx2.made("2.3", tmp_path_factory.mktemp("ltx2"))


def call(made, level: float, options: dict, sound_level: float | None = None) -> list[torch.Tensor]:
    """A call of the network, noisier and another for each level."""
    generator = torch.Generator().manual_seed(5)
    streams = [torch.randn(stream.shape, generator=generator) for stream in streams_of(made.shot()["samples"])]
    streams = [streams[0] * level, streams[1] * (sound_level or level)]
    network, time = made.model.model.diffusion_model, torch.tensor([900.0 * level])
    text = torch.randn(1, 32, sum(network.prepared_widths), generator=generator)
    with torch.no_grad():
        row = network(streams, (time, time, time), text, transformer_options=options, frame_rate=FPS)
    sizes = [stream.numel() for stream in streams]
    return [part.view_as(stream) for part, stream in zip(row[0, 0].split(sizes), streams, strict=True)]


def test_a_skipped_step_adds_what_the_other_blocks_added_to_both_streams(made):
    network, cache = made.model.model.diffusion_model, StepCache(ALWAYS)
    blocks, seen = network.transformer_blocks, {}
    with counted(network) as ran:
        first, second = (call(made, level, {STEP_CACHE: cache}) for level in (1.0, 0.8))
        assert ran() == len(blocks) + 1
    plain = call(made, 1.0, {})
    assert all(torch.equal(*pair) for pair in zip(first, plain, strict=True))

    hooks = [blocks[n].register_forward_hook(lambda *a, n=n: seen.update({n: a[-1]})) for n in (0, len(blocks) - 1)]
    call(made, 1.0, {})
    rest = [last - one for last, one in zip(seen[len(blocks) - 1], seen[0], strict=True)]
    last = blocks[-1].register_forward_hook(lambda *_: tuple(map(torch.add, seen[0], rest)))
    expected = call(made, 0.8, {})
    for hook in (*hooks, last):
        hook.remove()
    assert [relative(*pair) <= 1e-6 for pair in zip(second, expected, strict=True)] == [True, True]


def test_a_change_of_the_sound_alone_is_computed(made):
    cache, network = StepCache(0.05), made.model.model.diffusion_model
    call(made, 1.0, {STEP_CACHE: cache})
    with counted(network) as ran:
        call(made, 1.0, {STEP_CACHE: cache})
        assert ran() == 1
        call(made, 1.0, {STEP_CACHE: cache}, sound_level=0.3)
        assert ran() == 1 + len(network.transformer_blocks)


def test_isolated_streams_have_a_memory_of_their_own(made):
    cache, network = StepCache(ALWAYS), made.model.model.diffusion_model
    call(made, 1.0, {STEP_CACHE: cache})
    with counted(network) as ran:
        isolated = call(made, 1.0, {STEP_CACHE: cache, **ISOLATED})
        assert ran() == len(network.transformer_blocks)
    assert all(torch.equal(*pair) for pair in zip(isolated, call(made, 1.0, {**ISOLATED}), strict=True))


@pytest.mark.parametrize("guidance", [3.0, 0.0])
def test_a_threshold_of_nothing_changes_nothing(made, monkeypatch, guidance):
    """Also with Lightricks' guidance, of four calls a step."""
    plain = made.sampled(made.shot(), guidance=guidance)
    monkeypatch.setitem(speed.THRESHOLDS, "normal", 0.0)
    model = made.model
    made.model = speed.with_step_cache(model, "normal")
    try:
        cached = made.sampled(made.shot(), guidance=guidance)
    finally:
        made.model = model
    assert all(torch.equal(*pair) for pair in zip(plain, cached, strict=True))
