"""Play the clip on the node that samples it, if ComfyUI's previews are on."""

from __future__ import annotations

from collections.abc import Callable
from threading import Event, Thread
from typing import Any

import latent_preview
import torch
from comfy_api import feature_flags
from comfy_execution.progress import get_progress_state
from comfy_execution.utils import get_executing_context
from PIL import Image
from protocol import BinaryEventTypes
from server import PromptServer

from ...contract.colours import Colours
from ...timeline.latent import video_of
from .calls import SamplerRun, around_run, conditioned_frame_rate

# Seconds. A latent frame stands for several frames; if they last longer, the preview plays faster than the clip.
LONGEST_INTERVAL = 0.25


@around_run
def with_preview(run: SamplerRun) -> torch.Tensor:
    """Sample while the node plays the clip so far, if ComfyUI's previews are on and a client is connected."""
    send, callback = _sender(), run.callback
    latent_format, variant = run.model.latent_format, run.model.variant
    if send is None or callback is None or _others_play(run.guider.model_patcher.load_device, latent_format):
        return run.proceed()
    entries = [entry for conds in run.guider.conds.values() for entry in conds]

    def report(step: int, denoised: torch.Tensor, x: torch.Tensor, steps: int) -> None:
        player.play(pictures(video_of(denoised), latent_format.colours))
        latent_format.preview_frame = player.index
        callback(step, denoised, x, steps)

    with Player(send, variant.grid.temporal / conditioned_frame_rate(entries, variant)) as player:
        try:
            return run.proceed(callback=report)
        finally:
            latent_format.preview_frame = 0


def _others_play(device: torch.device, latent_format: Any) -> bool:
    """Whether another pack (VideoHelperSuite) shows the previews, in messages of its own that ours would disturb."""
    previewer = latent_preview.get_previewer(device, latent_format)
    return previewer is not None and type(previewer).__module__ != latent_preview.__name__


def _sender() -> Callable[[torch.Tensor], None] | None:
    """A function that sends a picture, uint8 [h, w, 3], to the running node; None if previews are off or none runs."""
    running, server = get_executing_context(), getattr(PromptServer, "instance", None)
    if latent_preview.args.preview_method == latent_preview.LatentPreviewMethod.NoPreviews or None in (running, server):
        return None
    registry, client, size = get_progress_state(), server.client_id, latent_preview.MAX_PREVIEW_RESOLUTION

    def send(picture: torch.Tensor) -> None:
        image = ("JPEG", Image.fromarray(picture.numpy()), size)
        state = registry.nodes.get(running.node_id)
        if state is not None:  # send its current progress again, with a picture
            update = running.node_id, state["value"], state["max"], state, running.prompt_id, image
            for handler in [handler for handler in registry.handlers.values() if handler.enabled]:
                handler.update_handler(*update)
        if not feature_flags.supports_feature(server.sockets_metadata, client, "supports_preview_metadata"):
            server.send_sync(BinaryEventTypes.UNENCODED_PREVIEW_IMAGE, image, client)

    return send


def pictures(latents: torch.Tensor, colours: Colours) -> torch.Tensor:
    """The first clip of latents [B, C, T, h, w] as RGB, uint8 [T, h, w, 3], in main memory."""
    factors, bias = (torch.tensor(numbers).to(latents) for numbers in (colours.factors, colours.bias))
    coloured = torch.nn.functional.linear(latents[0].movedim(0, -1), factors.T, bias)
    return ((coloured + 1) / 2).clamp(0, 1).mul(255).to("cpu", torch.uint8)


class Player:
    """Plays the newest version of a clip in a loop, in its own thread, until it is closed.

    show(picture): called every `interval` seconds with the next frame [h, w, 3]. A single frame is not played. `index`
    is the index of the current frame.
    """

    def __init__(self, show: Callable[[torch.Tensor], None], interval: float) -> None:
        self.show, self.interval, self.index = show, min(interval, LONGEST_INTERVAL), 0
        self.clip: torch.Tensor | None = None
        self._closed = Event()
        self._thread = Thread(target=self._run, name="Atelier preview", daemon=True)

    def play(self, clip: torch.Tensor) -> None:
        """Switch to this clip, uint8 [T, h, w, 3], at the current frame."""
        self.clip = clip

    def _run(self) -> None:
        while not self._closed.wait(self.interval):
            clip = self.clip
            if clip is not None and len(clip) > 1:
                self.index = (self.index + 1) % len(clip)
                self.show(clip[self.index])

    def __enter__(self) -> Player:
        self._thread.start()
        return self

    def __exit__(self, *failure: object) -> None:
        self._closed.set()
        self._thread.join()
