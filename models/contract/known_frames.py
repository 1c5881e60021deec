"""A shot is a latent with holes: known content plus a mask that says what is still to be made (1 = make, 0 = keep).

Here is that idea in tensors: placing content into a latent, and the ways in which what is known reaches a network.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from .family import Grid

DEFAULT_FPS = 25.0


@dataclass(frozen=True)
class Knowns:
    """Known content for a network that was never told of it: ComfyUI re-noises it to each step's level. The default.

    `clean` says whether the network sees known content as it is instead, and learns of it in another way;
    `controlled`, whether it takes a clip that guides the whole shot; `in_one_go`, whether what is known must be encoded
    anew, the clip with its holes black, before it sees it. `about` tells an artist, where there is something
    to tell.
    """

    clean: bool = False
    controlled: bool = False
    in_one_go: bool = False
    about: str = "trained on text alone: known frames are re-noised"

    def timestep(self, timestep: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        """Timesteps [B] -> what the network is given, with mask [B, C, T, H, W] or None."""
        return timestep

    def channels(
        self, latent: torch.Tensor, mask: torch.Tensor | None, clip: torch.Tensor | None = None
    ) -> torch.Tensor | None:
        """What stands beside the noisy latent as further channels, from the known one [B, C, T, H, W].

        clip: the latents [B, C, T, H, W] of the clip that guides the shot (`controlled`), or of what is known, encoded
        `in_one_go`, where there is one.
        """
        return None

    def enforced(self, mask: torch.Tensor | None) -> torch.Tensor | None:
        """What of the mask [B, C, T, H, W] the sampler keeps in place; the network keeps the rest by itself."""
        return mask


@dataclass(frozen=True)
class PerToken(Knowns):
    """Known content for a network trained with one timestep per token (LTX Video): known tokens are clean, at time 0.

    A mask value m between 0 and 1 is consistent: the token is mixed to m * x_sigma + (1 - m) * clean, which is the
    clean latent noised to level m * sigma, and the network is told m * sigma.
    """

    clean: bool = True
    about: str = ""

    def timestep(self, timestep: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        """Timesteps [B] and mask [B, C, T, H, W] -> timesteps [B, T * H * W], one per token."""
        if mask is None:
            return timestep
        return (mask[:, :1] * timestep.view(-1, 1, 1, 1, 1)).flatten(1)


@dataclass(frozen=True)
class Concatenated(Knowns):
    """Known content for a network that was given the first latent frame as further channels (CogVideoX I2V).

    It keeps that by itself, so the sampler lets it make the first `frames` latent frames. What is known elsewhere the
    network was never told of: that is re-noised. scale: what the given latents were multiplied with.
    """

    frames: int = 1
    scale: float = 1.0
    about: str = "trained with a known first frame: others are re-noised"

    def channels(
        self, latent: torch.Tensor, mask: torch.Tensor | None, clip: torch.Tensor | None = None
    ) -> torch.Tensor:
        """The known first latent frame in [B, C, T, H, W], zeros elsewhere."""
        given = torch.zeros_like(latent)
        if mask is not None:
            given[:, :, :1] = self.scale * ((1 - mask) * latent)[:, :, :1]
        return given

    def enforced(self, mask: torch.Tensor | None) -> torch.Tensor | None:
        """The mask without the first frames; None where nothing else is known."""
        if mask is None:
            return None
        rest = mask.clone()
        rest[:, :, : self.frames] = 1.0
        return None if rest.eq(1).all() else rest


@dataclass(frozen=True)
class Inpainted(Knowns):
    """Known content for a network that sees, beside the noisy clip, where it is known and the clip with black holes.

    CogVideoX-Fun InP. It keeps what is known by itself. scale: what the channel of where it is known is multiplied
    with. Without the clip encoded in one go (no VAE was introduced) it sees zeros in the holes.
    """

    in_one_go: bool = True
    scale: float = 1.0
    about: str = ""

    def channels(
        self, latent: torch.Tensor, mask: torch.Tensor | None, clip: torch.Tensor | None = None
    ) -> torch.Tensor:
        """[B, 1 + C, T, H, W]: what is known (scaled), then the clip. All zeros where nothing is known at all."""
        holes = torch.ones_like(latent[:, :1]) if mask is None else mask[:, :1]
        if holes.eq(1).all():
            return torch.cat([torch.zeros_like(holes), torch.zeros_like(latent)], dim=1)
        clip = (1 - holes) * latent if clip is None else clip.expand_as(latent)
        return torch.cat([self.scale * (1 - holes), clip], dim=1)

    def enforced(self, mask: torch.Tensor | None) -> torch.Tensor | None:
        return None


@dataclass(frozen=True)
class Controlled(Knowns):
    """A network that sees a whole clip beside the noisy one and follows it (CogVideoX-Fun Control and Pose).

    Known frames it was never told of: they are re-noised.
    """

    controlled: bool = True
    about: str = "trained to follow a control clip (Control Video):\nknown frames are re-noised"

    def channels(
        self, latent: torch.Tensor, mask: torch.Tensor | None, clip: torch.Tensor | None = None
    ) -> torch.Tensor:
        """The control clip's latents; zeros where there is none."""
        return torch.zeros_like(latent) if clip is None else clip.expand_as(latent)


