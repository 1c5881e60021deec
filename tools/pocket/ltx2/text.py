"""The pocket's text for LTX-2: a small Gemma 3, the projection of its layers, and a connector for each stream, solved.

In this world's captions the words decide, not their order. What the pocket model's T5 tells of a caption, the mean of
its tokens, is a sum over the words but for 5 % of its variance. A regression gives each word's embedding. A connector
whose attention looks everywhere alike adds them up, and writes the sum to every place. Nothing is trained, and the
network's picture stream can be the pocket model's.
"""

import random
from pathlib import Path

import torch
from diffusers.pipelines.ltx2 import LTX2TextConnectors
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from torch import Tensor
from transformers import Gemma3Config, Gemma3ForConditionalGeneration, Gemma3TextConfig, PreTrainedTokenizerFast

from pocket import shared_text
from pocket import text_encoder as t5
from pocket.captions import free_caption, said_attributes
from pocket.text_encoder import WIDTH
from pocket.tokenizer import MARK, vocabulary
from pocket.tokenizer import save as save_tokenizer
from pocket.world import draw_scenes

TOKENS = 32  # that the network reads, registers included
LAYERS = 2  # of Gemma's that the projection reads: the embedding, and the one after it, to which it pays no heed
PAD, END, BEGIN, UNKNOWN = range(4)  # as in Gemma's vocabulary
ORDERED = {"from left to right": "rightwards", "from right to left": "leftwards"}  # the words alone would be the same
CAPTIONS, SEED = 3000, 3
FIXED = 5  # numbers of an embedding that make all embeddings alike, see `embeddings`
BOUND, RADIUS = 4.0, 12.0  # of an embedding's largest number, and its length
LOUD = 100.0  # how much stronger the sum is than what a place held before
ROPES = {
    "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
    "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
}


def tokenizer() -> PreTrainedTokenizerFast:
    """The pocket model's words and syllables, with Gemma's numbers for the special tokens. <bos> begins a text."""
    special = {"<pad>": 0.0, "<eos>": 0.0, "<bos>": 0.0, "<unk>": 0.0}
    words = [(piece, value) for piece, value in vocabulary() if piece not in ("<pad>", "</s>", "<unk>")]
    core = Tokenizer(models.Unigram([*special.items(), *words], unk_id=UNKNOWN, byte_fallback=False))
    phrases = [normalizers.Replace(phrase, word) for phrase, word in ORDERED.items()]
    core.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase(), *phrases])
    metaspace = pre_tokenizers.Metaspace(replacement=MARK, prepend_scheme="always")
    core.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Whitespace(), metaspace])
    core.decoder = decoders.Metaspace(replacement=MARK, prepend_scheme="always")
    core.post_processor = processors.TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", BEGIN)])
    names = {"pad_token": "<pad>", "eos_token": "<eos>", "bos_token": "<bos>", "unk_token": "<unk>"}
    return PreTrainedTokenizerFast(tokenizer_object=core, padding_side="left", model_max_length=TOKENS, **names)


def gemma() -> Gemma3ForConditionalGeneration:
    """A Gemma 3 of one layer. It has eyes too, as the published class asks for; nothing looks through them."""
    words = Gemma3TextConfig(
        vocab_size=len(tokenizer()),
        hidden_size=WIDTH,
        intermediate_size=32,
        num_hidden_layers=LAYERS - 1,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
        query_pre_attn_scalar=16,
        sliding_window=1024,
        rope_parameters=ROPES,
    )
    sight = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    sight |= {"image_size": 28, "patch_size": 14}
    return Gemma3ForConditionalGeneration(
        Gemma3Config(text_config=words.to_dict(), vision_config=sight, mm_tokens_per_image=4)
    )


def connectors() -> LTX2TextConnectors:
    """The projection and two connectors of 2.0, of one layer each."""
    shape = {"num_attention_heads": 3, "attention_head_dim": WIDTH // 3, "num_layers": 1}
    shape["num_learnable_registers"] = TOKENS
    return LTX2TextConnectors(
        caption_channels=WIDTH,
        text_proj_in_factor=LAYERS,
        rope_type="interleaved",
        **{f"{name}_connector_{key}": value for name in ("video", "audio") for key, value in shape.items()},
    )


# ------------------------------------------------------------------------------------------------ solving


@torch.no_grad()
def wanted(captions: list[str], chunk: int = 100) -> Tensor:
    """What the pocket model's T5 tells of captions, [N, 96]: the mean of its tokens, without its last layer's scale."""
    encoder, words = shared_text.load()
    means = []
    for start in range(0, len(captions), chunk):
        hidden, mask = t5.embed(encoder, words, captions[start : start + chunk])
        told = normed(hidden / encoder.encoder.final_layer_norm.weight) * mask[..., None]
        means.append(told.sum(1) / mask.sum(1, keepdim=True))
    return torch.cat(means)


def normed(x: Tensor) -> Tensor:
    """With a mean square of 1, as T5's and the connectors' last norm leave it."""
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-6)


