"""The pocket's text for LTX-2: a small Gemma 3, the projection of its layers, and a connector for each stream.

Embeddings and connectors are distilled from the pocket model's T5, so the network's picture stream can be the pocket
model's. The picture's connector gives T5's token at each word's place, the sound's gives the tokens' mean everywhere.
Gemma's only layer is not read: the connectors mix the words.
"""

import copy
import random
from pathlib import Path
from typing import NamedTuple

import torch
from diffusers.pipelines.ltx2 import LTX2TextConnectors
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from torch import Tensor, nn
from transformers import Gemma3Config, Gemma3ForConditionalGeneration, Gemma3TextConfig, PreTrainedTokenizerFast

from pocket import shared_text
from pocket import text_encoder as t5
from pocket.captions import free_caption, said_attributes
from pocket.optim import Muon
from pocket.text_encoder import WIDTH
from pocket.tokenizer import MARK, vocabulary
from pocket.tokenizer import save as save_tokenizer
from pocket.training import Run, average, learning_rate, warm_start
from pocket.world import draw_scenes

TOKENS = 32  # that the network reads, registers included
LAYERS = 2  # of Gemma's that the projection reads: the embedding, and the one after it, to which it pays no heed
PAD, END, BEGIN, UNKNOWN = range(4)  # as in Gemma's vocabulary
ORDERED = {"from left to right": "rightwards", "from right to left": "leftwards"}  # so that no order needs learning
CAPTIONS, SEED, BATCH = 8000, 3, 64
NOTHING = 0.1  # share of a batch without text, as for guidance
FIXED = 3  # numbers of an embedding that make all embeddings alike, see `embeddings`
OWN = 46  # of the others, those that start from what is a word's own; the rest start from what it adds
BOUND, LARGEST = 4.0, 3.5  # of an embedding's fixed numbers, and of the others
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


# ------------------------------------------------------------------------------------------------ targets


class Targets(NamedTuple):
    """Captions as Gemma's token ids, and what the connectors are to give for them: T5's text before its last scale.

    ids [N, 32], PAD behind the words; picture [N, 32, 96], with T5's last token at the places without a word; sound
    [N, 96], the mean of T5's tokens.
    """

    ids: Tensor
    picture: Tensor
    sound: Tensor


def draw_captions(count: int, rng: random.Random) -> list[str]:
    """Captions as the network trains on."""
    return [free_caption(scene, said_attributes(rng), rng) for scene in draw_scenes(count, rng)]


@torch.no_grad()
def targets_of(captions: list[str], words: PreTrainedTokenizerFast, chunk: int = 100) -> Targets:
    """What the pocket model's T5 tells of captions. T5 ends a text with a token, Gemma begins it with one."""
    encoder, t5_words = shared_text.load()
    texts = [words.backend_tokenizer.normalizer.normalize_str(caption) for caption in captions]
    picture, sound = [], []
    for start in range(0, len(texts), chunk):
        hidden, mask = t5.embed(encoder, t5_words, texts[start : start + chunk])
        hidden = normed(hidden / encoder.encoder.final_layer_norm.weight)
        sound.append((hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True))
        for row, count in zip(hidden, mask.sum(1).tolist(), strict=True):
            places = row[count - 1].repeat(TOKENS, 1)
            places[1:count] = row[: count - 1][: TOKENS - 1]
            picture.append(places)
    return Targets(numbers(words, captions)[0], torch.stack(picture), normed(torch.cat(sound)))


def numbers(words: PreTrainedTokenizerFast, captions: list[str]) -> tuple[Tensor, Tensor]:
    """Captions -> token ids [B, 32] and mask [B, 32]."""
    rows = words([text.strip() for text in captions], max_length=TOKENS, truncation=True).input_ids
    ids = torch.tensor([row + [PAD] * (TOKENS - len(row)) for row in rows])
    return ids, (ids != PAD).long()


def normed(x: Tensor) -> Tensor:
    """With a mean square of 1, as T5's and the connectors' last norm leave it."""
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-6)


# ------------------------------------------------------------------------------------------------ training


def embeddings(contents: Tensor) -> Tensor:
    """Contents [N, 93] -> embeddings [N, 96] in -BOUND..BOUND: both bounds, a zero, and the contents.

    LTX-2 subtracts a layer's mean over all of a prompt's tokens and divides by their range. The bounds make the range
    the same for every prompt; of the zero only the mean is left, which `projection` takes out of the others.
    """
    fixed = torch.tensor([BOUND, -BOUND, 0.0]).expand(len(contents), FIXED)
    return torch.cat([fixed, contents], 1)


def projection() -> Tensor:
    """The weight [96, 96] that undoes the norm of the first layer."""
    weight = torch.zeros(WIDTH, WIDTH)
    weight[: WIDTH - FIXED, FIXED:] = torch.eye(WIDTH - FIXED)
    weight[: WIDTH - FIXED, FIXED - 1] = -1
    return weight * 2 * BOUND / 8


