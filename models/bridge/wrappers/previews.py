"""Play the clip on the node that samples it, if ComfyUI's previews are on."""

from __future__ import annotations

from typing import Any

import latent_preview
import torch

from ....media.so_far import SoFar
from ...contract.colours import Colours
from ...timeline.latent import video_of
from ..player import Player, screen
from .calls import SamplerRun, around_run, conditioned_frame_rate


@around_run
def with_preview(run: SamplerRun) -> torch.Tensor:
    """Sample while the node plays the clip so far, if ComfyUI's previews are on and a client is connected."""
    show, callback = screen(), run.callback
    latent_format, variant = run.model.latent_format, run.model.variant
    if show is None or callback is None or _others_play(run.guider.model_patcher.load_device, latent_format):
        return run.proceed()
    entries = [entry for conds in run.guider.conds.values() for entry in conds]
    frame_rate = conditioned_frame_rate(entries, variant)

    def report(step: int, denoised: torch.Tensor, x: torch.Tensor, steps: int) -> None:
        frames = pictures(video_of(denoised), latent_format.colours).numpy()
        player.play(SoFar(frames, variant.grid.frames(len(frames)) / frame_rate, decoded=False))
        latent_format.preview_frame = player.index
        callback(step, denoised, x, steps)

    with Player(show) as player:
        try:
            return run.proceed(callback=report)
        finally:
            latent_format.preview_frame = 0


def _others_play(device: torch.device, latent_format: Any) -> bool:
    """Whether another pack (VideoHelperSuite) shows the previews, in messages of its own that ours would disturb."""
    previewer = latent_preview.get_previewer(device, latent_format)
    return previewer is not None and type(previewer).__module__ != latent_preview.__name__


def pictures(latents: torch.Tensor, colours: Colours) -> torch.Tensor:
    """The first clip of latents [B, C, T, h, w] as RGB, uint8 [T, h, w, 3], in main memory."""
    factors, bias = (torch.tensor(numbers).to(latents) for numbers in (colours.factors, colours.bias))
    coloured = torch.nn.functional.linear(latents[0].movedim(0, -1), factors.T, bias)
    return ((coloured + 1) / 2).clamp(0, 1).mul(255).to("cpu", torch.uint8)
