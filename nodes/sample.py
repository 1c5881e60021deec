"""Sample Video fills the holes of a shot; Video Schedule gives the sigmas for it."""

from __future__ import annotations

from functools import partial

import torch
from comfy_api.latest import io

from ..models.bridge.machine import memory_warning
from ..models.bridge.sampling import sample, warnings, with_frame_rate
from ..models.bridge.video_model import video_model
from ..models.contract.schedule import sigmas_for
from ..models.timeline.latent import picture_of
from .inputs import found_by
from .notice import show


def schedule(model, steps: int, denoise: float, latent: dict) -> torch.Tensor:
    inner = video_model(model)
    return sigmas_for(inner.family, inner.variant, steps, denoise, tuple(picture_of(latent).shape))


class VideoSchedule(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="AtelierVideoSchedule",
            display_name="Video Schedule",
            category="Atelier",
            **found_by("scheduler", "sigmas"),
            description="The sigmas that the model's own pipeline uses, for SamplerCustomAdvanced.",
            inputs=[
                io.Model.Input("model", tooltip="The MODEL of Load Video Model."),
                io.Latent.Input("latent", tooltip="The latent to be sampled: some schedules depend on its size."),
                io.Int.Input(
                    "steps", default=0, min=0, max=1000, tooltip="Sampling steps. 0 = what the model recommends."
                ),
                io.Float.Input(
                    "denoise",
                    default=1.0,
                    min=0.01,
                    max=1.0,
                    step=0.01,
                    tooltip="Below 1, only the last part of the schedule, to change an existing clip.",
                ),
            ],
            outputs=[io.Sigmas.Output()],
        )

    @classmethod
    def execute(cls, model, latent: dict, steps: int, denoise: float) -> io.NodeOutput:
        return io.NodeOutput(schedule(model, steps, denoise, latent))


class SampleVideo(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="AtelierSampleVideo",
            display_name="Sample Video",
            category="Atelier",
            **found_by("ksampler", "sampler", "denoise", essential=True),
            description="Makes the video as a latent, with the model's own schedule and sampler. Frames placed in the "
            "shot are kept.",
            inputs=[
                io.Model.Input("model", tooltip="The MODEL of Load Video Model."),
                io.Conditioning.Input("positive", tooltip="What the video should show."),
                io.Conditioning.Input(
                    "negative", tooltip="What the video should not show. Only used if guidance is above 1."
                ),
                io.Latent.Input(
                    "latent", tooltip="The shot: Empty Video Latent, with or without Place Frames, or an encoded clip."
                ),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=0xFFFFFFFFFFFFFFFF,
                    control_after_generate=True,
                    tooltip="Another seed makes another video of the same prompt.",
                ),
                io.Int.Input(
                    "steps",
                    default=0,
                    min=0,
                    max=1000,
                    tooltip="More steps are slower and finer. 0 = what the model recommends.",
                ),
                io.Float.Input(
                    "guidance",
                    default=0.0,
                    min=0.0,
                    max=100.0,
                    step=0.1,
                    tooltip="How strictly the video follows the prompt (CFG). 0 = what the model recommends, 1 = off "
                    "and twice as fast.",
                ),
                io.Float.Input(
                    "denoise",
                    default=1.0,
                    min=0.01,
                    max=1.0,
                    step=0.01,
                    tooltip="1 makes a new video. Below 1, the given latent changes only that much (video to video).",
                ),
                io.Boolean.Input(
                    "on_the_farm",
                    default=False,
                    optional=True,
                    tooltip="Free workers of the farm sample it: scenes behind a Storyboard's cuts, and Variation "
                    "Seeds, at the same time. The latents are the same. Without a farm it is sampled here.",
                ),
            ],
            outputs=[io.Latent.Output()],
            hidden=[io.Hidden.unique_id, io.Hidden.dynprompt],
        )

    @classmethod
    async def execute(
        cls,
        model,
        positive,
        negative,
        latent: dict,
        seed: int,
        steps: int,
        guidance: float,
        denoise: float,
        on_the_farm: bool = False,
    ) -> io.NodeOutput:
        sigmas = schedule(model, steps, denoise, latent)
        tight = memory_warning(model, latent["samples"].shape)
        said = "\n\n".join(filter(None, [*warnings(model, latent, positive, guidance), tight]))
        if said:
            show(cls, said)
        given = {
            **{"latent": latent, "seed": seed, "sigmas": sigmas, "guidance": guidance},
            **{"positive": with_frame_rate(positive, latent), "negative": with_frame_rate(negative, latent)},
        }
        if not on_the_farm:
            return io.NodeOutput(sample(model, **given))
        from ..api.graphs import on_workers  # not when ComfyUI starts

        return io.NodeOutput(await on_workers.sample(model, given, cls.hidden, partial(show, cls, above=said)))
