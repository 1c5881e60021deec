"""Tiny random LTX-2 models, 2.0 and 2.3: diffusers' pipeline, its folder, and Lightricks' single files."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import sentencepiece
import torch
from diffusers import (
    AutoencoderKLLTX2Audio,
    AutoencoderKLLTX2Video,
    FlowMatchEulerDiscreteScheduler,
    LTX2Pipeline,
    LTX2VideoTransformer3DModel,
)
from diffusers.pipelines.ltx2 import LTX2TextConnectors, LTX2Vocoder
from diffusers.pipelines.ltx2.vocoder import LTX2VocoderWithBWE
from safetensors.torch import save_file
from tiny import SCHEDULER, in_scaled_fp8
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import Gemma3Config, Gemma3ForConditionalGeneration, Gemma3TextConfig, PreTrainedTokenizerFast

VERSIONS = ("2.0", "2.3")
CAPTION, LAYERS, TOKENS = 32, 3, 32  # Gemma's width, its layers with the embedding, tokens of a prompt (real: 1024)
HEADS, SIDE, AUDIO_SIDE = 4, 16, 8  # heads, and how wide one is for picture and for sound
VIDEO_WIDTH, AUDIO_WIDTH = HEADS * SIDE, HEADS * AUDIO_SIDE
PROMPT, NEGATIVE = "a red circle moves left over the sea", "noise"
WORDS = ["a red circle moves left over the sea", "noise", "footsteps on gravel, a door creaks open"]


def randomised(module: torch.nn.Module, seed: int, std: float = 0.08) -> torch.nn.Module:
    """Every parameter drawn anew."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(std * torch.randn(parameter.shape, generator=generator))
    return module.eval().requires_grad_(False)


def gemma(vocabulary: int = 340) -> Gemma3ForConditionalGeneration:
    ropes = {
        "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
        "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
    }
    text = Gemma3TextConfig(
        vocab_size=vocabulary,
        hidden_size=CAPTION,
        intermediate_size=48,
        num_hidden_layers=LAYERS - 1,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        query_pre_attn_scalar=16,
        sliding_window=1024,
        rope_parameters=ropes,
    )
    sight = dict(hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=28)
    config = Gemma3Config(text_config=text.to_dict(), vision_config=dict(sight, patch_size=14), mm_tokens_per_image=4)
    model = randomised(Gemma3ForConditionalGeneration(config), 11, 0.3)
    with torch.no_grad():
        for parameter in model.parameters():  # exact in float16, in which ComfyUI keeps text encoders on a CPU
            parameter.copy_(parameter.half())
    return model


def network_config(version: str) -> dict:
    new = version == "2.3"
    return dict(
        num_attention_heads=HEADS,
        attention_head_dim=SIDE,
        cross_attention_dim=VIDEO_WIDTH,
        audio_num_attention_heads=HEADS,
        audio_attention_head_dim=AUDIO_SIDE,
        audio_cross_attention_dim=AUDIO_WIDTH,
        num_layers=3,
        caption_channels=CAPTION,
        rope_type="split",
        gated_attn=new,
        audio_gated_attn=new,
        cross_attn_mod=new,
        audio_cross_attn_mod=new,
        use_prompt_embeddings=not new,
        perturbed_attn=True,
    )


def connectors(version: str) -> LTX2TextConnectors:
    new = version == "2.3"
    return LTX2TextConnectors(
        caption_channels=CAPTION,
        text_proj_in_factor=LAYERS,
        video_connector_num_attention_heads=HEADS,
        video_connector_attention_head_dim=SIDE if new else CAPTION // HEADS,
        video_connector_num_layers=1,
        video_connector_num_learnable_registers=4,
        video_gated_attn=new,
        audio_connector_num_attention_heads=HEADS,
        audio_connector_attention_head_dim=AUDIO_SIDE if new else CAPTION // HEADS,
        audio_connector_num_layers=1,
        audio_connector_num_learnable_registers=4,
        audio_gated_attn=new,
        rope_type="split",
        per_modality_projections=new,
        video_hidden_dim=VIDEO_WIDTH,
        audio_hidden_dim=AUDIO_WIDTH,
        proj_bias=new,
    )


def video_vae(version: str) -> AutoencoderKLLTX2Video:
    shared = dict(
        layers_per_block=(1,) * 5,
        decoder_causal=False,
        spatial_compression_ratio=32,
        temporal_compression_ratio=8,
    )
    if version == "2.0":
        config = dict(
            block_out_channels=(256, 512, 1024, 1024),
            decoder_block_out_channels=(16, 32, 64),
            decoder_layers_per_block=(1,) * 4,
        )
    else:
        config = dict(
            block_out_channels=(256, 512, 1024, 1024),
            decoder_block_out_channels=(16, 32, 32, 64),
            decoder_layers_per_block=(1,) * 5,
            decoder_spatio_temporal_scaling=(True,) * 4,
            decoder_inject_noise=(False,) * 5,
            upsample_type=("spatiotemporal", "spatiotemporal", "temporal", "spatial"),
            upsample_residual=(False,) * 4,
            upsample_factor=(2, 2, 1, 2),
            decoder_spatial_padding_mode="zeros",
        )
    config["block_out_channels"] = (8, 8, 16, 16)
    return _with_statistics(randomised(AutoencoderKLLTX2Video(**shared, **config), 2))


