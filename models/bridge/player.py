"""Plays the part of a clip that is there on the node that makes the rest, if ComfyUI's previews are on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Thread

import latent_preview
import numpy as np
import torch
from comfy_api import feature_flags
from comfy_execution.progress import get_progress_state
from comfy_execution.utils import get_executing_context
from protocol import BinaryEventTypes
from server import PromptServer

from ...media.so_far import SoFar

LONGEST_INTERVAL = 0.25
"""Seconds. A latent frame stands for several frames; if they last longer, the preview plays faster than the clip."""
RATE, SIDE = 8, 256
"""Frames a second that are shown of decoded ones, and their longer side in pixels. Taking them costs 0.3 ms a frame of
704 x 480, showing them a hundredth of a processor."""

Screen = Callable[[SoFar, int], None]
"""Shows the frame with this index of a clip."""


def screen() -> Screen | None:
    """The preview of the running node; None if previews are off or none runs."""
    running, server = get_executing_context(), getattr(PromptServer, "instance", None)
    if latent_preview.args.preview_method == latent_preview.LatentPreviewMethod.NoPreviews or None in (running, server):
        return None
    registry, client, size = get_progress_state(), server.client_id, latent_preview.MAX_PREVIEW_RESOLUTION

    def show(clip: SoFar, index: int) -> None:
        image = ("JPEG", clip.picture(index), size)
        state = registry.nodes.get(running.node_id)
        if state is not None:  # send its current progress again, with a picture
            update = running.node_id, state["value"], state["max"], state, running.prompt_id, image
            for handler in [handler for handler in registry.handlers.values() if handler.enabled]:
                handler.update_handler(*update)
        if not feature_flags.supports_feature(server.sockets_metadata, client, "supports_preview_metadata"):
            server.send_sync(BinaryEventTypes.UNENCODED_PREVIEW_IMAGE, image, client)

    return show


class Player:
    """Plays the newest version of a clip in a loop on a screen, in its own thread, until it is closed.

    A single frame is not played. `index` is the index of the current frame.
    """

    def __init__(self, show: Screen) -> None:
        self.show, self.index = show, 0
        self.clip: SoFar | None = None
        self._closed = Event()
        self._thread = Thread(target=self._run, name="Atelier preview", daemon=True)

    def play(self, clip: SoFar) -> None:
        """Switch to this clip, at the current frame."""
        self.clip = clip

    @property
    def interval(self) -> float:
        """Seconds from one frame to the next."""
        clip = self.clip
        return LONGEST_INTERVAL if clip is None else min(clip.seconds / len(clip.frames), LONGEST_INTERVAL)

    def _run(self) -> None:
        while not self._closed.wait(self.interval):
            clip = self.clip
            if clip is not None and len(clip.frames) > 1:
                self.index = (self.index + 1) % len(clip.frames)
                self.show(clip, self.index)

    def __enter__(self) -> Player:
        self._thread.start()
        return self

    def __exit__(self, *failure: object) -> None:
        self._closed.set()
        self._thread.join()


Chunks = Iterator[torch.Tensor]


@contextmanager
def following(frame_rate: float) -> Iterator[Callable[[Chunks], Chunks]]:
    """A function that returns chunks of frames [f, H, W, 3] in 0..1 unchanged, while the running node plays those that
    have come, until the context ends."""
    show = screen()
    if show is None:
        yield lambda chunks: chunks
        return
    with Player(show) as player:
        yield lambda chunks: _followed(chunks, frame_rate, player)


def _followed(chunks: Chunks, frame_rate: float, player: Player) -> Chunks:
    every, count, shown = max(1, round(frame_rate / RATE)), 0, 0
    room = np.empty((0, 0, 0, 3), np.uint8)
    for chunk in chunks:
        step = -(-max(chunk.shape[1:3]) // SIDE)
        small = chunk[-count % every :: every, ::step, ::step, :3].mul(255).to(torch.uint8).numpy()
        if shown + len(small) > len(room):  # twice as much: copying it all for each chunk would slow long clips
            room, before = np.empty((2 * (shown + len(small)), *small.shape[1:]), np.uint8), room[:shown]
            room[:shown] = before.reshape(shown, *small.shape[1:])
        room[shown : shown + len(small)] = small
        shown, count = shown + len(small), count + len(chunk)
        player.play(SoFar(room[:shown], count / frame_rate, decoded=True))
        yield chunk
