"""Speed Up Video: what a step takes from the one before, and that nothing is taken from where it does not belong."""

from __future__ import annotations

import copy
import logging
from functools import cached_property
from typing import Any

import comfy.context_windows
import comfy.model_base
import patches
import pytest
import tiny
import tiny_cogvideox
import tiny_mochi
import tiny_pyramid
import torch
from atelier.models.bridge.hooks.step_cache import STEP_CACHE, StepCache
from atelier.models.bridge.sampling import empty_latent, sample, with_options
from atelier.models.bridge.wrappers import speed
from atelier.models.families.pyramid_flow.network import OPTION, StageContext
from atelier.models.loading import load
from atelier.models.loading.identify import open_model
from atelier.models.timeline.placing import place
from atelier.models.timeline.spans import SPAN
from benchmarks.speed import counted
from diffusers import FirstBlockCacheConfig
from reference import relative

MODELS = {
    "ltx": tiny.folder,
    "mochi": tiny_mochi.folder,
    "cogvideox 5B": lambda path: tiny_cogvideox.folder(path, "5B"),
    "cogvideox 1.5": lambda path: tiny_cogvideox.folder(path, "1.5 5B"),
    "pyramid miniflux": lambda path: tiny_pyramid.folder(path, "miniflux"),
    "pyramid sd3": lambda path: tiny_pyramid.folder(path, "sd3"),
}
ALWAYS = 1e9
"""A threshold at which each step is taken from the one before, where there is one that it belongs to."""


