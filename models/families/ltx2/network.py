"""LTX-2's network: diffusers', under ComfyUI's calling convention for two streams, with the two text connectors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from diffusers import LTX2VideoTransformer3DModel
from diffusers.pipelines.ltx2.connectors import LTX2ConnectorTransformer1d

from ...bridge.gemma import UNPROCESSED
from ...bridge.guide_tokens import GuideTokens
from ...bridge.network_base import ComfyNetwork
from ...bridge.weights import bring_along, without_weights
from ...contract.family import Variant
from ...contract.guidance import ISOLATED
from .attention import BLOCKS, LTX2Processor, name_attentions


class LTX2Network(ComfyNetwork, LTX2VideoTransformer3DModel):
    """diffusers' LTX-2 transformer under ComfyUI's calling convention. Parameter names are diffusers' own.

    The text connectors run once before sampling (`prepared_text`), because they do not depend on the noise.
    """

    block_kinds, attention_processor = (BLOCKS,), LTX2Processor

    tokens: int
    """How many tokens of text it reads. Learned registers stand for those that a prompt lacks."""

    def __init__(self, connectors: Mapping[str, Any], **arguments: Any) -> None:
        super().__init__(**arguments)
        name_attentions(self)
        self.two_projections = connectors["two_projections"]
        shared = {"rope_type": self.config.rope_type, "gated_attention": connectors["gated_attention"]}
        for name in ("video", "audio"):
            connector = LTX2ConnectorTransformer1d(**connectors[name], **shared)
            for module in connector.modules():
                if hasattr(module, "processor"):
                    module.processor, module.kind = self.shared_processor, "connector"
            self.add_module(f"{name}_connector", connector)
        self.prepared_widths = [self.video_connector.inner_dim, self.audio_connector.inner_dim]
        self.text_widths = (sum(self.prepared_widths),)
        for gate in (self.av_cross_attn_video_a2v_gate, self.av_cross_attn_audio_v2a_gate):
            gate.register_forward_pre_hook(self._with_level)

    def _with_level(self, gate: torch.nn.Module, arguments: tuple, /) -> tuple:
        """The gates of attention between the streams get the noise level of the other stream, as in Lightricks' code.

        diffusers gives them the stream's own timesteps, which differ where a part is known. Both streams share a level.
        """
        scale = self.config.cross_attn_timestep_scale_multiplier / self.config.timestep_scale_multiplier
        return (self.level * scale, *arguments[1:])

    def prepared_text(self, text: torch.Tensor, options: Mapping[str, Any]) -> torch.Tensor:
        """Projected text [B, n, width] -> the outputs of both connectors side by side [B, tokens, widths].

        Learned registers fill it up to `tokens`. Text that already went through the connectors is returned as it is.
        """
        if not options.get(UNPROCESSED, False):
            return text
        device, dtype = options["device"], self.learned_dtype
        bring_along(self.uncast, device)
        text = text.to(device, dtype)[:, : self.tokens]
        parts = text.split(self.prepared_widths, dim=-1) if self.two_projections else [text, text]
        mask = text.new_zeros(len(text), 1, 1, self.tokens)
        mask[..., text.shape[1] :] = torch.finfo(dtype).min
        missing = self.tokens - text.shape[1]
        rows = [torch.nn.functional.pad(part, (0, 0, 0, missing)) for part in parts]
        connectors = (self.video_connector, self.audio_connector)
        return torch.cat([connector(row, mask)[0] for connector, row in zip(connectors, rows, strict=True)], dim=-1)

    @property
    def learned_dtype(self) -> torch.dtype:
        """The dtype that the network computes in: that of its tables, which are not stored in another one."""
        return self.scale_shift_table.dtype

    def denoise(
        self,
        x: list[torch.Tensor],
        timestep: torch.Tensor,
        context: torch.Tensor,
        *,
        stream_timesteps: list[torch.Tensor],
        transformer_options: dict[str, Any],
        frame_rate: float = 24.0,
        first_frame: int = 0,
        **others: Any,
    ) -> list[torch.Tensor]:
        """Velocities of x = [picture [B, C, T, H, W], sound [B, 8, L, 16]].

        timestep: 0..1000, that of the step [B]. stream_timesteps: the picture's [B, T * H * W] or [B], and the sound's
        [B, L] or [B]. context: prepared text [B, tokens, widths]. frame_rate: frames per second; positions are seconds.
        first_frame: 1 if x begins later in its scene: one frame and its sound come before the picture's first. others:
        where the picture's last latent frames are guides, what is known of their tokens (see GuideTokens).
        """
        video, sound = x
        text, sound_text = context.split(self.prepared_widths, dim=-1)
        self.level, guides = timestep, GuideTokens.of(others)
        tokens, times = video.flatten(2).transpose(1, 2), stream_timesteps[0]
        places, compute, count = self._places(video, frame_rate, first_frame, guides), None, tokens.shape[1]
        if guides is not None:
            tokens, places = guides.chosen(tokens), guides.chosen(places, dim=2)
            times = guides.chosen(times) if times.ndim == 2 else times
            compute = guides.attention(tokens.shape[1], tokens.dtype)
        with self.shared_processor.self_attention(compute):
            velocity, sound_velocity = self.reference(
                hidden_states=tokens,
                audio_hidden_states=sound.transpose(1, 2).flatten(2),
                encoder_hidden_states=text,
                audio_encoder_hidden_states=sound_text,
                timestep=times,
                audio_timestep=stream_timesteps[1],
                sigma=timestep,
                num_frames=video.shape[2],
                height=video.shape[3],
                width=video.shape[4],
                fps=frame_rate,
                video_coords=places,
                audio_num_frames=sound.shape[2],
                isolate_modalities=not any(transformer_options.get(name, True) for name in ISOLATED),
                return_dict=False,
            )
        if guides is not None:
            velocity = guides.restored(velocity, count)
        return [
            velocity.transpose(1, 2).unflatten(2, video.shape[2:]),
            sound_velocity.unflatten(2, (sound.shape[1], sound.shape[3])).transpose(1, 2),
        ]

    def _places(
        self, video: torch.Tensor, frame_rate: float, first_frame: int, guides: GuideTokens | None
    ) -> torch.Tensor:
        """Where each token of the picture begins and ends, [B, 3, T * H * W, 2]: seconds, pixels down and across."""
        batch, _, time, height, width = video.shape
        before = int(first_frame > 0)
        places = self.rope.prepare_video_coords(batch, time + before, height, width, video.device, fps=frame_rate)
        places = places[:, :, before * height * width :]
        if guides is not None:
            own = torch.stack([guides.places, guides.ends], dim=-1).to(places)
            own[:, 0] /= frame_rate
            places[:, :, -own.shape[2] :] = own
        return places


def build_network(variant: Variant) -> LTX2Network:
    with without_weights():
        network = LTX2Network(**variant.network)
    network.tokens = variant.text.tokens
    return network
