"""A family's network as ComfyUI calls it: inside the wrappers of other nodes, in memory that ComfyUI manages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import comfy.patcher_extension
import torch


class ComfyNetwork:
    """ComfyUI's calling convention in front of a network. A family's class names this one first, then the network's.

    class LTXVideoNetwork(ComfyNetwork, LTXVideoTransformer3DModel): its `denoise` has the family's computation and
    calls the network's own forward as `self.reference`.
    """

    uncast: Sequence[tuple[torch.nn.Module, str]] = ()
    """(module, name) of the tensors that no layer of ComfyUI's casts: see `uncast`."""

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
        self._bring_along(x.device)
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

    def _bring_along(self, device: torch.device) -> None:
        """Move to `device` what ComfyUI leaves behind when it loads a network in part; it is little."""
        for module, name in self.uncast:
            tensor = getattr(module, name)
            if tensor.device != device:
                moved = tensor.to(device)
                parameter = name in module._parameters
                setattr(module, name, torch.nn.Parameter(moved, requires_grad=False) if parameter else moved)


def uncast(network: torch.nn.Module) -> list[tuple[torch.nn.Module, str]]:
    """(module, name) of the parameters and buffers that no layer of ComfyUI's casts: tables, norms of other classes."""
    return [
        (module, name)
        for module in network.modules()
        if not hasattr(module, "comfy_cast_weights")
        for name, _ in (*module.named_parameters(recurse=False), *module.named_buffers(recurse=False))
    ]
