"""Guidance that changes over the steps: Video Guidance, Dynamic Guidance, and what authors publish per noise level."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import comfy.model_patcher
import comfy.patcher_extension
import comfy.samplers
import comfy.utils
import torch

from ...contract.guidance import (
    ISOLATED,
    Guidance,
    GuidanceLevel,
    OwnGuidance,
    StepGuidance,
    StreamGuidance,
    blocks_of,
    curve_of,
)
from ..video_model import VideoModel, video_model
from .calls import SamplerRun, around_run

PLAN, RUN = "atelier_guidance", "atelier_guided_run"
"""The name of a MODEL's Plan among its attachments, and of the run's GuidedRun in ComfyUI's model options."""
Plan = Callable[[Any, Sequence[float]], Sequence[StepGuidance]]
"""(guider, the sigma of each step) -> the guidance of each step."""
STG_KIND = "double"
ONE_CALL = frozenset(
    f"sample_{name}"
    for name in (
        "euler euler_cfg_pp euler_ancestral euler_ancestral_cfg_pp lms ddpm lcm ipndm ipndm_v deis dpmpp_2m "
        "dpmpp_2m_cfg_pp dpmpp_2m_sde dpmpp_2m_sde_gpu dpmpp_3m_sde dpmpp_3m_sde_gpu res_multistep "
        "res_multistep_cfg_pp res_multistep_ancestral res_multistep_ancestral_cfg_pp gradient_estimation er_sde"
    ).split()
)
"""ComfyUI's samplers that run the network once at every step: which step it is needs no look at the sigma."""


@dataclass
class GuidedRun:
    """The guidance of a sampler's steps, and the step that it is at.

    counted: the sampler runs the network once a step, so its calls are counted. Otherwise the sigma tells the step,
    and reading it makes the host wait for the device.
    """

    sigmas: Sequence[float]
    steps: Sequence[StepGuidance]
    counted: bool
    calls: int = 0

    @property
    def now(self) -> StepGuidance:
        return self.steps[min(max(0, self.calls - 1), len(self.steps) - 1)]

    def advance(self, sigma: torch.Tensor) -> StepGuidance:
        """The guidance of the network's next call, at this sigma [B]."""
        if self.counted or len(self.steps) == 1:
            self.calls += 1
        else:
            level = float(sigma.max())
            self.calls = sum(step >= level * (1 - 1e-5) for step in self.sigmas)
        return self.now


def guided(patcher: comfy.model_patcher.ModelPatcher, plan: Plan) -> comfy.model_patcher.ModelPatcher:
    """The MODEL with this guidance, in place of any that it had. Scales that it leaves out stay those it had."""
    before, patcher = patcher.get_attachment(PLAN), patcher.clone()
    if before is None:
        kinds = comfy.patcher_extension.WrappersMP
        patcher.add_wrapper(kinds.OUTER_SAMPLE, _with_plan)
        patcher.add_wrapper(kinds.PREDICT_NOISE, _with_guidance_of_step)
        patcher.set_model_sampler_post_cfg_function(_after_cfg)
    patcher.set_attachments(PLAN, plan if before is None else _completed(plan, before))
    return patcher


def _completed(plan: Plan, other: Plan) -> Plan:
    """A plan whose missing scales of classifier-free guidance come from another."""

    def steps(guider: Any, sigmas: Sequence[float]) -> list[StepGuidance]:
        pairs = zip(plan(guider, sigmas), other(guider, sigmas), strict=True)
        return [own if own.cfg is not None else replace(own, cfg=rest.cfg) for own, rest in pairs]

    return steps


def with_video_guidance(
    patcher: comfy.model_patcher.ModelPatcher, guidance: Guidance | OwnGuidance
) -> comfy.model_patcher.ModelPatcher:
    """The MODEL with this guidance, which overrides the guider's. Raises ValueError if the model cannot follow it."""
    model = video_model(patcher)
    if model.variant.sound is not None:
        raise ValueError(
            f"{model.variant.name} guides picture and sound apart: Sample Video applies its authors' recipe where its "
            "guidance is 0. Remove Video Guidance."
        )
    if model.family.sample is not None and getattr(guidance, "changes", False):
        raise ValueError(
            f"{model.variant.name} samples frame after frame with steps of its own: guidance cannot change over the "
            "steps. Write one number in each field, and 0 zero_init_steps."
        )
    return guided(patcher, lambda guider, sigmas: guidance.steps(sigmas))


