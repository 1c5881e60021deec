"""Patches of other nodes have the same effect on our MODEL as on ComfyUI core's networks with the same weights."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import comfy.model_patcher
import comfy.ops
import patches
import pytest
import tiny
import tiny_cogvideox
import tiny_mochi
import tiny_pyramid
import torch
from atelier.models.bridge.sampling import empty_latent, sample
from atelier.models.families.pyramid_flow.transformer import FrameAttention
from atelier.models.loading import load
from atelier.models.loading.identify import open_model
from benchmarks import step
from comfy.ldm.modules import attention
from comfy_extras import nodes_lt
from diffusers.models.attention_processor import CogVideoXAttnProcessor2_0, MochiAttnProcessor2_0
from diffusers.models.transformers.transformer_ltx import LTXVideoAttnProcessor
from reference import relative

# ------------------------------------------------------------------------------------------------ beside core's


class Pair:
    """Our MODEL and core's with the same weights, and one step of each."""

    def __init__(self, subject: step.Subject) -> None:
        self.subject = subject
        self.ours, state = step.our_model(subject)
        self.core = subject.core(state)
        self.plain = self.stepped(self.ours), self.stepped(self.core)

    def stepped(self, model: Any) -> torch.Tensor:
        made: list[torch.Tensor] = []
        step.in_sampler(model, self.subject, lambda euler: made.append(euler()) or [])
        return made[0]

    def effects(self, ours: patches.Patched, core: patches.Patched) -> tuple[torch.Tensor, torch.Tensor]:
        """The change that a patch makes in one step of each."""
        ours, core = (self.stepped(put(model)) for put, model in ((ours, self.ours), (core, self.core)))
        return ours - self.plain[0], core - self.plain[1]

    def calls(self, model: Any) -> list:
        noted: list = []
        self.stepped(patches.counting(noted)(model))
        return noted


@pytest.fixture(scope="module")
def ltx():
    with pytest.MonkeyPatch.context() as small:
        for name, value in {"num_layers": 4, "num_attention_heads": 4, "cross_attention_dim": 256}.items():
            small.setitem(step.NETWORK, name, value)
        yield Pair(next(subject for subject in step.subjects() if subject.name == "step"))


@pytest.fixture(scope="module")
def mochi():
    return Pair(next(subject for subject in step.subjects() if subject.name == "step, Mochi"))


LTX = {
    "attention is zero": (patches.override(patches.zeros),) * 2,
    "skipped layers": (patches.skip_layers("0, 2"),) * 2,
    "NAG": (patches.guided_attention, patches.guided_attention_in_core(lambda query: None)),
    "STG": (patches.values_passed_on(0, 1), patches.values_passed_on_in_core(0, 1)),
    "a block told other options": (patches.values_passed_on_in_core(2),) * 2,
    "STG of Lightricks": (patches.values_returned_in(1, 2),) * 2,
}
PROMPT = step.Subject.prompt_tokens
MOCHI = {
    "attention is zero": (patches.override(patches.zeros),) * 2,
    "skipped layers": (patches.skip_layers("0"),) * 2,
    "NAG": (patches.guided_attention, patches.guided_attention_in_core(lambda q: (0, q.shape[2] - PROMPT))),
    "STG": (patches.values_passed_on(1), patches.values_passed_on_in_core(1)),
}


@pytest.mark.parametrize("name", LTX)
def test_a_patch_changes_what_it_changes_in_cores_ltx(ltx, name):
    ours, core = ltx.effects(*LTX[name])
    assert core.norm() > 1e-3 * ltx.plain[1].norm()
    assert relative(ours, core) <= 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("name", MOCHI)
def test_a_patch_changes_what_it_changes_in_cores_mochi(mochi, name):
    ours, core = mochi.effects(*MOCHI[name])
    assert core.norm() > 1e-3 * mochi.plain[1].norm()
    assert relative(ours, core) <= 1e-5