def draw_captions(count: int, rng: random.Random) -> list[str]:
    """Captions as the network trains on."""
    return [free_caption(scene, said_attributes(rng), rng) for scene in draw_scenes(count, rng)]


def regression(captions: list[str], words: PreTrainedTokenizerFast) -> Tensor:
    """What each word adds to a caption's text, [vocabulary, 96]; the token at the beginning gives that of no words."""
    told = wanted(["", *captions])
    counts = torch.zeros(len(captions), len(words))
    for row, ids in zip(counts, words(captions).input_ids, strict=True):
        row.scatter_add_(0, torch.tensor(ids), torch.ones(len(ids)))
    counts[:, BEGIN] = 0
    square = counts.T @ counts + 0.1 * torch.eye(len(words))
    added = torch.linalg.solve(square, counts.T @ (told[1:] - told[0]))
    added[BEGIN] = told[0]
    return added


def embeddings(contents: Tensor) -> Tensor:
    """Contents [N, 91] -> embeddings [N, 96] of length RADIUS, whose numbers sum up to 0 and lie in -BOUND..BOUND.

    So LTX-2's norm of a layer, over all of a prompt's tokens, and the connector's norm of a token are the same factor
    for every prompt and token, and what follows is linear.
    """
    bounds = torch.tensor([BOUND, -BOUND]).expand(len(contents), 2)
    balance = -contents.sum(1, keepdim=True)
    rest = RADIUS**2 - 2 * BOUND**2 - balance.square() - contents.square().sum(1, keepdim=True)
    if rest.min() < 0 or max(balance.abs().max(), contents.abs().max()) > BOUND:
        raise ValueError("a word's content is too large for an embedding")
    fill = (rest / 2).sqrt()
    return torch.cat([bounds, balance, fill, -fill, contents], 1)


@torch.no_grad()
def solve() -> tuple[Gemma3ForConditionalGeneration, LTX2TextConnectors]:
    """Gemma, whose embeddings are solved for, and the connectors that add them up."""
    torch.manual_seed(SEED)
    encoder, parts, words = gemma(), connectors(), tokenizer()
    added = regression(draw_captions(CAPTIONS, random.Random(SEED)), words)
    u, s, v = torch.linalg.svd(added, full_matrices=False)
    contents = (u * s)[:, : WIDTH - FIXED]
    scale = 1.5 / contents.norm(dim=1).max()
    encoder.get_input_embeddings().weight.copy_(embeddings(contents * scale) / WIDTH**0.5)
    parts.text_proj_in.weight.zero_()
    parts.text_proj_in.weight[:, ::LAYERS] = torch.eye(WIDTH) * 2 * BOUND / 8  # undoes the norm of the first layer
    back = torch.zeros(WIDTH, WIDTH)  # from numbers of an embedding to the text
    back[:, FIXED:] = v[: WIDTH - FIXED].T / scale
    for connector in (parts.video_connector, parts.audio_connector):
        connector.learnable_registers.copy_(embeddings(torch.zeros(TOKENS, WIDTH - FIXED)))
        block = connector.transformer_blocks[0]
        for parameter in block.parameters():
            parameter.zero_()
        for norm in (block.attn1.norm_q, block.attn1.norm_k):
            norm.weight.fill_(1)
        block.attn1.to_v.weight.copy_(torch.eye(WIDTH))
        block.attn1.to_out[0].weight.copy_(back * TOKENS * RADIUS / WIDTH**0.5 * LOUD)
    return encoder.eval(), parts.eval()


# ------------------------------------------------------------------------------------------------ use


@torch.no_grad()
def embed(
    encoder: Gemma3ForConditionalGeneration,
    parts: LTX2TextConnectors,
    words: PreTrainedTokenizerFast,
    captions: list[str],
) -> tuple[Tensor, Tensor]:
    """Captions -> the text of both connectors, each [B, 32, 96]."""
    rows = words([text.strip() for text in captions], max_length=TOKENS, truncation=True).input_ids
    ids = torch.tensor([row + [PAD] * (TOKENS - len(row)) for row in rows])
    mask = (ids != PAD).long()
    layers = encoder.model.language_model(input_ids=ids, attention_mask=mask, output_hidden_states=True).hidden_states
    return parts(torch.stack(layers, -1), mask, padding_side="right")[:2]


def train(work: Path, minutes: float, release: Path | None = None) -> None:
    """Solves for the text's parts, in a minute, and saves them in `work`."""
    encoder, parts = solve()
    encoder.save_pretrained(work / "text_encoder")
    parts.save_pretrained(work / "connectors")
    save_tokenizer(tokenizer(), work / "tokenizer")