def mask_of(latent: dict) -> torch.Tensor:
    """The mask [B, 1, T, H, W] of a LATENT; all ones (everything is to be made) where it has none.

    Masks of other nodes ([H, W], [B, H, W], any size) are spread over time and resized.
    """
    samples = latent["samples"]
    batch, _, *size = samples.shape
    mask = latent.get("noise_mask")
    if mask is None:
        return torch.ones(batch, 1, *size)
    mask = mask.float()
    if mask.ndim < 5:
        mask = mask.reshape(1, 1, -1, *mask.shape[-2:])
    mask = torch.nn.functional.interpolate(mask[:, :1], size=tuple(size), mode="trilinear")
    return mask.expand(batch, -1, -1, -1, -1).clone()


def place(latent: dict, content: torch.Tensor, start: int, strength: float) -> dict:
    """Write known content [1 or B, C, t, H, W] into a LATENT from latent frame `start` on; returns a new LATENT.

    strength 1 keeps the content as it is, 0 leaves the model free; between, it is noised that much less. What runs
    past the end is dropped. Raises ValueError when channels or size do not fit.
    """
    samples = latent["samples"].clone()
    if content.shape[1] != samples.shape[1] or content.shape[3:] != samples.shape[3:]:
        raise ValueError(
            f"The encoded images have latents {tuple(content.shape[1:])} (channels, frames, height, width), but the "
            f"latent they go into has {tuple(samples.shape[1:])}: use the VAE that was loaded together with the model."
        )
    count = min(content.shape[2], samples.shape[2] - start)
    where = slice(start, start + count)
    samples[:, :, where] = content[:, :, :count].to(samples)
    mask = mask_of(latent)
    mask[:, :, where] = 1.0 - strength
    return {**latent, "samples": samples, "noise_mask": mask}


def start_of(position: str, time: float, count: int, latent: dict, grid: Grid) -> int:
    """The latent frame where `count` images begin: position is "first", "last" or "at time" (seconds)."""
    end = latent["samples"].shape[2]
    if position == "first":
        return 0
    if position == "last":
        return max(0, end - max(1, count // grid.temporal))
    frame = round(time * latent.get("frame_rate", DEFAULT_FPS))
    return min(-(-frame // grid.temporal), end - 1)


def clip_for(count: int, start: int, grid: Grid) -> list[int]:
    """Which of `count` images, in which order, to encode for placing them from latent frame `start` on.

    The first latent frame of a clip is one frame long, every other `temporal` frames. At the start, images that do not
    fill a latent frame are left out. Elsewhere the clip gets one frame in front, whose latent frame is thrown away, and
    images that are too few for one latent frame are held for its length.
    """
    step = grid.temporal
    if start == 0:
        return list(range((count - 1) // step * step + 1))
    return [0, *(min(n, count - 1) for n in range(max(1, count // step) * step))]


def keyframes(times: str, strengths: str, count: int, latent: dict, grid: Grid) -> list[tuple[int, float]]:
    """The latent frame and strength of each of `count` images, read from "first, 1.5, 50%, last" and "1" or "1, 0.5".

    Raises ValueError naming what cannot be read, lies after the end, or falls on the same latent frame as another.
    """
    when = [word.strip().lower() for word in times.split(",") if word.strip()]
    kept = [word.strip() for word in strengths.split(",") if word.strip()]
    if len(when) != count:
        raise ValueError(f"There are {count} images and {len(when)} times ('{times}'). Write one time for each image.")
    if len(kept) not in (1, count):
        raise ValueError(f"There are {count} images and {len(kept)} strengths. Write one for each, or one for all.")
    placed: dict[int, str] = {}
    for word in when:
        start = _keyframe(word, latent, grid)
        if start in placed:
            raise ValueError(
                f"The images at '{placed[start]}' and '{word}' fall on the same latent frame, which holds "
                f"{grid.temporal} frames of video. Move one of them."
            )
        placed[start] = word
    return list(zip(placed, [_share(word) for word in kept] * (count // len(kept)), strict=True))


def _keyframe(word: str, latent: dict, grid: Grid) -> int:
    rate, end = latent.get("frame_rate", DEFAULT_FPS), latent["samples"].shape[2]
    if word in ("first", "last"):
        return start_of(word, 0.0, 1, latent, grid)
    length = (grid.frames(end) - 1) / rate  # when the last frame is seen
    try:
        seconds = float(word[:-1]) / 100 * length if word.endswith("%") else float(word)
    except ValueError:
        raise ValueError(f"The time '{word}' is none: write seconds, first, last, or a share such as 50%.") from None
    if not 0 <= seconds <= length + 1 / rate:
        raise ValueError(f"The time '{word}' is not in the shot, whose last frame is at {length:.2f} seconds.")
    return start_of("at time", seconds, 1, latent, grid)


def _share(word: str) -> float:
    try:
        value = float(word)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise ValueError(f"The strength '{word}' is not a number from 0 to 1.")
    return value