def audio_vae() -> AutoencoderKLLTX2Audio:
    return _with_statistics(randomised(AutoencoderKLLTX2Audio(ch_mult=(1, 1, 1), num_res_blocks=1), 3, 0.02))


def _with_statistics(coder: torch.nn.Module) -> torch.nn.Module:
    coder.latents_mean.copy_(torch.linspace(-0.5, 0.5, 128))
    coder.latents_std.copy_(torch.linspace(0.5, 1.5, 128))
    return coder


def vocoder(version: str) -> LTX2Vocoder | LTX2VocoderWithBWE:
    if version == "2.0":
        return randomised(LTX2Vocoder(hidden_channels=64), 5)
    model = randomised(LTX2VocoderWithBWE(hidden_channels=64, bwe_hidden_channels=64), 5)
    for name, buffer in model.mel_stft.named_buffers():  # a file has them; a new model has zeros
        generator = torch.Generator().manual_seed(len(name))
        values = torch.randn(buffer.shape, generator=generator) * 0.05
        buffer.copy_(values.abs() if name == "mel_basis" else values)  # a share of energy is never below 0
    return model


def tokenizer() -> PreTrainedTokenizerFast:
    words = sorted({word for line in WORDS for word in re.findall(r"\w+|[^\w\s]", line)})
    vocabulary = {word: number for number, word in enumerate(["<pad>", "<eos>", "<bos>", "<unk>", *words])}
    base = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    base.pre_tokenizer = pre_tokenizers.Whitespace()
    base.post_processor = processors.TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", 2)])
    names = dict(pad_token="<pad>", eos_token="<eos>", bos_token="<bos>", unk_token="<unk>")
    return PreTrainedTokenizerFast(tokenizer_object=base, padding_side="left", **names)