def first_contents(targets: Targets, size: int) -> Tensor:
    """Contents [vocabulary, 93] to begin with, by regression: a word's own part, and what it adds to the mean."""
    there = targets.ids != PAD
    own = torch.zeros(size, WIDTH).index_add_(0, targets.ids[there], (targets.picture - targets.sound[:, None])[there])
    own /= torch.bincount(targets.ids[there], minlength=size).clamp(min=1)[:, None]
    counts = torch.zeros(len(targets.ids), size).scatter_add_(1, targets.ids, there.float())
    square = counts.T @ counts + 0.1 * torch.eye(size)
    added = torch.linalg.solve(square, counts.T @ targets.sound)
    parts = []
    for part, many in ((own, OWN), (added, WIDTH - FIXED - OWN)):
        u, s, _ = torch.linalg.svd(part, full_matrices=False)
        kept = (u * s)[:, :many]
        parts.append(0.4 * kept / kept[targets.ids[there].unique()].square().mean().sqrt())
    return torch.cat(parts, 1).clamp(-LARGEST, LARGEST)


def released_contents(release: Path) -> Tensor:
    """The contents of the embeddings beside a released folder of connectors."""
    encoder = Gemma3ForConditionalGeneration.from_pretrained(release.parent / "text_encoder", dtype=torch.float32)
    return encoder.get_input_embeddings().weight.detach()[:, FIXED:] * WIDTH**0.5


class Student(nn.Module):
    """Gemma's embeddings and the connectors, without Gemma's layer."""

    def __init__(self, contents: Tensor) -> None:
        super().__init__()
        self.contents, self.parts = nn.Parameter(contents.clone()), connectors()
        with torch.no_grad():
            self.parts.text_proj_in.weight.zero_()
            self.parts.text_proj_in.weight[:, ::LAYERS] = projection()
            for connector in (self.parts.video_connector, self.parts.audio_connector):
                connector.learnable_registers.zero_()
                connector.learnable_registers[:, : WIDTH - FIXED] = contents[BEGIN]
        self.parts.text_proj_in.requires_grad_(False)

    def forward(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Token ids [B, 32] -> the text of both connectors, each [B, 32, 96]."""
        embedded = embeddings(self.contents)[ids]
        layers = torch.stack([embedded, torch.zeros_like(embedded)], -1)
        return self.parts(layers, (ids != PAD).long(), padding_side="right")[:2]

    def gemma(self) -> Gemma3ForConditionalGeneration:
        """A Gemma with these embeddings."""
        torch.manual_seed(SEED)
        encoder = gemma()
        with torch.no_grad():
            encoder.get_input_embeddings().weight.copy_(embeddings(self.contents) / WIDTH**0.5)
        return encoder.eval()


def loss_of(student: Student, targets: Targets, chosen: Tensor) -> tuple[Tensor, Tensor]:
    """The squared errors of the picture's and the sound's text; in the picture's, words count twice."""
    ids = targets.ids[chosen]
    picture, sound = student(ids)
    errors = (picture - targets.picture[chosen]).square().mean(-1)
    there = (ids != PAD).float()
    words = (errors * there).sum() / there.sum()
    return errors.mean() + words, (sound - targets.sound[chosen][:, None]).square().mean()


def cached_targets(work: Path, words: PreTrainedTokenizerFast) -> Targets:
    """The targets in `work`, written there on first use; the first one is that of no words."""
    file = work / "text_targets.pt"
    if not file.exists():
        targets = targets_of(["", *draw_captions(CAPTIONS, random.Random(SEED))], words)
        torch.save([part.half() if part.is_floating_point() else part for part in targets], file)
    ids, *told = torch.load(file)
    return Targets(ids, *(part.float() for part in told))


def train(work: Path, minutes: float, release: Path | None = None) -> None:
    """Trains embeddings and connectors, and saves them in `work`: text_encoder, connectors and tokenizer."""
    work.mkdir(parents=True, exist_ok=True)
    words = tokenizer()
    targets = cached_targets(work, words)
    student = Student(released_contents(release) if release else first_contents(targets, len(words)))
    factor = warm_start(student.parts, release)
    mean = copy.deepcopy(student).requires_grad_(False)
    trained = [parameter for parameter in student.parameters() if parameter.requires_grad]
    registers = [student.parts.video_connector.learnable_registers, student.parts.audio_connector.learnable_registers]
    optimiser = Muon(trained, lr=0.01, adam_lr=3e-3, weight_decay=0.01, adam_only=[student.contents, *registers])
    run = Run(work, "connectors", minutes, student=student, mean=mean, optimiser=optimiser)
    for step in run:
        optimiser.scale_lr(factor * learning_rate(run.fraction, step))
        chosen = torch.randint(len(targets.ids), (BATCH,))
        chosen[: round(NOTHING * BATCH)] = 0
        picture, sound = loss_of(student, targets, chosen)
        optimiser.zero_grad()
        (picture + sound).backward()
        optimiser.step()
        with torch.no_grad():
            student.contents.clamp_(-LARGEST, LARGEST)
        average(mean, student, step, 0.98)
        run.record(picture=picture.item(), sound=sound.item())
    mean.gemma().save_pretrained(work / "text_encoder")
    mean.parts.save_pretrained(work / "connectors")
    save_tokenizer(words, work / "tokenizer")


# ------------------------------------------------------------------------------------------------ use


@torch.no_grad()
def embed(
    encoder: Gemma3ForConditionalGeneration,
    parts: LTX2TextConnectors,
    words: PreTrainedTokenizerFast,
    captions: list[str],
) -> tuple[Tensor, Tensor]:
    """Captions -> the text of both connectors, each [B, 32, 96]."""
    ids, mask = numbers(words, captions)
    layers = encoder.model.language_model(input_ids=ids, attention_mask=mask, output_hidden_states=True).hidden_states
    return parts(torch.stack(layers, -1), mask, padding_side="right")[:2]