def test_spatio_temporal_guidance_of_newer_comfyui(ltx):
    """Its node, which its LTXV itself does not heed, against core's way to say it to a block."""
    if not hasattr(nodes_lt, "LTXVSpatioTemporalGuidance"):
        pytest.skip("ComfyUI 0.32 and later have the node")

    def guided(model: Any) -> Any:
        return nodes_lt.LTXVSpatioTemporalGuidance.execute(model, 2.0, "1, 2", 0.0, 1.0)[0]

    def told(args: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
        options = args["transformer_options"]
        skipped = options["block_number"] in options.get("stg_self_attn_blocks", ())
        return more["original_block"]({**args, "transformer_options": {**options, "stg_skip_self_attn": skipped}})

    def guided_in_core(model: Any) -> Any:
        model = guided(model)
        for number in range(4):

            def of_block(args: dict[str, Any], more: dict[str, Any], number: int = number) -> dict[str, Any]:
                options = {**args["transformer_options"], "block_number": number}
                return told({**args, "transformer_options": options}, more)

            model.set_model_patch_replace(of_block, "dit", "double_block", number)
        return model

    ours, core = ltx.effects(guided, guided_in_core)
    assert core.norm() > 1e-3 * ltx.plain[1].norm()
    assert relative(ours, core) <= 1e-5


def test_an_override_is_called_as_often_as_in_cores_ltx(ltx):
    ours, core = ltx.calls(ltx.ours), ltx.calls(ltx.core)
    assert len(ours) == len(core) == 2 * 4  # self- and cross-attention of each layer
    assert ours == [("double", block) for block in range(4) for _ in range(2)]


@pytest.mark.slow
def test_an_override_is_called_as_often_as_in_cores_mochi(mochi):
    assert len(mochi.calls(mochi.ours)) == len(mochi.calls(mochi.core)) == 2


@pytest.fixture(scope="module")
def cogvideox():
    """Our network and that of newer ComfyUI with the same weights, as functions of transformer_options."""
    core = pytest.importorskip("comfy.ldm.cogvideo.model", reason="ComfyUI 0.33 and later have a CogVideoX")
    subject = next(subject for subject in step.subjects() if subject.name == "step, CogVideoX")
    small = {**subject.config, "num_layers": 2, "num_attention_heads": 4}
    model, state = step.our_model(replace(subject, config=small))
    arguments = {name: value for name, value in small.items() if name != "_class_name"}
    theirs = core.CogVideoXTransformer3DModel(**arguments, operations=comfy.ops.disable_weight_init).eval()
    renamed = {in_cores_layout(name): weight for name, weight in state.items()}
    left = theirs.load_state_dict(renamed, strict=False)
    assert not left.unexpected_keys and all("pos_embedding" in name for name in left.missing_keys)
    # ComfyUI's positions of 1.0 are not its authors' (counted from the corner, where theirs are centred): give it ours.
    ours = model.model.diffusion_model
    theirs._get_rotary_emb = lambda h, w, t, device: ours.positions(t, h * 2, w * 2, device)
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(2, *subject.shape[1:], generator=generator)
    inputs = x, torch.tensor([500.0] * 2), torch.randn(2, 226, step.TEXT_WIDTH, generator=generator)

    def run(network: torch.nn.Module) -> Callable[[dict[str, Any]], torch.Tensor]:
        def called(options: dict[str, Any]) -> torch.Tensor:
            with torch.no_grad():
                return network(*inputs, transformer_options={"cond_or_uncond": [0, 1], **options})

        return called

    return run(ours), run(theirs)


def in_cores_layout(name: str) -> str:
    for ours, core in (
        ("transformer_blocks.", "blocks."),
        ("time_embedding.linear_", "time_embedding_linear_"),
        ("attn1.norm_", "norm_"),
        ("attn1.to_out.0", "attn_out"),
        ("attn1.to_", ""),
        ("ff.net.0.proj", "ff_proj"),
        ("ff.net.2", "ff_out"),
    ):
        name = name.replace(ours, core)
    return name


def options_of(patched: patches.Patched) -> dict[str, Any]:
    """The transformer_options that a patch sets on a MODEL."""
    model = comfy.model_patcher.ModelPatcher(torch.nn.Module(), "cpu", "cpu")
    return patched(model).model_options["transformer_options"]


COGVIDEOX_TEXT = 226  # core's sequence begins with the text
COGVIDEOX = {
    "attention is zero": (patches.override(patches.zeros),) * 2,
    "NAG": (patches.guided_attention, patches.guided_attention_in_core(lambda q: (COGVIDEOX_TEXT, q.shape[1]))),
}


@pytest.mark.parametrize("name", COGVIDEOX)
def test_a_patch_changes_what_it_changes_in_cores_cogvideox(cogvideox, name):
    ours, core = (run(options_of(put)) - run({}) for run, put in zip(cogvideox, COGVIDEOX[name], strict=True))
    assert relative(*(run({}) for run in cogvideox)) <= 1e-5
    assert core.norm() > 1e-3 * cogvideox[1]({}).norm()
    assert relative(ours, core) <= 1e-5


def test_an_override_is_called_as_often_as_in_cores_cogvideox(cogvideox):
    counts: tuple[list, list] = [], []
    for run, noted in zip(cogvideox, counts, strict=True):
        run(options_of(patches.counting(noted)))
    assert len(counts[0]) == len(counts[1]) == 2


def test_a_feed_forward_in_pieces_is_the_same(ltx):
    """As KJNodes' chunked feed-forward does it, on core's layers and on ours."""

    def in_pieces(self: Any, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([self.net(part) for part in x.chunk(3, dim=1)], dim=1)

    def patched(model: Any) -> Any:
        model = model.clone()
        for number, block in enumerate(model.model.diffusion_model.transformer_blocks):
            forward = in_pieces.__get__(block.ff, type(block.ff))
            model.add_object_patch(f"diffusion_model.transformer_blocks.{number}.ff.forward", forward)
        return model

    assert relative(ltx.stepped(patched(ltx.ours)), ltx.plain[0]) <= 1e-6


def test_code_for_cores_network_fails_in_words(ltx):
    model, network = ltx.ours.clone(), ltx.ours.model.diffusion_model
    model.add_object_patch("diffusion_model.transformer_blocks.1.attn1.forward", lambda x, context=None, pe=None: x)
    with pytest.raises(ValueError, match=r"transformer_blocks\.1\.attn1, 1 in all.*hidden_states.*Remove that node"):
        ltx.stepped(model)

    def of_core(self: Any, x: torch.Tensor, *rest: Any, **kwargs: Any) -> torch.Tensor:
        return self.patchifier.patchify(x)

    model = ltx.ours.clone()
    model.add_object_patch("diffusion_model.forward", of_core.__get__(network, type(network)))
    with pytest.raises(ValueError, match="the whole, 1 in all.*'patchifier'"):
        ltx.stepped(model)
    with pytest.raises(ValueError, match="works with ComfyUI's own network alone"):
        network.__class__ = type(ltx.core.model.diffusion_model)
    with pytest.raises(AttributeError, match="has no 'blocks'.*made for another network"):
        _ = network.blocks
    assert relative(ltx.stepped(ltx.ours), ltx.plain[0]) == 0


def test_the_network_has_cores_name(ltx):
    assert type(ltx.ours.model.diffusion_model).__name__ == type(ltx.core.model.diffusion_model).__name__


# ------------------------------------------------------------------------------------------------ every family

MODELS = {
    "ltx": (lambda path: tiny.folder(path), LTXVideoAttnProcessor),
    "mochi": (lambda path: tiny_mochi.folder(path), MochiAttnProcessor2_0),
    "cogvideox 2B": (lambda path: tiny_cogvideox.folder(path, "2B"), CogVideoXAttnProcessor2_0),
    "cogvideox 5B": (lambda path: tiny_cogvideox.folder(path, "5B"), CogVideoXAttnProcessor2_0),
    "pyramid miniflux": (lambda path: tiny_pyramid.folder(path, "miniflux"), FrameAttention),
    "pyramid sd3": (lambda path: tiny_pyramid.folder(path, "sd3"), FrameAttention),
}


@pytest.fixture(scope="module", params=MODELS)
def family(request, tmp_path_factory):
    """(MODEL, its network's original attention processor, its clip without patches)"""
    write, stock = MODELS[request.param]
    model = load.load_model(open_model(write(tmp_path_factory.mktemp("hooks") / "model")))
    return model, stock, sampled(model)


def sampled(model: Any) -> torch.Tensor:
    """A small clip, sampled in one step from prompts of different lengths."""
    inner, generator = model.model, torch.Generator().manual_seed(1)
    variant = inner.variant
    shape = variant.grid.latent_shape(64, 64 if inner.family.sample else 48, variant.grid.frames(2))
    pooled = sum(tiny_pyramid.CLIPS[name]["width"] for name in variant.text.pooled)
    texts = []
    for length in (9, 5):
        options = {"attention_mask": (torch.arange(variant.text.tokens) < length).long()[None]}
        if pooled:
            options["pooled_output"] = torch.randn(1, pooled, generator=generator)
        words = torch.randn(1, variant.text.tokens, variant.text.channels, generator=generator)
        texts.append([[words, options]])
    sigmas = inner.family.schedule(variant, 1, shape)
    return sample(model, empty_latent(shape, 8.0), *texts, seed=3, sigmas=sigmas, guidance=3.0)["samples"]


def test_with_nothing_put_on_the_clip_is_that_of_the_authors_attention(family):
    model, stock, plain = family
    modules = [module for module in model.model.diffusion_model.modules() if hasattr(module, "processor")]
    ours = [module.processor for module in modules]
    assert modules
    try:
        for module in modules:
            module.processor = stock()
        assert relative(plain, sampled(model)) <= 1e-7
    finally:
        for module, processor in zip(modules, ours, strict=True):
            module.processor = processor


def test_nag_works(family):
    model, _, plain = family
    seen: list[tuple[int, tuple[int, ...]]] = []

    def noted(out: torch.Tensor, options: dict[str, Any]) -> torch.Tensor:
        start, end = options.get("img_slice") or (0, out.shape[1])
        seen.append((options["block_index"], (len(out), start, end, out.shape[1])))
        assert out.shape[2] == options["n_heads"] * options["dim_head"]
        return out

    guided = patches.guided_attention(model)
    guided.set_model_attn1_output_patch(noted)
    assert relative(sampled(guided), plain) > 1e-5
    assert {block for block, _ in seen} == {0, 1}
    assert all(batch == 2 and 0 <= start < end <= tokens for _, (batch, start, end, tokens) in seen)


def test_a_patch_of_queries_keys_and_values(family):
    """With keys of zero, each token becomes the mean of the tokens it attends to; an override can do the same."""
    model, _, plain = family

    def by_patch(q, k, v, pe=None, attn_mask=None, extra_options=None):
        return {"q": q, "k": torch.zeros_like(k), "v": v}

    def by_override(attend: Callable, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, *rest: Any, **kwargs: Any):
        return attend(q, k if kwargs.get("mask") is not None else torch.zeros_like(k), v, *rest, **kwargs)

    patched = model.clone()
    patched.set_model_patch(by_patch, "attn1_patch")
    made = sampled(patched)
    assert relative(made, sampled(patches.override(by_override)(model))) <= 1e-6 < relative(made, plain)


def test_skipped_layers(family):
    model, _, plain = family
    singles = len(getattr(model.model.diffusion_model, "single_transformer_blocks", ()))
    for kind in ("double", "single")[: 1 + bool(singles)]:
        assert relative(sampled(patches.skip_layers(**{kind: "0"})(model)), plain) > 1e-5, kind


def test_the_attention_chosen_at_start_is_the_one_that_runs(family, monkeypatch):
    model, _, plain = family
    calls = []

    def chosen(*args: Any, **kwargs: Any) -> torch.Tensor:
        calls.append(args)
        return attention.attention_sub_quad(*args, **kwargs)

    for name in ("optimized_attention", "optimized_attention_masked"):
        monkeypatch.setattr(attention, name, chosen)
    assert relative(sampled(model), plain) <= 1e-5
    assert calls


def test_kernels_without_masks_get_none(monkeypatch):
    """Sage would ignore a mask without a message, and Flash would warn at each call."""
    from atelier.models.bridge.hooks.attention import chosen_attention

    for name in ("optimized_attention", "optimized_attention_masked"):
        monkeypatch.setattr(attention, name, attention.attention_sage)
    assert chosen_attention(masked=False) is attention.attention_sage
    assert chosen_attention(masked=True) is attention.attention_pytorch


def test_what_is_not_served_is_named_once(family, caplog):
    model, _, plain = family

    def of_unets(n, context, value, extra_options):
        raise AssertionError("called with what it does not take")

    patched = patches.skip_layers(double="7", single="8")(model)
    patched.set_model_attn1_patch(of_unets)
    patched.set_model_patch(of_unets, "post_input")
    patched.set_model_patch_replace(of_unets, "attn2", "middle", 0)
    patched.model_options["transformer_options"]["stg_self_attn_blocks"] = frozenset({29})
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            assert relative(sampled(patched), plain) <= 1e-5
    told = [record.getMessage() for record in caplog.records if "a node" in record.getMessage()]
    assert len(told) == len(set(told)) == 6
    for words in ("'attn1_patch'", "'post_input'", "'attn2'", "double block 7", "single block 8", "of block 29"):
        assert sum(words in message for message in told) == 1, words


# ------------------------------------------------------------------------------------------------ compiled


@pytest.mark.parametrize("name", ["ltx", "cogvideox 5B"])
def test_a_compiled_network_is_one_graph(tmp_path, name):
    model = load.load_model(open_model(MODELS[name][0](tmp_path / "model")))
    network, variant = model.model.diffusion_model, model.model.variant
    x = torch.randn(2, *variant.grid.latent_shape(64, 48, 9)[1:])
    text = torch.randn(2, variant.text.tokens, variant.text.channels)
    skipped = {"patches_replace": {"dit": {("double_block", 0): lambda args, more: args}}}
    for options in (
        {},
        skipped,
        {"optimized_attention_override": lambda attend, *args, **kwargs: attend(*args, **kwargs)},
    ):
        torch._dynamo.reset()
        with torch.no_grad():
            found = torch._dynamo.explain(network)(x, torch.tensor([500.0] * 2), text, transformer_options=options)
        assert (found.graph_count, found.graph_break_count) == (1, 0), (options, found.break_reasons)