def pipeline(version: str, kind: type = LTX2Pipeline) -> LTX2Pipeline:
    pipe = kind(
        scheduler=FlowMatchEulerDiscreteScheduler(**SCHEDULER),
        vae=video_vae(version),
        audio_vae=audio_vae(),
        text_encoder=gemma(),
        tokenizer=tokenizer(),
        connectors=randomised(connectors(version), 4),
        transformer=randomised(LTX2VideoTransformer3DModel(**network_config(version)), 1),
        vocoder=vocoder(version),
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


def folder(path: Path, version: str, pipe: LTX2Pipeline | None = None) -> Path:
    """The model's diffusers folder, whose recipe.json says how many tokens it reads."""
    pipe = pipe or pipeline(version)
    pipe.save_pretrained(path)
    recipe = {"text": {"tokens": TOKENS}, "width": 64, "height": 64, "frames": 17, "steps": 2}
    (path / "recipe.json").write_text(json.dumps(recipe))
    return path


# ------------------------------------------------------------------------------------------------ single files

PREFIX = "model.diffusion_model."

_NAMES = {  # diffusers -> Lightricks; the order matters
    r"^(audio_)?proj_in\.": r"\1patchify_proj.",
    r"^av_cross_attn_(video|audio)_scale_shift\.": r"av_ca_\1_scale_shift_adaln_single.",
    r"^av_cross_attn_video_a2v_gate\.": "av_ca_a2v_gate_adaln_single.",
    r"^av_cross_attn_audio_v2a_gate\.": "av_ca_v2a_gate_adaln_single.",
    r"^(audio_)?prompt_adaln\.": r"\1prompt_adaln_single.",
    r"^(audio_)?time_embed\.": r"\1adaln_single.",
    r"\.(video|audio)_a2v_cross_attn_scale_shift_table$": r".scale_shift_table_a2v_ca_\1",
    r"\.norm_q\.": ".q_norm.",
    r"\.norm_k\.": ".k_norm.",
}
_TEXT_NAMES = {
    r"^(video|audio)_connector\.": rf"{PREFIX}\1_embeddings_connector.",
    r"\.transformer_blocks\.": ".transformer_1d_blocks.",
    r"^text_proj_in\.": "text_embedding_projection.aggregate_embed.",
    r"^(video|audio)_text_proj_in\.": r"text_embedding_projection.\1_aggregate_embed.",
    r"\.norm_q\.": ".q_norm.",
    r"\.norm_k\.": ".k_norm.",
}


def _original(state: dict[str, torch.Tensor], prefix: str, names: dict[str, str]) -> dict[str, torch.Tensor]:
    out = {}
    for key, weight in state.items():
        for pattern, replacement in names.items():
            key = re.sub(pattern, replacement, key)
        out[prefix + key] = weight.clone().contiguous()
    return out


def network_state(pipe: LTX2Pipeline) -> dict[str, torch.Tensor]:
    return _original(pipe.transformer.state_dict(), PREFIX, _NAMES)


def text_state(pipe: LTX2Pipeline) -> dict[str, torch.Tensor]:
    """Connectors and projection, as all-in-one files have them."""
    return _original(pipe.connectors.state_dict(), "", _TEXT_NAMES)


def video_vae_state(pipe: LTX2Pipeline) -> dict[str, torch.Tensor]:
    def numbered(match: re.Match) -> str:
        part, kind, block, sampler = match[1], match[2], int(match[3]), bool(match[4])
        first = 0 if kind == "down" else 1
        return f"{part}.{kind}_blocks.{2 * block + first + (sampler == (kind == 'down'))}."

    state = {}
    for key, weight in pipe.vae.state_dict().items():
        key = re.sub(r"^(encoder|decoder)\.(down|up)_blocks\.(\d+)\.((?:down|up)samplers\.0\.)?", numbered, key)
        key = re.sub(r"^encoder\.mid_block\.", "encoder.down_blocks.8.", key)
        key = re.sub(r"^decoder\.mid_block\.", "decoder.up_blocks.0.", key)
        state[key] = weight
    names = {
        r"\.resnets\.": ".res_blocks.",
        r"^latents_mean$": "per_channel_statistics.mean-of-means",
        r"^latents_std$": "per_channel_statistics.std-of-means",
    }
    return _original(state, "vae.", names)


def sound_state(pipe: LTX2Pipeline) -> dict[str, torch.Tensor]:
    statistics = {
        r"^latents_mean$": "per_channel_statistics.mean-of-means",
        r"^latents_std$": "per_channel_statistics.std-of-means",
    }
    names = {
        r"(^|\.)upsamplers\.": r"\1ups.",
        r"(^|\.)resnets\.": r"\1resblocks.",
        r"(^|\.)conv_in\.": r"\1conv_pre.",
        r"(^|\.)conv_out\.": r"\1conv_post.",
        r"(^|\.)act_out\.": r"\1act_post.",
        r"\.downsample\.": ".downsample.lowpass.",
    }
    sound = _original(pipe.audio_vae.state_dict(), "audio_vae.", statistics)
    return sound | _original(pipe.vocoder.state_dict(), "vocoder.", names)


def network_file_state(version: str) -> dict[str, torch.Tensor]:
    """Network and connectors in Lightricks' names without prefix, as in GGUF files, which have no metadata either."""
    network = randomised(LTX2VideoTransformer3DModel(**network_config(version)), 1)
    parts = randomised(connectors(version), 4)
    state = _original(network.state_dict(), "", _NAMES) | _original(parts.state_dict(), "", _TEXT_NAMES)
    return {key.removeprefix(PREFIX): weight for key, weight in state.items() if "aggregate_embed" not in key}


def metadata(version: str) -> dict[str, str]:
    """What a file says of its network: a tiny one does not have the published heads."""
    side = (SIDE, AUDIO_SIDE) if version == "2.3" else (CAPTION // HEADS,) * 2
    transformer = {
        "num_attention_heads": HEADS,
        "audio_num_attention_heads": HEADS,
        "connector_num_attention_heads": HEADS,
        "connector_attention_head_dim": side[0],
        "audio_connector_num_attention_heads": HEADS,
        "audio_connector_attention_head_dim": side[1],
        "rope_type": "split",
        "frequencies_precision": "float64",
    }
    return {"config": json.dumps({"transformer": transformer})}


def single_file(path: Path, version: str, pipe: LTX2Pipeline, kind: str = "whole") -> Path:
    """A file as published. kind: "whole" (all but Gemma), "network" (no more than that), "fp8", or "scaled" fp8."""
    state = network_state(pipe)
    if kind != "network":
        state |= text_state(pipe) | video_vae_state(pipe) | sound_state(pipe)
    own = network_state(pipe)
    matrices = [k for k in own if own[k].ndim == 2 and k.endswith(".weight") and ".transformer_blocks." in k]
    if kind == "fp8":
        state |= {key: state[key].to(torch.float8_e4m3fn) for key in matrices}
    if kind == "scaled":
        state = in_scaled_fp8(state, matrices)
        state.pop("scaled_fp8")
    save_file(state, path, metadata(version))
    return path


def pieces() -> bytes:
    """A sentencepiece model with Gemma's settings, as files carry it."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(WORDS * 20),
        model_writer=model,
        vocab_size=340,
        model_type="bpe",
        byte_fallback=True,
        add_dummy_prefix=False,
        remove_extra_whitespaces=False,
        normalization_rule_name="identity",
        pad_id=0,
        eos_id=1,
        bos_id=2,
        unk_id=3,
        minloglevel=3,
    )
    return model.getvalue()


def gemma_file(path: Path, pipe: LTX2Pipeline, scaled: bool = False) -> Path:
    """An artist's Gemma file, with its tokenizer inside; scaled: float8 matrices with a scale each."""
    state = pipe.text_encoder.state_dict()
    state = {k.replace("language_model.", ""): w.clone() for k, w in state.items() if "language_model." in k}
    if scaled:
        matrices = [key for key in state if re.search(r"(proj)\.weight$", key)]
        state = in_scaled_fp8(state, matrices)
    save_file(state | {"spiece_model": torch.tensor(list(pieces()), dtype=torch.uint8)}, path)
    return path
