"""Sample a LATENT with two streams, picture and sound.

ComfyUI samples the streams as one row [B, 1, numbers]. Our other wrappers work on a picture [B, C, T, H, W], so the
outermost takes the row apart, and the innermost puts it together again: between them, the sound travels as a
SoundTrack among the run's options. Masks, noise of zeros and the callback's arguments, which ComfyUI 0.3.75 leaves as
they are, are put right on the way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import comfy.utils
import torch
from comfy.nested_tensor import NestedTensor

from ...timeline.latent import NOT_FOOTAGE, streams_of
from ..video_model import APPENDED, NO_SOUND
from .calls import SamplerRun, around_run

TRACK = "atelier_sound_track"
"""Key of a run's options: its SoundTrack."""
Shapes = Sequence[torch.Size]


class Streams(NestedTensor):
    """The callback's argument on 0.3.75: SamplerCustomAdvanced calls its `cpu`, which NestedTensor lacks there."""

    def cpu(self) -> Streams:
        return Streams([stream.cpu() for stream in self.tensors])


@dataclass
class SoundTrack:
    """The sound of a run, [B, C, L, bins] each. mask: 1 = generate; None: all of it is generated.

    The innermost wrapper leaves here what it sampled, and the denoised sound and x of the step that is reported.
    """

    noise: torch.Tensor
    latent: torch.Tensor
    mask: torch.Tensor | None = None
    sampled: torch.Tensor | None = None
    shown: tuple[torch.Tensor, torch.Tensor] | None = None


def track_of(run: SamplerRun) -> SoundTrack | None:
    """The sound of a run; None if it has none."""
    return run.options.get(TRACK)


@around_run
def with_streams(run: SamplerRun) -> torch.Tensor:
    """Take the row apart: the wrappers inside see the picture. Raises ValueError for what cannot be sampled so."""
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
    if len(shapes) == 1 and shapes[0][1] != variant.grid.channels:
        return run.proceed()  # another model's latent: see VideoModel's check
    if len(shapes) == 1:
        raise ValueError(NO_SOUND.format(variant.name))
    if "context_handler" in run.guider.model_options:
        raise ValueError(
            f"{variant.name} cannot be sampled in Context Windows, which cut only a picture. Remove that node."
        )
    latent, noise = _parts(run.latent, shapes), _parts(_as_long(run.noise, run.latent), shapes)
    mask = _masks(run, shapes)
    track = SoundTrack(noise[1], latent[1], mask[1])

    def report(step: int, denoised: torch.Tensor, x: torch.Tensor, steps: int) -> None:
        pairs = zip((denoised, x), track.shown, strict=True)
        run.callback(step, *(_reported([_whole(picture, shapes[0]), sound]) for picture, sound in pairs), steps)

    options = {**run.options, TRACK: track}
    callback = run.callback and report
    picture = run.proceed(noise=noise[0], latent=latent[0], mask=mask[0], callback=callback, options=options)
    return _row([picture, track.sampled.to(picture)])


@around_run
def with_both_streams(run: SamplerRun) -> torch.Tensor:
    """Put picture and sound together, sample them, and leave the sampled sound in the SoundTrack."""
    track = track_of(run)
    if track is None:
        return run.proceed()
    shapes = [run.latent.shape, track.latent.shape]
    pairs = [(run.noise, track.noise), (run.latent, track.latent)]
    noise, latent = (_row([picture, sound.to(picture)]) for picture, sound in pairs)
    mask = _mask_row([run.mask, track.mask], shapes)
    conds = run.guider.conds
    run.guider.conds = {name: [_over_row(entry, shapes) for entry in entries] for name, entries in conds.items()}

    def report(step: int, denoised: torch.Tensor, x: torch.Tensor, steps: int) -> None:
        pictures, track.shown = zip(*(_parts(row, shapes) for row in (denoised, x)), strict=True)
        run.callback(step, *pictures, steps)

    changes = dict(noise=noise, latent=latent, mask=mask, callback=run.callback and report)
    try:
        row = run.proceed(shapes=shapes, options=_without_track(run), **changes)
    finally:
        run.guider.conds = conds
    picture, track.sampled = _parts(row, shapes)
    return picture


def _without_track(run: SamplerRun) -> dict[str, Any]:
    return {name: value for name, value in run.options.items() if name != TRACK}


def _parts(row: torch.Tensor, shapes: Shapes) -> list[torch.Tensor]:
    return comfy.utils.unpack_latents(row, shapes)


def _row(streams: list[torch.Tensor]) -> torch.Tensor:
    return comfy.utils.pack_latents(streams)[0]


def _as_long(noise: torch.Tensor, latent: torch.Tensor) -> torch.Tensor:
    return noise if noise.shape == latent.shape else torch.zeros_like(latent)


def _masks(run: SamplerRun, shapes: Shapes) -> list[torch.Tensor | None]:
    """The masks of both streams, of their shapes; None: all of it is generated. A run may have one of the picture."""
    if run.mask is None:
        return [None, None]
    nested = getattr(run.mask, "is_nested", False)
    if not nested and run.mask.shape[1:] == run.latent.shape[1:]:
        return _parts(run.mask, shapes)
    given = [*streams_of(run.mask), None][:2]
    return [mask if mask is None else _reshaped(mask, shape) for mask, shape in zip(given, shapes, strict=True)]


def _mask_row(masks: Sequence[torch.Tensor | None], shapes: Shapes) -> torch.Tensor | None:
    """The masks as a row; None if there is none."""
    where = next((mask.device for mask in masks if mask is not None), None)
    if where is None:
        return None
    pairs = zip(masks, shapes, strict=True)
    return _row([torch.ones(shape, device=where) if mask is None else _reshaped(mask, shape) for mask, shape in pairs])


def _reshaped(mask: torch.Tensor, shape: torch.Size) -> torch.Tensor:
    return comfy.utils.reshape_mask(mask.float(), shape)


def _whole(picture: torch.Tensor, shape: torch.Size) -> torch.Tensor:
    """A picture with zeros for the latent frames that are not sampled yet, where it is sampled in windows."""
    return torch.nn.functional.pad(picture, (0, 0, 0, 0, 0, shape[2] - picture.shape[2]))


def _reported(streams: list[torch.Tensor]) -> Any:
    """What a sampler node's callback takes of both streams: newer ComfyUI takes the row apart itself."""
    return _row(streams) if hasattr(NestedTensor, "cpu") else Streams(streams)


def _over_row(entry: dict[str, Any], shapes: Shapes) -> dict[str, Any]:
    """A prompt for a part of the clip, whose mask over time [1, T, 1, 1] becomes one of the row, [1, numbers]."""
    mask, (picture, sound) = entry.get("mask"), shapes
    if mask is None or mask.ndim != 4 or mask.shape[1] != picture[2]:
        return entry
    over_time, appended = mask[0, :, 0, 0], entry.get(APPENDED)
    shown = picture[2] - (appended.frames if appended else 0)
    heard = over_time[torch.arange(sound[2]) * shown // sound[2]]
    parts = [over_time.view(1, -1, 1, 1).expand(picture[1:]), heard.view(1, -1, 1).expand(sound[1:])]
    return {**entry, "mask": torch.cat([part.reshape(-1) for part in parts])[None]}
