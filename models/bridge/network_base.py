"""A family's network as ComfyUI calls it: inside the wrappers of other nodes, in memory that ComfyUI manages."""

from __future__ import annotations

from typing import Any

import comfy.patcher_extension
import torch

from .weights import Uncast, bring_along


class ComfyNetwork:
    """ComfyUI's calling convention in front of a network. A family's class names this one first, then the network's.

    class LTXVideoNetwork(ComfyNetwork, LTXVideoTransformer3DModel): its `denoise` has the family's computation and
    calls the network's own forward as `self.reference`.
    """

    uncast: Uncast = ()
    """What has to be brought along to the device: see `weights.uncast`."""

    def forward(
        self,
        x: torch.Tensor,
        timestep: torch.Tensor,
        context: torch.Tensor,
        *,
        transformer_options: dict[str, Any] | None = None,
        **conditions: Any,
    ) -> torch.Tensor:
        """`denoise` inside the wrappers that other nodes hang there (EasyCache, LazyCache, ...).

        x: the noisy latent [B, C, T, H, W]. timestep: [B], or one per token. context: text [B, tokens, width].
        conditions: what else the conditioning has; a network ignores what it does not read.
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
        """What the network predicts [B, C, T, H, W]. Arguments as in `forward`."""
        raise NotImplementedError

    def reference(self, *args: Any, **kwargs: Any) -> Any:
        """The network's own forward, as its authors call it."""
        return super().forward(*args, **kwargs)
