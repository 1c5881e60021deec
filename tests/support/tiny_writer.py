"""Text models in the real layouts that write one sentence: a Qwen 2 chat model as a folder and as a GGUF file.

The next word follows from the last alone (attention and feed-forward are random, but add nothing), so what the model
says is known, whatever it is told.
"""

from __future__ import annotations

import json
from pathlib import Path

import gguf
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

WORDS = "a red fox walks slowly under old trees while the camera follows".split()
SENTENCE = "a red fox walks slowly under old trees while the camera follows."
SPECIAL = START, END, USER, ASSISTANT = "<|start|>", "<|end|>", "<|user|>", "<|assistant|>"
TEMPLATE = (
    "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
THINKING = "{# <think> #}" + TEMPLATE
NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "model.layers": "blk",
}


def tokenizer(template: str | None = TEMPLATE) -> PreTrainedTokenizerFast:
    """Bytes, and each of WORDS with the space before it as one token."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges, vocabulary = [], {token: number for number, token in enumerate([*SPECIAL, *letters])}
    for word in WORDS:
        whole = "Ġ"
        for letter in word:
            merges.append((whole, letter))
            whole += letter
            vocabulary.setdefault(whole, len(vocabulary))
    core = Tokenizer(models.BPE(vocabulary, list(dict.fromkeys(merges))))
    core.pre_tokenizer, core.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    made = PreTrainedTokenizerFast(
        tokenizer_object=core, bos_token=START, eos_token=END, additional_special_tokens=[USER, ASSISTANT]
    )
    made.chat_template = template
    return made


def network(words: PreTrainedTokenizerFast, endless: bool = False, silent: bool = False) -> Qwen2ForCausalLM:
    """A network that writes SENTENCE after the assistant's mark: once, repeatedly, or not at all."""
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=len(words),
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=8192,
        tie_word_embeddings=False,
        bos_token_id=words.bos_token_id,
        eos_token_id=words.eos_token_id,
    )
    made = Qwen2ForCausalLM(config)
    said = [] if silent else words(" " + SENTENCE)["input_ids"]
    chain = [words.convert_tokens_to_ids(ASSISTANT), *said, said[0] if endless else words.eos_token_id]
    with torch.no_grad():
        embedded = torch.nn.functional.normalize(torch.randn(len(words), 64), dim=1)
        made.model.embed_tokens.weight.copy_(embedded)
        made.lm_head.weight.zero_()
        for token, following in zip(chain, chain[1:], strict=False):
            made.lm_head.weight[following] += 8 * embedded[token]
        for layer in made.model.layers:
            layer.self_attn.o_proj.weight.zero_()
            layer.mlp.down_proj.weight.zero_()
    return made


def folder(path: Path, template: str | None = TEMPLATE, **kind: bool) -> Path:
    words = tokenizer(template)
    network(words, **kind).save_pretrained(path, safe_serialization=True)
    words.save_pretrained(path)
    return path


def gguf_file(path: Path, template: str | None = TEMPLATE, **kind: bool) -> Path:
    """The same in one file: matrices as Q8_0, names and notes as llama.cpp writes them."""
    words = tokenizer(template)
    made = network(words, **kind)
    config = made.config
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = gguf.GGUFWriter(str(path), "qwen2")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(config.vocab_size)
    tokens = sorted(words.get_vocab(), key=words.get_vocab().get)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(tokens)
    writer.add_token_types([3 if token in SPECIAL else 1 for token in tokens])
    merges = json.loads(words.backend_tokenizer.to_str())["model"]["merges"]
    writer.add_token_merges([" ".join(pair) for pair in merges])
    writer.add_bos_token_id(words.bos_token_id)
    writer.add_eos_token_id(words.eos_token_id)
    if template:
        writer.add_chat_template(template)
    for key, weight in made.state_dict().items():
        values, chosen = weight.float().contiguous().numpy(), gguf.GGMLQuantizationType.F32
        if weight.ndim == 2:
            chosen = gguf.GGMLQuantizationType.Q8_0
            values = gguf.quants.quantize(values, chosen)
        for name, theirs in NAMES.items():
            key = key.replace(name, theirs)
        writer.add_tensor(key, values, raw_dtype=chosen)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