class Tiny:
    """A tiny random MODEL, and clips of it by a number of steps at a threshold."""

    def __init__(self, model: Any) -> None:
        self.model, self.variant = model, model.model.variant
        self.network = model.model.diffusion_model
        self.blocks = sum(len(getattr(self.network, kind.blocks)) for kind in self.network.block_kinds)

    @cached_property
    def texts(self) -> list[list]:
        """Prompts that are not equally long."""
        generator, made = torch.Generator().manual_seed(1), []
        pooled = sum(tiny_pyramid.CLIPS[name]["width"] for name in self.variant.text.pooled)
        for length in (9, 5):
            options = {"attention_mask": (torch.arange(self.variant.text.tokens) < length).long()[None]}
            if pooled:
                options["pooled_output"] = torch.randn(1, pooled, generator=generator)
            size = 1, self.variant.text.tokens, self.variant.text.channels
            made.append([[torch.randn(size, generator=generator), options]])
        return made

    def latent(self, frames: int = 2, batch: int = 1) -> dict:
        side = 64 if self.model.model.family.sample else 48
        grid = self.variant.grid
        return empty_latent(grid.latent_shape(64, side, grid.frames(frames), batch), 8.0)

    def sampled(
        self,
        threshold: float | None,
        steps: int = 2,
        put: patches.Patched = lambda model: model,
        latent: dict | None = None,
        guidance: float = 3.0,
        texts: list[list] | None = None,
    ) -> tuple[torch.Tensor, int]:
        """The clip and how many blocks ran. threshold: None is without the node."""
        model = put(self.model)
        if threshold is not None:
            with pytest.MonkeyPatch.context() as changed:
                changed.setitem(speed.THRESHOLDS, "normal", threshold)
                return self.run(speed.with_step_cache(model, "normal"), steps, latent, guidance, texts)
        return self.run(model, steps, latent, guidance, texts)

    def run(
        self,
        model: Any,
        steps: int,
        latent: dict | None = None,
        guidance: float = 3.0,
        texts: list[list] | None = None,
    ) -> tuple[torch.Tensor, int]:
        latent = latent or self.latent()
        sigmas = model.model.family.schedule(self.variant, steps, tuple(latent["samples"].shape))
        with counted(self.network) as ran:
            made = sample(model, latent, *(texts or self.texts), seed=3, sigmas=sigmas, guidance=guidance)["samples"]
            return made, ran()

    def call(
        self, cache: StepCache | None, level: float, network: Any = None, frames: int = 2, rows: int = 1, **told: Any
    ) -> torch.Tensor:
        """A call of the network: `rows` clips, noisier and another for each level."""
        x = torch.randn(self.latent(frames)["samples"].shape, generator=torch.Generator().manual_seed(5))
        channels = getattr(self.network.config, "in_channels", x.shape[1])
        x = torch.cat([x * (level + row) for row in range(rows)]).repeat(1, channels // x.shape[1], 1, 1, 1)
        if OPTION in told:
            x = x[:, :, :1]
        words, options = self.texts[0][0]
        repeated = {name: value.expand(rows, *value.shape[1:]) for name, value in options.items()}
        if "pooled_output" in repeated:
            repeated["y"] = repeated.pop("pooled_output")
        options = told if cache is None else {STEP_CACHE: cache, **told}
        inputs = x, torch.full((rows,), 900.0 * level), words.expand(rows, -1, -1)
        with torch.no_grad():
            return (self.network if network is None else network)(*inputs, transformer_options=options, **repeated)


@pytest.fixture(
    scope="module",
    params=[pytest.param(name, marks=[pytest.mark.slow] if name == "pyramid sd3" else []) for name in MODELS],
)
def family(request, tmp_path_factory):
    return Tiny(load.load_model(open_model(MODELS[request.param](tmp_path_factory.mktemp("cache") / "model"))))


@pytest.fixture(scope="module")
def ltx(tmp_path_factory):
    return Tiny(load.load_model(open_model(tiny.folder(tmp_path_factory.mktemp("cache") / "model"))))


# ------------------------------------------------------------------------------------------------ what a step takes


def test_nothing_is_skipped_at_a_threshold_of_nothing(family):
    plain, cached = family.sampled(None), family.sampled(0.0)
    assert torch.equal(plain[0], cached[0]) and plain[1] == cached[1]


def test_a_skipped_step_runs_the_first_block_and_adds_what_the_others_added(family):
    """Beside diffusers' FirstBlockCache on the same network; Pyramid Flow, which it does not know, by hand."""
    told = {} if family.model.model.family.sample is None else {OPTION: StageContext([torch.zeros(1, 16, 1, 8, 8)])}
    cache = StepCache(ALWAYS)
    with counted(family.network) as ran:
        first, second = (family.call(cache, level, **told) for level in (1.0, 0.8))
        assert ran() == family.blocks + 1
    assert cache.saved == (family.blocks - 1) / (2 * family.blocks)
    assert torch.equal(first, family.call(None, 1.0, **told))
    expected = by_hand(family, told) if told else by_diffusers(family)
    assert relative(second, expected) <= 1e-6
    assert relative(second, family.call(None, 0.8, **told)) > 1e-6


def by_diffusers(family: Tiny) -> torch.Tensor:
    network = copy.deepcopy(family.network)
    network.enable_cache(FirstBlockCacheConfig(threshold=ALWAYS))
    with network.cache_context("one"):
        return [family.call(None, level, network) for level in (1.0, 0.8)][1]


def by_hand(family: Tiny, told: dict[str, Any]) -> torch.Tensor:
    """Notes the newest frame's 16 tokens behind the first and the last block, and replaces all behind the first."""
    behind: dict[str, torch.Tensor] = {}
    kinds = [(kind.kind, len(getattr(family.network, kind.blocks))) for kind in family.network.block_kinds]
    places = [(f"{kind}_block", number) for kind, count in kinds for number in range(count)]

    def noted(name: str):
        def block(args: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
            made = more["original_block"](args)
            behind[name] = made["img"][:, -16:]
            return made

        return block

    def passed_on(args: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
        return args

    def completed(args: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
        added = args["img"].clone()
        added[:, -16:] += behind["last"] - behind["first"]
        return {**args, "img": added}

    replaced = {places[0]: noted("first"), places[-1]: noted("last")}
    family.call(None, 1.0, patches_replace={"dit": replaced}, **told)
    skipped = dict.fromkeys(places[1:], passed_on) | {places[-1]: completed}
    return family.call(None, 0.8, patches_replace={"dit": skipped}, **told)


def test_each_stage_of_each_frame_begins_afresh(family):
    """All steps but a clip's first are shortened; of Pyramid Flow, all but the first of each stage of each frame."""
    made, ran = family.sampled(ALWAYS, steps=3)
    whole, steps = (1, 3) if family.model.model.family.sample is None else (2 * 3, 3 * (2 * 3 + 3))
    assert ran == whole * family.blocks + (steps - whole)
    assert relative(made, family.sampled(None, steps=3)[0]) > 1e-6


def test_the_decision_is_that_of_the_frame_that_changes_most(ltx):
    """Frames that are known, which do not change, do not hide the others."""
    cache = StepCache(0.5)
    call = cache.call([torch.Size((1, 128, 4, 2, 2))], (1, 1), {})
    tokens = torch.ones(1, 16, 8)
    call.begin([tokens], [2 * tokens], 3)
    call.end([3 * tokens])
    for change, skips in ((0.4, True), (0.6, False)):
        after = 2 * tokens
        after[:, -4:] += change
        again = cache.call([torch.Size((1, 128, 4, 2, 2))], (1, 1), {})
        again.begin([tokens], [after], 3)
        assert again.skips is skips


# ------------------------------------------------------------------------------------------------ whose memory it is


def test_a_batch_and_its_entries_alone(ltx):
    """Each entry of the conditioning is remembered by itself, whatever it shares a batch with."""
    together, apart = StepCache(ALWAYS), StepCache(ALWAYS)
    both = [ltx.call(together, level, rows=2, uuids=["a", "b"]) for level in (1.0, 0.8)][1]
    ltx.call(apart, 1.0, rows=2, uuids=["a", "b"])
    alone = ltx.call(apart, 0.8, uuids=["a"])
    assert relative(both[:1], alone) <= 1e-6 < relative(both[1:], alone)
    unknown = ltx.call(apart, 0.8, uuids=["c"])
    assert torch.equal(unknown, ltx.call(None, 0.8))
    assert [left_out for _, left_out in apart.calls] == [0, ltx.blocks - 1, 0]


def test_halves_of_the_guidance_one_by_one(family, monkeypatch):
    """As where memory is short: the clip is that of one batch."""
    whole, ran = family.sampled(ALWAYS, steps=4)
    monkeypatch.setattr(comfy.model_base.BaseModel, "memory_required", lambda *_, **__: 1e30)
    halves, ran_apart = family.sampled(ALWAYS, steps=4)
    assert ran_apart == 2 * ran and relative(halves, whole) <= 1e-5


def test_a_cancelled_run_and_the_next_one(family):
    class Cancelled(Exception):
        pass

    expected = family.sampled(ALWAYS, steps=3)
    calls = []

    def cancels(args: dict[str, Any]) -> torch.Tensor:
        calls.append(args)
        if len(calls) == 2:
            raise Cancelled
        return args["denoised"]

    def put(model: Any) -> Any:
        model = model.clone()
        model.set_model_sampler_post_cfg_function(cancels)
        return model

    with pytest.raises(Cancelled):
        family.sampled(ALWAYS, steps=3, put=put)
    assert family.network.hooks.cached is None
    for _ in range(2):
        made = family.sampled(ALWAYS, steps=3)
        assert torch.equal(made[0], expected[0]) and made[1] == expected[1]


def same(args: Any, *_: Any, **__: Any) -> Any:
    return args


PASSES = (
    {},
    {"stg_self_attn_blocks": [1]},
    {"patches_replace": {"dit": {("double_block", 1): same}}},
    {"patches_replace": {"dit": {("double_block", 0): lambda args, more: more["original_block"](args)}}},
    {"patches": {"attn1_output_patch": [same]}},
    {"optimized_attention_override": lambda attend, *args, **kwargs: attend(*args, **kwargs)},
)


def test_a_pass_with_other_patches_reads_no_other_pass(family):
    """Guidance by skipped layers, STG, NAG: the same prompt runs again in the same step, another way."""
    told = {} if family.model.model.family.sample is None else {OPTION: StageContext([torch.zeros(1, 16, 1, 8, 8)])}
    cache = StepCache(ALWAYS)
    for level in (1.0, 0.8):
        cache.next_evaluation()
        for options in PASSES:
            made = family.call(cache, level, uuids=["a"], **options, **told)
            if level == 1.0:
                assert torch.equal(made, family.call(None, level, **options, **told))
    assert [left_out > 0 for _, left_out in cache.calls] == [False] * len(PASSES) + [True] * len(PASSES)


@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_skip_layer_guidance_in_one_step_is_as_without_the_node(ltx, guidance):
    """There is no step before: whatever were skipped would belong to another pass."""
    given = dict(steps=1, put=patches.skip_layers("1"), guidance=guidance)
    plain, cached = ltx.sampled(None, **given), ltx.sampled(ALWAYS, **given)
    assert torch.equal(plain[0], cached[0]) and plain[1] == cached[1]
    assert ltx.sampled(ALWAYS, **given | dict(steps=3))[1] < 3 * plain[1]


def in_context_windows(model: Any) -> Any:
    model = model.clone()
    schedule = comfy.context_windows.get_matching_context_schedule("standard_static")
    fuse = comfy.context_windows.get_matching_fuse_method("pyramid")
    given = dict(context_length=2, context_overlap=0, context_stride=1, closed_loop=False, dim=2)
    handler = comfy.context_windows.IndexListContextHandler(context_schedule=schedule, fuse_method=fuse, **given)
    model.model_options["context_handler"] = handler
    return model


def storyboard(texts: list[list]) -> list[list]:
    """Two cards with the same words: the second begins where the first ends, in a window of its own."""
    positive, negative = texts
    cards = [with_options(positive, {SPAN: span})[0] for span in ((0.0, 0.4), (0.4, 99.0))]
    return [cards, negative]


@pytest.mark.parametrize("kind", ["context windows", "storyboard"])
def test_a_window_reads_no_other_window(ltx, kind):
    given = dict(put=in_context_windows) if kind == "context windows" else dict(texts=storyboard(ltx.texts))
    latent = ltx.latent(frames=4)
    plain, cached = (ltx.sampled(threshold, steps=1, latent=latent, **given) for threshold in (None, ALWAYS))
    assert plain[1] > ltx.blocks  # more than one window
    assert torch.equal(plain[0], cached[0]) and plain[1] == cached[1]
    shortened = ltx.sampled(ALWAYS, steps=3, latent=latent, **given)
    assert shortened[1] == plain[1] + plain[1] // ltx.blocks * 2


def test_known_frames_and_a_batch(family):
    """Two clips that begin with a known frame."""
    latent = family.latent(batch=2)
    latent = place(latent, torch.ones_like(latent["samples"])[:, :, :1], start=0, strength=1.0)
    plain, cached = (family.sampled(threshold, steps=3, latent=latent) for threshold in (None, ALWAYS))
    assert cached[0].shape == plain[0].shape and cached[1] < plain[1]
    assert cached[0].isfinite().all() and relative(cached[0], plain[0]) < 1


def test_a_latent_of_another_size_is_another(ltx):
    cache = StepCache(ALWAYS)
    for frames in (2, 3, 2):
        assert relative(ltx.call(cache, 0.7, frames=frames), ltx.call(None, 0.7, frames=frames)) <= 1e-6
    assert [left_out > 0 for _, left_out in cache.calls] == [False, False, True]


def test_what_an_evaluation_did_not_use_is_forgotten(ltx):
    """A pass that stopped, or a patch that a node makes anew at each step, leaves nothing behind."""
    cache = StepCache(ALWAYS)
    for entry in ("a", "b", "b", "a"):
        cache.next_evaluation()
        ltx.call(cache, 0.9, uuids=[entry])
    assert [left_out > 0 for _, left_out in cache.calls] == [False, False, True, False]


# ------------------------------------------------------------------------------------------------ the node


def test_words(ltx, caplog):
    with caplog.at_level(logging.INFO):
        models = [speed.with_step_cache(ltx.model, word) for word in speed.THRESHOLDS]
        counts = [ltx.run(model, 4)[1] for model in models]
    assert counts == sorted(counts, reverse=True)
    told = [record.getMessage() for record in caplog.records if "Speed Up Video" in record.getMessage()]
    assert [word for word in speed.THRESHOLDS if f"({word})" in " ".join(told)] == list(speed.THRESHOLDS)


def test_a_second_node_replaces_the_first_and_off_takes_it_away(ltx):
    fast = speed.with_step_cache(ltx.model, "fast")
    for word, runs in (("careful", 1), ("off", 0)):
        model = speed.with_step_cache(fast, word)
        found = [len(model.wrappers.get(kind, {}).get(speed.KEY, [])) for kind in ("outer_sample", "predict_noise")]
        assert found == [runs, runs]


@pytest.mark.slow
def test_a_compiled_network_takes_the_same(ltx):
    torch._dynamo.reset()
    results = []
    for network in (ltx.network, torch.compile(ltx.network, backend="eager")):
        cache = StepCache(ALWAYS)
        results.append([ltx.call(cache, level, network) for level in (1.0, 0.8, 0.6)])
        assert [left_out for _, left_out in cache.calls] == [0, 1, 1]
    assert all(relative(compiled, plain) <= 1e-6 for plain, compiled in zip(*results, strict=True))
    torch._dynamo.reset()
