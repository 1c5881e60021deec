"""Both transformers against recorded calls of the authors' code, and their key names against published checkpoints."""

from __future__ import annotations

import copy

import pytest
import torch
from atelier.models.families.pyramid_flow import transformer
from atelier.models.families.pyramid_flow.transformer import PyramidDiffusionMMDiT, PyramidFluxTransformer

PUBLISHED = {"miniflux_transformer": PyramidFluxTransformer, "sd3_transformer": PyramidDiffusionMMDiT}
VARIANTS = pytest.mark.parametrize("variant", ["flux", "sd3"])


@pytest.fixture(scope="module")
def nets(network):
    return {variant: network(variant) for variant in ("flux", "sd3")}


def clips_of(golden, case):
    names = sorted(name for name in golden.tensors if name.startswith(f"{case}.clip"))
    return [golden[name] for name in names]


def largest_difference(a, b):
    return (a - b).abs().max().item()


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_checkpoints_fit_key_for_key(name, published_keys):
    with torch.device("meta"):
        ours = PUBLISHED[name]().state_dict()
    assert {key: tuple(weight.shape) for key, weight in ours.items()} == published_keys(name)


@VARIANTS
@pytest.mark.parametrize("case", ["a_single", "b_history", "c_history_same_res", "d_no_padding"])
def test_velocity_equals_the_recorded(variant, case, nets, golden):
    record = golden(f"{variant}_dit_calls")
    inputs = "a_single" if case == "d_no_padding" else case
    clips, mask = clips_of(record, inputs), record["encoder_attention_mask"]
    mask = torch.ones_like(mask) if case == "d_no_padding" else mask
    layout = nets[variant].layout([clip.shape for clip in clips], mask)
    text, pooled = record["encoder_hidden_states"], record["pooled_projections"]
    made = nets[variant](clips, record[f"{inputs}.timestep"], text, pooled, layout)
    assert largest_difference(made, record[f"{case}.output"]) <= 1e-5


@VARIANTS
def test_positions_equal_the_recorded(variant, nets, golden):
    record = golden(f"{variant}_dit_calls")
    shapes = [clip.shape for clip in clips_of(record, "b_history")]
    grids = [transformer.patch_grid(shape) for shape in shapes]
    ids = record["b_history.internal.rope_ids"][0, 9:]
    assert torch.equal(transformer.token_positions(grids, ids.device)[:, : ids.shape[1]], ids)
    layout = nets[variant].layout(shapes, torch.ones(2, 9))
    tables = record["b_history.internal.rope_table"][0, :, 0]  # rotation matrices [tokens, head_dim / 2, 2, 2]
    assert largest_difference(layout.rotary[0][:, ::2], tables[..., 0, 0]) <= 1e-6
    assert largest_difference(layout.rotary[1][:, ::2], tables[..., 1, 0]) <= 1e-6


def test_tables_of_sd3_equal_the_recorded(nets, golden):
    record, net = golden("sd3_dit_calls"), nets["sd3"]
    assert torch.equal(net.pos_embed.pos_embed, record["buffer.pos_embed.pos_embed"])
    grids = [transformer.patch_grid(clip.shape) for clip in clips_of(record, "b_history")]
    once = [(1, *size) for _, *size in grids]
    table = net.table(once, record["b_history.clip2"].shape)
    assert largest_difference(table, record["b_history.internal.sincos_per_clip"]) <= 1e-6


@VARIANTS
def test_norms_have_the_recorded_epsilons(variant, nets, golden):
    record = golden(f"{variant}_dit_calls")
    probes = [name.removesuffix(".in") for name in record.tensors if name.startswith("probe.") and name.endswith(".in")]
    assert len(probes) >= 5
    for probe in probes:
        made = nets[variant].get_submodule(probe.removeprefix("probe."))(record[f"{probe}.in"])
        assert largest_difference(made, record[f"{probe}.out"]) <= 1e-5


@VARIANTS
def test_attention_equals_the_recorded_mask(variant, nets, golden):
    """Attention frame by frame without padding equals the recorded mask for every image token."""
    record = golden(f"{variant}_dit_calls")
    mask, text_mask = record["b_history.internal.attention_mask"][:, 0].bool(), record["encoder_attention_mask"]
    clips = clips_of(record, "b_history")
    layout = nets[variant].layout([clip.shape for clip in clips], text_mask)
    order = torch.cat([layout.text_order, torch.arange(9, mask.shape[1]).expand(2, -1)], dim=1)
    skipped = 9 - layout.text_order.shape[1]
    for rows, first in layout.rows:
        for row in range(2)[rows]:
            allowed = torch.zeros_like(mask[row])
            for start, end in layout.frames:
                for query in order[row, max(start, first) : end]:
                    allowed[query, order[row, first:end]] = True
            read = [token for token in order[row, first:].tolist()]
            assert torch.equal(allowed[read], mask[row][read])
    assert skipped == int((text_mask.sum(0) == 0).sum())


def test_padding_anywhere_changes_nothing(nets, golden):
    """Neither the other prompts of the batch nor the amount of padding changes the result."""
    record, net = golden("flux_dit_calls"), nets["flux"]
    clips, text, pooled = clips_of(record, "b_history"), record["encoder_hidden_states"], record["pooled_projections"]
    mask, time = record["encoder_attention_mask"], record["b_history.timestep"]
    shapes = [clip.shape for clip in clips]
    for row in range(2):
        one = slice(row, row + 1)
        bare = text[one, mask[row].bool()]
        layout = net.layout(shapes, torch.ones(bare.shape[:2]))
        alone = net([clip[one] for clip in clips], time[one], bare, pooled[one], layout)
        assert largest_difference(alone, record["b_history.output"][one]) <= 1e-5


@VARIANTS
def test_bfloat16_stays_near(variant, nets, golden):
    """It is close to float32 at the timestep to which bfloat16 rounds: 412 instead of 412.5, as in training."""
    record = golden(f"{variant}_dit_calls")
    clips, mask = clips_of(record, "b_history"), record["encoder_attention_mask"]
    layout = nets[variant].layout([clip.shape for clip in clips], mask)

    def run(net, dtype, timestep):
        text, pooled = record["encoder_hidden_states"].to(dtype), record["pooled_projections"].to(dtype)
        return net([clip.to(dtype) for clip in clips], timestep, text, pooled, layout)

    expected = run(nets[variant], torch.float32, torch.full((2,), 412.0))
    made = run(copy.deepcopy(nets[variant]).to(torch.bfloat16), torch.bfloat16, record["b_history.timestep"])
    assert made.dtype == torch.bfloat16
    assert (made.float() - expected).norm() <= 0.03 * expected.norm()


def test_saved_and_loaded_again(tmp_path, nets, golden):
    record = golden("flux_dit_calls")
    nets["flux"].save_pretrained(tmp_path, max_shard_size="200KB")
    loaded = PyramidFluxTransformer.from_pretrained(tmp_path)
    layout = loaded.layout([record["a_single.clip0"].shape], record["encoder_attention_mask"])
    text, pooled = record["encoder_hidden_states"], record["pooled_projections"]
    made = loaded([record["a_single.clip0"]], record["a_single.timestep"], text, pooled, layout)
    assert largest_difference(made, record["a_single.output"]) <= 1e-5
