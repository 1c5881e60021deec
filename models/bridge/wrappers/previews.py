"""The clip, playing on the node that samples it, where ComfyUI's own previews are on."""

from __future__ import annotations

from collections.abc import Callable

import latent_preview
import torch
from comfy_api import feature_flags
from comfy_execution.progress import get_progress_state
from comfy_execution.utils import get_executing_context
from PIL import Image
from protocol import BinaryEventTypes
from server import PromptServer

from ...contract.colours import Player, pictures
from .calls import Run, around_run
from .known_frames import conditioned_frame_rate


@around_run
def with_preview(run: Run) -> torch.Tensor:
    """Sample while the node plays what there is so far, where ComfyUI's own previews are on and somebody watches."""
    send, callback = _sender(), run.callback
    if send is None or callback is None:
        return run.go_on()
    entries = [entry for conds in run.guider.conds.values() for entry in conds]
    shown, variant = run.model.latent_format, run.model.variant

    def report(step: int, denoised: torch.Tensor, x: torch.Tensor, steps: int) -> None:
        player.play(pictures(denoised, shown.colours))
        shown.preview_frame = player.index
        callback(step, denoised, x, steps)

    with Player(send, variant.grid.temporal / conditioned_frame_rate(entries, variant)) as player:
        try:
            return run.go_on(callback=report)
        finally:
            shown.preview_frame = 0


def _sender() -> Callable[[torch.Tensor], None] | None:
    """Sends a picture, uint8 [h, w, 3], to the node that runs now; None where previews are off or no node runs."""
    running, server = get_executing_context(), getattr(PromptServer, "instance", None)
    if latent_preview.args.preview_method == latent_preview.LatentPreviewMethod.NoPreviews or None in (running, server):
        return None
    registry, client, size = get_progress_state(), server.client_id, latent_preview.MAX_PREVIEW_RESOLUTION

    def send(picture: torch.Tensor) -> None:
        image = ("JPEG", Image.fromarray(picture.numpy()), size)
        state = registry.nodes.get(running.node_id)
        if state is not None:  # its progress as it stands, with a picture
            told = running.node_id, state["value"], state["max"], state, running.prompt_id, image
            for handler in [handler for handler in registry.handlers.values() if handler.enabled]:
                handler.update_handler(*told)
        if not feature_flags.supports_feature(server.sockets_metadata, client, "supports_preview_metadata"):
            server.send_sync(BinaryEventTypes.UNENCODED_PREVIEW_IMAGE, image, client)

    return send
