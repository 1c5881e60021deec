"""A hand-made Unigram vocabulary: the captions' words as whole pieces, other words in letters and syllables.

A trained vocabulary of this size splits "yellow" into y/e/llow. The tokenizer lower-cases and accepts any text.
"""

import json
import re
import string
from collections import Counter
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from pocket.captions import all_words

PAD, END, UNKNOWN = 0, 1, 2
LENGTH = 128  # what LTX's pipelines pad to
MARK = "▁"  # starts a word
SYLLABLES = 300
COMMON = (
    "of in on at to for from by with without into onto above below behind between after before again always never it "
    "he she they we i his her their our my your who what where when how make makes made making show give go come came "
    "turn turns turning spin spinning rotate bounce bouncing jump stop start begin end back forth around away "
    "together apart another other each every two three four five many few more less much most first second last next "
    "high low long short wide narrow round hard warm cold new good great real photo realistic detailed drawing "
    "painting art design color colour colors colours pink white brown gold golden silver cyan magenta teal star heart "
    "cube sphere hexagon pentagon rectangle oval ellipse line cross arrow ring shrinking shrinks smaller"
).split()


def vocabulary() -> list[tuple[str, float]]:
    """Pieces with their log-probabilities; whole words win over syllables, syllables over letters."""
    words = sorted({word for phrase in all_words() for word in re.findall(r"[a-z]+", phrase.lower())})
    common = sorted(set(COMMON) - set(words))
    syllables = Counter(
        word[start : start + length]
        for word in words + common
        for length in (2, 3, 4)
        for start in range(len(word) - length + 1)
    )
    scores = {"<pad>": 0.0, "</s>": 0.0, "<unk>": 0.0}
    pieces = [(MARK + word, -4.0) for word in words]
    pieces += [(MARK + word, -6.0) for word in common]
    pieces += [(MARK + mark, -4.0) for mark in ",.!?-:;"]
    pieces += [(letter, -11.0) for letter in string.ascii_lowercase + string.digits + string.punctuation]
    pieces += [(piece, -9.5 + 0.3 * len(piece)) for piece, _ in syllables.most_common(SYLLABLES)]
    pieces += [(MARK, -9.0)]
    for piece, score in pieces:
        scores.setdefault(piece, score)
    return list(scores.items())


def build() -> PreTrainedTokenizerFast:
    """The tokenizer, which ends each text with </s>."""
    core = Tokenizer(models.Unigram(vocabulary(), unk_id=UNKNOWN, byte_fallback=False))
    core.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    metaspace = pre_tokenizers.Metaspace(replacement=MARK, prepend_scheme="always")
    core.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Whitespace(), metaspace])
    core.decoder = decoders.Metaspace(replacement=MARK, prepend_scheme="always")
    core.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", END)])
    return PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token="<pad>", eos_token="</s>", unk_token="<unk>", model_max_length=LENGTH
    )


def save(tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Writes the tokenizer's files so that transformers 4 can read them: version 5 names a class that 4 lacks."""
    tokenizer.save_pretrained(folder)
    path = folder / "tokenizer_config.json"
    config = json.loads(path.read_text())
    config["tokenizer_class"] = "PreTrainedTokenizerFast"
    for key in ("backend", "is_local", "local_files_only"):
        config.pop(key, None)
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
