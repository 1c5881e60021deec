"""A LATENT of a clip: its mask, frame rate and length, and the keys that this pack adds to it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from ..contract.grid import Grid

DEFAULT_FPS = 25.0
"""Frames per second of a LATENT that has no "frame_rate"."""
CUTS = "cuts"
"""LATENT key: the latent frames at which the second and later scenes begin. Scenes are decoded separately."""
LOOP = "loop"
"""LATENT key of a loop: how many decoded frames come before the first one that is shown."""
SOUND_RATE = 25.0
"""Sound latents a second of a LATENT with sound that has no "sound_rate"."""
AROUND = "around"
"""LATENT key of a shot that was cut out of a clip: the rest of that clip (editing's Around)."""
NOT_FOOTAGE = (
    "This latent has shape {}. Expected: a video latent [batch, channels, frames, height, width], from Empty Video "
    "Latent, Sample Video, Join Shot or Encode Video. One of four dimensions is an image, or a sound without its "
    "picture: join the two with ComfyUI's Concat AV Latent, or put the sound into a shot with Place Sound."
)

PLACED = "placed_sounds"
"""LATENT key: what of a clip's sound is known as waves (timeline.sound.PlacedSound). Later ones lie over others."""
KEYFRAMES = "keyframes"
"""LATENT key: footage in the shot that some networks read beside it (timeline.keyframes)."""


def frame_rate_of(latent: dict) -> float:
    """Frames per second of a LATENT."""
    return latent.get("frame_rate", DEFAULT_FPS)


def sound_rate_of(latent: dict) -> float:
    """Sound latents a second of a LATENT with sound."""
    return latent.get("sound_rate", SOUND_RATE)


def streams_of(samples: Any) -> list[torch.Tensor]:
    """The streams of a LATENT's samples or mask: [picture], or [picture, sound] of a core NestedTensor."""
    return list(samples.unbind()) if getattr(samples, "is_nested", False) else [samples]


def video_of(samples: Any) -> torch.Tensor:
    """The picture [B, C, T, h, w] of a LATENT's samples, or of its mask."""
    return streams_of(samples)[0]


def picture_of(latent: dict) -> torch.Tensor:
    """The picture [B, C, T, h, w] of a LATENT. Raises ValueError for an image's latent and a sound without picture."""
    samples = video_of(latent["samples"])
    if samples.ndim != 5:
        raise ValueError(NOT_FOOTAGE.format(list(samples.shape)))
    return samples


def sound_of(samples: Any) -> torch.Tensor | None:
    """The sound [B, C, L, bins] of a LATENT's samples, or of its mask; None for samples without sound."""
    streams = streams_of(samples)
    return streams[1] if len(streams) > 1 else None


def with_streams(like: Any, video: torch.Tensor, sound: torch.Tensor | None) -> Any:
    """Picture and sound as samples (or a mask) of the kind of `like`; without sound, the picture alone."""
    return video if sound is None else type(like)([video, sound])


def each_stream(samples: Any, change: Callable[[torch.Tensor], torch.Tensor]) -> Any:
    """Samples or a mask with `change` applied to the picture, and to the sound if there is one."""
    video, *sound = map(change, streams_of(samples))
    return with_streams(samples, video, sound[0] if sound else None)


def sound_mask_of(latent: dict) -> torch.Tensor:
    """The mask [B, 1, L, 1] of the sound of a LATENT that has sound: 1 = generate, 0 = keep."""
    sound, mask = sound_of(latent["samples"]), sound_of(latent.get("noise_mask"))
    if mask is None:
        return torch.ones(len(sound), 1, sound.shape[2], 1)
    mask = torch.nn.functional.interpolate(mask.float()[:, :1, :, :1], size=(sound.shape[2], 1))
    return mask.expand(len(sound), -1, -1, -1).clone()


def with_mask(latent: dict, video: torch.Tensor, sound: torch.Tensor | None = None) -> dict:
    """A LATENT with the mask `video` [B, 1, T, H, W] and, if it has sound, the mask `sound` [B, 1, L, 1].

    Without `sound`, the mask of its sound stays as it is.
    """
    samples = latent["samples"]
    if sound_of(samples) is None:
        return {**latent, "noise_mask": video}
    return {**latent, "noise_mask": with_streams(samples, video, sound_mask_of(latent) if sound is None else sound)}


def mask_of(latent: dict) -> torch.Tensor:
    """The mask [B, 1, T, H, W] of a LATENT's picture: 1 = generate, 0 = keep. Without a mask, all of it is generated.

    Masks of other nodes ([H, W], [B, H, W], any size) are repeated over time and resized.
    """
    samples = video_of(latent["samples"])
    batch, _, *size = samples.shape
    mask = video_of(latent.get("noise_mask"))
    if mask is None:
        return torch.ones(batch, 1, *size)
    mask = mask.float()
    if mask.ndim < 5:
        mask = mask.reshape(1, 1, -1, *mask.shape[-2:])
    mask = torch.nn.functional.interpolate(mask[:, :1], size=tuple(size), mode="trilinear")
    return mask.expand(batch, -1, -1, -1, -1).clone()


def length(latent: dict, grid: Grid) -> int:
    """How many frames of video a clip shows."""
    return grid.frames(picture_of(latent).shape[2]) - (LOOP in latent)


def finished(latent: dict) -> torch.Tensor:
    """The picture [B, C, T, h, w] of a whole clip. Raises ValueError for a picture's latent or an unjoined shot."""
    if AROUND in latent:
        raise ValueError(
            "This latent is a piece that an editing node cut out of a clip. Put Join Shot between Sample Video and "
            "this node: its output is the whole clip."
        )
    return picture_of(latent)


@dataclass(frozen=True, eq=False)
class EditedSound:
    """The sound of an edited clip: latents [B, C, L, bins], their mask [B, 1, L, 1], and what of it is known as waves.

    A clip without sound has none of them. placed: see PLACED.
    """

    latents: torch.Tensor | None = None
    mask: torch.Tensor | None = None
    placed: tuple[Any, ...] = ()


def with_holes(
    latent: dict,
    samples: torch.Tensor,
    mask: torch.Tensor,
    sound: EditedSound | None = None,
) -> dict:
    """A LATENT like `latent` with samples [B, C, T, h, w] and a mask [T]: 1 = generate, 0 = keep.

    sound: the clip's, as `timeline.sound.edited` gives it.
    """
    shape = (samples.shape[0], 1, *samples.shape[2:])
    rest = {key: value for key, value in latent.items() if key not in (LOOP, CUTS, KEYFRAMES, PLACED)}
    if sound is not None and sound.placed:
        rest[PLACED] = sound.placed
    heard, its_mask = (None, None) if sound is None else (sound.latents, sound.mask)
    rest["samples"] = with_streams(latent["samples"], samples, heard)
    return with_mask(rest, mask.to(samples).view(1, 1, -1, 1, 1).expand(shape).clone(), its_mask)