def published(patcher: comfy.model_patcher.ModelPatcher, second: bool = False) -> tuple[Guidance | None, list[str]]:
    """The recipe of a MODEL's authors as far as its network can follow it, and what else is to be said of it.

    second: that of their second pass, over a clip whose latents were enlarged.
    """
    model = video_model(patcher)
    guidance, recipe, again = model.variant.guidance, model.variant.recipe, model.variant.second_pass
    if second:
        if again is None:
            return None, ["it was published without a second pass: nothing is changed"]
        if model.variant.sound is not None:
            return None, ["set guidance of Sample Video to 1: nothing is changed"]
        guidance = again.guidance or Guidance((GuidanceLevel(1.0, cfg=1.0),))
    if isinstance(guidance, StreamGuidance):
        return None, ["Sample Video applies its authors' recipe where its guidance is 0: nothing is changed"]
    if guidance is None:
        scale = f"one guidance, {recipe.guidance:g}" if recipe.guidance != 1 else "no guidance"
        return None, [f"its authors publish {scale}, without STG: nothing is changed"]
    most = max((block for level in guidance.levels for block in level.skipped), default=0)
    if most >= _blocks(model):
        return guidance.without_stg(), [f"without STG: it names block {most}, this model has {_blocks(model)} blocks"]
    return guidance, []


def own_guidance(
    patcher: comfy.model_patcher.ModelPatcher,
    *,
    guidance: str,
    stg_scale: str,
    stg_blocks: str,
    rescale: str,
    cfg_zero_star: bool,
    zero_init_steps: int,
) -> OwnGuidance:
    """Guidance as an artist writes it: see `curve_of` and `blocks_of`, which raise ValueError for anything else."""
    return OwnGuidance(
        cfg=curve_of("guidance", guidance, most=100.0) if guidance.strip() else None,
        stg=curve_of("stg_scale", stg_scale, most=100.0),
        rescale=curve_of("rescale", rescale, most=1.0),
        blocks=blocks_of(stg_blocks, _blocks(video_model(patcher))) if stg_blocks.strip() else (),
        zero_star=cfg_zero_star,
        zero_steps=zero_init_steps,
    )


def _blocks(model: VideoModel) -> int:
    """How many blocks a network has whose self-attention STG can leave out."""
    network = model.diffusion_model
    return sum(len(getattr(network, kind.blocks)) for kind in network.block_kinds if kind.kind == STG_KIND)


def with_published_guidance(patcher: comfy.model_patcher.ModelPatcher) -> comfy.model_patcher.ModelPatcher:
    """The MODEL with its authors' scales per level or stream, which override the guider's; unchanged if one number.

    A MODEL from Video Guidance keeps what that set, and gets the scales that it leaves to the sampler.
    """
    guidance, own = patcher.model.variant.guidance, patcher.get_attachment(PLAN)
    if guidance is None:
        return patcher
    if isinstance(guidance, StreamGuidance):
        patcher = patcher.clone()
        patcher.set_model_sampler_post_cfg_function(partial(_streams_guided, guidance), disable_cfg1_optimization=True)
        return patcher
    scales = guidance.without_stg()

    def published(guider: Any, sigmas: Sequence[float]) -> list[StepGuidance]:
        return scales.steps(sigmas)

    return guided(patcher, published if own is None else _completed(own, published))


def with_dynamic_guidance(patcher: comfy.model_patcher.ModelPatcher) -> comfy.model_patcher.ModelPatcher:
    """The MODEL with its authors' dynamic guidance. Raises ValueError if they publish none."""
    model = video_model(patcher)
    if model.family.dynamic_guidance is None:
        raise ValueError(
            f"{model.variant.name} has no dynamic guidance: its authors use a constant one. Remove Dynamic Guidance."
        )
    return guided(patcher, _dynamic)


def _dynamic(guider: Any, sigmas: Sequence[float]) -> list[StepGuidance]:
    scale = getattr(guider, "cfg", 1.0)
    if scale <= 1:
        return [StepGuidance()] * len(sigmas)
    model = guider.model_patcher
    timesteps = model.get_model_object("model_sampling").timestep(torch.tensor(sigmas)).int().tolist()
    changing = model.model.family.dynamic_guidance
    return [StepGuidance(cfg=changing(scale, timestep, len(sigmas))) for timestep in timesteps]


def scale_is_set(patcher: comfy.model_patcher.ModelPatcher) -> bool:
    """Whether this MODEL's guidance overrides the scale of the guider."""
    plan = patcher.get_attachment(PLAN)
    return plan is not None and plan(None, [1.0])[0].cfg is not None


@around_run
def _with_plan(run: SamplerRun) -> torch.Tensor:
    """Ask the plan for the guidance of this run's steps, all at once."""
    guider, options = run.guider, run.guider.model_options
    own_steps = run.model.family.sample is not None
    sigmas = [1.0] if own_steps else run.sigmas[:-1].tolist()
    steps = guider.model_patcher.get_attachment(PLAN)(guider, sigmas)
    if "negative" not in guider.conds and any(step.cfg not in (None, 1) for step in steps):
        logging.warning(
            "Atelier: this guider has no negative prompt: it samples without the guidance scale that is set."
        )
        steps = [replace(step, cfg=None) for step in steps]
    counted = getattr(getattr(run.sampler, "sampler_function", None), "__name__", "") in ONE_CALL
    scale = getattr(guider, "cfg", None)
    guider.model_options = {**options, RUN: GuidedRun(sigmas, steps, counted)}
    if own_steps and steps[0].cfg is not None and scale is not None:
        guider.cfg = steps[0].cfg  # the family's sampler makes of it what each frame gets
    try:
        return run.proceed()
    finally:
        guider.model_options = options
        if scale is not None:
            guider.cfg = scale


