"""The sound of a clip that is sampled in windows: each window gets the sound of its frames, and gives it back."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch

from ...contract.grid import Grid
from ...timeline.sound import frames_before, place_at
from ...timeline.windows import Window
from ..video_model import VideoModel
from .calls import SamplerRun
from .streams import TRACK, SoundTrack, track_of


@dataclass
class WindowedSound:
    """The sound of a whole clip [B, C, L, bins], as far as it is sampled.

    holes: its mask, 1 = still to be generated. A window that begins later has the frame before its first latent frame
    in front (an opening, or where positions begin), and that frame's sound.
    """

    options: dict[str, Any]
    track: SoundTrack
    clip: torch.Tensor
    holes: torch.Tensor
    grid: Grid
    fps: float
    rate: float
    part: SoundTrack | None = field(default=None, init=False)

    @classmethod
    def of(cls, run: SamplerRun, model: VideoModel, fps: float) -> WindowedSound | None:
        """That of a run; None if it has no sound."""
        track = track_of(run)
        if track is None:
            return None
        holes = torch.ones_like(track.latent) if track.mask is None else track.mask.to(track.latent).clone()
        grid, rate = model.variant.grid, model.variant.sound.per_second
        return cls(run.options, track, track.latent.clone(), holes, grid, fps, rate)

    def options_of(self, window: Window) -> dict[str, Any]:
        """The run's options in a window: those of its own SoundTrack."""
        begin, until = self._begin(window), self._place(window.until)
        here, holes = slice(begin, until), self.holes.clone()
        if window.opening:  # what was heard before a cut is not continued
            holes[:, :, begin : self._place(window.begin)] = 1
        mask = holes[:, :, here] if (holes[:, :, here] < 1).any() else None
        self.part = SoundTrack(self.track.noise[:, :, here], self.clip[:, :, here], mask)
        return {**self.options, TRACK: self.part}

    def finish(self, window: Window) -> None:
        """Keep what was sampled for a window's new frames."""
        self.clip = self._with(window, self.part.sampled)
        self.holes[:, :, self._place(window.start) : self._place(window.end)] = 0
        self.track.sampled = self.clip

    def show(self, window: Window) -> None:
        """Report the whole clip's sound so far, at a window's step."""
        self.track.shown = tuple(self._with(window, shown) for shown in self.part.shown)

    def _with(self, window: Window, part: torch.Tensor) -> torch.Tensor:
        """The clip's sound with that of a window's new frames."""
        start, end, begin = self._place(window.start), self._place(window.end), self._begin(window)
        whole = self.clip.to(part)
        return torch.cat([whole[:, :, :start], part[:, :, start - begin : end - begin], whole[:, :, end:]], dim=2)

    def _begin(self, window: Window) -> int:
        frames = frames_before(window.begin, self.grid)
        return place_at(max(0, frames - 1), self.fps, self.rate)

    def _place(self, latent_frame: int) -> int:
        """The sound latent at which a latent frame begins; the end of the sound for the end of the clip."""
        return min(place_at(frames_before(latent_frame, self.grid), self.fps, self.rate), self.clip.shape[2])
