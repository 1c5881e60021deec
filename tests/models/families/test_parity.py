"""Every family, variant, task and file layout against diffusers' pipelines, with tiny random networks."""

from __future__ import annotations

from dataclasses import replace

import pytest
import reference
from atelier.models.bridge.control import control
from atelier.models.bridge.sampling import empty_latent, warnings
from atelier.models.bridge.wrappers.guidance import with_dynamic_guidance
from atelier.models.timeline import placing
from reference import relative

WALK = [(kind, variant, layout) for kind, variant in reference.VARIANTS for layout in reference.layouts(variant)]


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    """``case(kind, variant)``: made once, for all its layouts."""
    made = {}

    def get(kind, variant):
        if (kind, variant) not in made:
            made.clear()  # the last one's networks
            root = tmp_path_factory.mktemp("parity")
            made[kind, variant] = kind(variant, root)
        return made[kind, variant]

    return get


@pytest.mark.parametrize(
    "kind,variant,layout", WALK, ids=[f"{kind.family} {variant}, {layout}" for kind, variant, layout in WALK]
)
def test_same_clip_as_the_pipelines(case, kind, variant, layout):
    case = case(kind, variant)
    # A layout affects only the weights and the variant, which one task shows.
    for task in case.tasks if layout == reference.layouts(variant)[0] else case.tasks[:1]:
        latents, pixels = case.errors(layout, task)
        assert latents <= case.latents, task
        assert pixels <= case.pixels, task


def test_dynamic_guidance_is_the_pipelines(case):
    case = case(reference.CogVideoX, "5B")
    latents, _ = case.ask(reference.T2V, use_dynamic_cfg=True)
    changing = replace(case.folder, model=with_dynamic_guidance(case.folder.model))
    assert relative(case.made(changing, reference.T2V), latents) <= case.latents
    assert relative(case.made(case.folder, reference.T2V), latents) > 100 * case.latents


def test_dynamic_guidance_is_refused_where_there_is_none(case):
    with pytest.raises(ValueError, match="no dynamic guidance"):
        with_dynamic_guidance(case(reference.Mochi, "preview").folder.model)


def test_control_clip_of_another_shot_or_for_another_model(case):
    case = case(reference.CogVideoX, "Fun 5B Control")
    longer = empty_latent(case.grid.latent_shape(64, 48, 17), 8)
    with pytest.raises(ValueError, match="Connect the same latent"):
        case.folder.sampled(case.empty(), 1, **control(case.folder.vae, case.images(3), longer))


def test_control_clip_for_a_model_that_follows_none(case):
    case = case(reference.CogVideoX, "2B")
    with pytest.raises(ValueError, match="cannot use a control clip"):
        case.folder.sampled(case.empty(), 1, **control(case.folder.vae, case.images(1), case.empty()))
    assert warnings(case.folder.model, case.empty(), case.folder.conditioning("")) == []
    known = placing.place(case.empty(), case.folder.vae.encode(case.images(1)), start=0, strength=1.0)
    (remark,) = warnings(case.folder.model, known, case.folder.conditioning(""))
    assert "CogVideoX 2B" in remark and "text alone" in remark
