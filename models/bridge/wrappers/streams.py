"""Sample a LATENT with two streams, picture and sound, also where ComfyUI does only a part of that.

ComfyUI samples the streams as one row [B, 1, numbers]. ComfyUI 0.3.75 leaves masks, noise of zeros and the callback's
arguments as they are; newer versions do all that this does, and then nothing is left to do here.
"""

from __future__ import annotations

import comfy.utils
import torch
from comfy.nested_tensor import NestedTensor

from ...timeline.latent import NOT_FOOTAGE, streams_of
from ...timeline.spans import SPAN
from ..video_model import NO_SOUND
from .calls import SamplerRun, around_run


class Streams(NestedTensor):
    """The callback's argument on 0.3.75: SamplerCustomAdvanced calls its `cpu`, which NestedTensor lacks there."""

    def cpu(self) -> Streams:
        return Streams([stream.cpu() for stream in self.tensors])


@around_run
def with_streams(run: SamplerRun) -> torch.Tensor:
    """Sample both streams of a LATENT with sound. Raises ValueError for what cannot be sampled so."""
    variant, shapes = run.model.variant, run.options.get("latent_shapes") or [run.latent.shape]
    if variant.sound is None:
        if len(shapes) > 1:
            raise ValueError(
                f"This latent has sound, which {variant.name} cannot generate. Make it with Empty Video Latent from "
                "this model."
            )
        return run.proceed()
    if len(shapes) == 1 and len(shapes[0]) != 5:
        raise ValueError(NOT_FOOTAGE.format(list(shapes[0])))
    if len(shapes) == 1:
        raise ValueError(NO_SOUND.format(variant.name))
    _refuse_windows(run)
    changes = {"noise": torch.zeros_like(run.latent)} if run.noise.shape != run.latent.shape else {}
    if run.mask is not None and run.mask.shape[1:] != run.latent.shape[1:]:
        changes["mask"] = packed_mask(run.mask, shapes)
    if run.callback is not None and not hasattr(NestedTensor, "cpu"):

        def report(step: int, denoised: torch.Tensor, x: torch.Tensor, steps: int) -> None:
            streams = (Streams(comfy.utils.unpack_latents(row, shapes)) for row in (denoised, x))
            run.callback(step, *streams, steps)

        changes["callback"] = report
    return run.proceed(**changes)


def packed_mask(mask: torch.Tensor | NestedTensor, shapes: list[torch.Size]) -> torch.Tensor:
    """A mask of the picture, or of both streams, as one row. Sound without a mask is generated."""
    given = streams_of(mask)
    given += [torch.ones(shape) for shape in shapes[len(given) :]]
    parts = [comfy.utils.reshape_mask(part.float(), shape) for part, shape in zip(given, shapes, strict=True)]
    return comfy.utils.pack_latents([part.cpu() for part in parts])[0]


def _refuse_windows(run: SamplerRun) -> None:
    """Raises ValueError for nodes that cut a clip in time: they would cut the row of both streams."""
    name = run.model.variant.name
    if "context_handler" in run.guider.model_options:
        raise ValueError(f"{name} cannot be sampled in Context Windows, which cut only a picture. Remove that node.")
    entries = (entry for conds in run.guider.conds.values() for entry in conds)
    if any(SPAN in entry for entry in entries):
        raise ValueError(
            f"{name} cannot change its prompt over time yet: that works only for models without sound. Use one prompt "
            "for the shot (Encode Prompt), and make further shots with Extend Shot."
        )
