"""The base of all networks: ComfyUI calls them, wrappers of other nodes apply, and ComfyUI manages their memory."""

from __future__ import annotations

from typing import Any

import comfy.patcher_extension
import torch

from .weights import Uncast, bring_along


class ComfyNetwork:
    """ComfyUI's calling convention for a network. A family's class inherits from this class first, then the network's.

    For example, class LTXVideoNetwork(ComfyNetwork, LTXVideoTransformer3DModel) implements `denoise`, which calls the
    network's own forward as `self.reference`.
    """

    uncast: Uncast = ()
    """The tensors to move to the device before each call: see `weights.uncast`."""

    def forward(
        self,
        x: torch.Tensor,
        timestep: torch.Tensor,
        context: torch.Tensor,
        *,
        transformer_options: dict[str, Any] | None = None,
        **conditions: Any,
    ) -> torch.Tensor:
        """Call `denoise` inside the wrappers that other nodes add (EasyCache, LazyCache, ...).

        x: the noisy latent [B, C, T, H, W]. timestep: [B], or one per token. context: text [B, tokens, width].
        conditions: all other entries of the conditioning; a network ignores those that it does not use.
        """
        options = transformer_options or {}
        bring_along(self.uncast, x.device)
        wrappers = comfy.patcher_extension.get_all_wrappers(comfy.patcher_extension.WrappersMP.DIFFUSION_MODEL, options)
        executor = comfy.patcher_extension.WrapperExecutor.new_class_executor(self.denoise, self, wrappers)
        return executor.execute(x, timestep, context, transformer_options=options, **conditions)

    def denoise(
        self,
        x: torch.Tensor,
        timestep: torch.Tensor,
        context: torch.Tensor,
        *,
        transformer_options: dict[str, Any],
        **conditions: Any,
    ) -> torch.Tensor:
        """The network's prediction [B, C, T, H, W]. Arguments as in `forward`."""
        raise NotImplementedError

    def reference(self, *args: Any, **kwargs: Any) -> Any:
        """The network's own forward, as its authors call it."""
        return super().forward(*args, **kwargs)