def _with_guidance_of_step(
    predict: Callable, x: torch.Tensor, sigma: torch.Tensor, options: dict[str, Any], seed: int | None = None
) -> torch.Tensor:
    guider, step = predict.class_obj, options[RUN].advance(sigma)
    if step.zero:
        return torch.zeros_like(x)
    scale = getattr(guider, "cfg", None)
    if step.cfg is None or scale is None or guider.inner_model.family.sample is not None:
        return predict(x, sigma, options, seed)
    guider.cfg = step.cfg
    try:
        return predict(x, sigma, options, seed)
    finally:
        guider.cfg = scale


def _after_cfg(args: dict[str, Any]) -> torch.Tensor:
    """Denoised x with CFG-Zero*, spatio-temporal guidance and rescaling, of the step that the run is at.

    As in pipeline_ltx_video.py of github.com/Lightricks/LTX-Video. What the network predicts is, up to a factor, how
    far a denoised clip is from the one that a prediction of zeros would give.
    """
    run: GuidedRun | None = args["model_options"].get(RUN)
    if run is None or "cond_scale" not in args:  # a guider of another pack, which does all of this itself
        return args["denoised"]
    step = run.now
    model, x, sigma, denoised = args["model"], args["input"], args["sigma"], args["denoised"]
    origin = model.of_no_prediction(x, sigma)
    scale, wanted = args["cond_scale"], origin - args["cond_denoised"]
    if step.zero_star and scale != 1:
        unwanted = origin - args["uncond_denoised"]
        product = (wanted * unwanted).flatten(1).sum(dim=1)
        share = product / (unwanted**2).flatten(1).sum(dim=1).clamp(min=1e-8)
        denoised = denoised + (share.view(-1, 1, 1, 1, 1) - 1) * (scale - 1) * unwanted
    if step.stg:
        denoised = denoised + step.stg * (args["cond_denoised"] - _without_attention(args, step.skipped))
    if step.rescale and (step.stg or scale != 1):
        predicted = origin - denoised
        ratio = (wanted.flatten(1).std(dim=1) / predicted.flatten(1).std(dim=1)).view(-1, 1, 1, 1, 1)
        denoised = origin - predicted * (step.rescale * ratio + (1 - step.rescale))
    return denoised


def _without_attention(args: dict[str, Any], blocks: Sequence[int]) -> torch.Tensor:
    """Denoised x, predicted with the prompt and without the self-attention of these blocks."""
    options = args["model_options"]
    transformer = {**options.get("transformer_options", {}), "stg_self_attn_blocks": tuple(blocks)}
    options = {**options, "transformer_options": transformer}
    model, cond, x, sigma = (args[name] for name in ("model", "cond", "input", "sigma"))
    return comfy.samplers.calc_cond_batch(model, [cond], x, sigma, options)[0]


def _streams_guided(guidance: StreamGuidance, step: dict[str, Any]) -> torch.Tensor:
    """Denoised x, guided stream by stream: away from the negative prompt, and from predictions that lack something.

    Each of these is one more call of the network; one that no stream asks for is left out.
    """
    conds, scales = step["cond"], (guidance.video, guidance.sound)
    shapes = conds[0]["model_conds"]["latent_shapes"].cond

    def predicted(**lacking: Any) -> list[torch.Tensor]:
        options = step["model_options"]
        options = {**options, "transformer_options": {**options.get("transformer_options", {}), **lacking}}
        calls = comfy.samplers.calc_cond_batch(step["model"], [conds], step["input"], step["sigma"], options)
        return comfy.utils.unpack_latents(calls[0], shapes)

    positive, negative = (comfy.utils.unpack_latents(step[f"{name}_denoised"], shapes) for name in ("cond", "uncond"))
    skipped = predicted(stg_self_attn_blocks=list(guidance.skipped)) if any(s.stg for s in scales) else positive
    isolated = predicted(**ISOLATED) if any(s.modality != 1 for s in scales) else positive
    streams = []
    for cond, uncond, lame, alone, scale in zip(positive, negative, skipped, isolated, scales, strict=True):
        total = cond + (scale.text - 1) * (cond - uncond) + scale.stg * (cond - lame)
        total = total + (scale.modality - 1) * (cond - alone)
        deviations = (x.flatten(1).std(dim=1).view(-1, *[1] * (x.ndim - 1)) for x in (cond, total))
        ratio = next(deviations) / next(deviations)
        streams.append(total * (scale.rescale * ratio + 1 - scale.rescale))
    return comfy.utils.pack_latents(streams)[0]
