"""The base of all networks: ComfyUI calls them, wrappers of other nodes apply, and ComfyUI manages their memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import comfy.patcher_extension
import comfy.utils
import torch

from .hooks.attention import Hooks, hook_attention
from .hooks.blocks import BlockKind, hook_blocks
from .hooks.step_cache import STEP_CACHE
from .weights import Uncast, bring_along


class ComfyNetwork:
    """ComfyUI's calling convention for a network. A family's class inherits from this class first, then the network's.

    For example, class LTXVModel(ComfyNetwork, LTXVideoTransformer3DModel) implements `denoise`, which calls the
    network's own forward as `self.reference`.
    """

    uncast: Uncast = ()
    """The tensors to move to the device before each call: see `weights.uncast`."""
    block_kinds: Sequence[BlockKind]
    """The network's blocks under the names that other nodes use."""
    attention_processor: Callable[[Hooks], Any]
    """Creates the diffusers attention processor that all attention layers of the network share."""

    text_widths: tuple[int, ...] = ()
    """The widths of texts that `prepared_text` takes besides `Text.channels`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.hooks = Hooks()
        self.shared_processor = self.attention_processor(self.hooks)
        hook_attention(self, self.shared_processor)
        hook_blocks(self, self.block_kinds, self.hooks)

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            raise AttributeError(
                f"The network of this model ({type(self).__name__}) has no '{name}'. It is diffusers' network, not "
                "ComfyUI's own. The node that looks for this is made for another network: remove it."
            ) from None

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "__class__" and not issubclass(value, ComfyNetwork):
            raise ValueError(
                f"This node turns a network into a {value.__name__}, which works with ComfyUI's own network alone, not "
                "with a model of Load Video Model. Load the model with ComfyUI's loader, or remove the node."
            )
        super().__setattr__(name, value)

    def forward(
        self,
        x: torch.Tensor | list[torch.Tensor],
        timestep: torch.Tensor | tuple[torch.Tensor, ...],
        context: torch.Tensor,
        *,
        transformer_options: dict[str, Any] | None = None,
        **conditions: Any,
    ) -> torch.Tensor:
        """Call `denoise` inside what other nodes add: wrappers (EasyCache, LazyCache, ...), and within them hooks.

        x: the noisy latent [B, C, T, H, W]. timestep: [B], or one per token. context: text [B, tokens, width].
        conditions: all other entries of the conditioning; a network ignores those that it does not use.

        A network with sound gets x as its two streams, and timestep as (that of the step [B], the picture's, the
        sound's). Wrappers get one row [B, 1, numbers] and the step's timestep, because they calculate with tensors. The
        result is a row, too.
        """
        if isinstance(x, list):
            timestep, *conditions["stream_timesteps"] = timestep
            x, conditions["stream_shapes"] = comfy.utils.pack_latents(x)
        options = transformer_options or {}
        bring_along(self.uncast, x.device)
        wrappers = comfy.patcher_extension.get_all_wrappers(comfy.patcher_extension.WrappersMP.DIFFUSION_MODEL, options)
        executor = comfy.patcher_extension.WrapperExecutor.new_class_executor(self._hooked, self, wrappers)
        return executor.execute(x, timestep, context, transformer_options=options, **conditions)

    def _hooked(
        self,
        x: torch.Tensor,
        *args: Any,
        transformer_options: dict[str, Any],
        stream_shapes: list[torch.Size] | None = None,
        **conditions: Any,
    ) -> torch.Tensor:
        cache = transformer_options.get(STEP_CACHE)
        cached = None if cache is None else cache.call(stream_shapes or [x.shape], self.patch, transformer_options)
        if stream_shapes is not None:
            streams = comfy.utils.unpack_latents(x, stream_shapes)
            with self.hooks.during(transformer_options, cached):
                streams = self.denoise(streams, *args, transformer_options=transformer_options, **conditions)
            return comfy.utils.pack_latents(streams)[0]
        with self.hooks.during(transformer_options, cached):
            return self.denoise(x, *args, transformer_options=transformer_options, **conditions)

    @property
    def patch(self) -> tuple[int, int]:
        """How many latent frames, and latent pixels per side, the network reads as one token."""
        return self.config.get("patch_size_t") or 1, self.config["patch_size"]

    def denoise(
        self,
        x: torch.Tensor,
        timestep: torch.Tensor,
        context: torch.Tensor,
        *,
        transformer_options: dict[str, Any],
        **conditions: Any,
    ) -> torch.Tensor:
        """The network's prediction [B, C, T, H, W]. Arguments as in `forward`.

        A network with sound gets its two streams and returns them. The condition `stream_timesteps` has their
        timesteps.
        """
        raise NotImplementedError

    def prepared_text(self, text: torch.Tensor, options: Mapping[str, Any]) -> torch.Tensor:
        """The text of a CONDITIONING [B, tokens, width] as `denoise` gets it; called once before sampling.

        options: the CONDITIONING's other entries.
        """
        return text

    def reference(self, *args: Any, **kwargs: Any) -> Any:
        """The network's own forward, as its authors call it."""
        return super().forward(*args, **kwargs)
