"""Expands a prompt with a text model: a folder in transformers' layout, or a GGUF file that transformers can read.

transformers is imported on first use. A model's Python code and pickles are never run.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from ..models.bridge.guest_model import guest
from ..models.bridge.job import progress
from ..models.weights import headers
from ..models.weights.checkpoint import open_component
from ..models.weights.errors import CheckpointError
from .english import WORDS_PER_TOKEN

ORDER = (
    "Turn the idea below into a prompt for a text-to-video model: one flowing paragraph in English, in the present "
    "tense, of about {words} words. Begin with the subject and what it does. Go on with how it looks and moves, where "
    "it is and what is around it, where the camera stands or how it moves, and where the light comes from. Keep "
    "everything the idea names, and add nothing that contradicts it. Describe only what is seen in a single shot of a "
    "few seconds: no sounds, no cuts, no thoughts. Answer with the paragraph alone: no heading, no list, no quotation "
    "marks, no remarks.\n\nIdea: {prompt}"
)
CONTINUED = "\n\nParagraph:"
"""Follows the order for a model that was not trained to chat."""
TEMPERATURE, TOP_P = 0.7, 0.9
THOUGHTS = 2048
"""Extra tokens for a model that always thinks before it answers."""
KNOWN = "Llama, Qwen 2 and 3, Mistral, Gemma 2 and 3 or Phi 3"

_THOUGHT = re.compile(r"^.*</think>|<think>.*$", re.DOTALL)
_OPENING = re.compile(
    r"(?:(?:sure|certainly|of course|okay|absolutely)\b[^\w\n]*)?"
    r"(?:here(?:'s|’s| is| are)\b[^:\n]*:|(?:\w[\w-]* ){0,3}(?:paragraph|prompt|description)\W*:)[*\s]*",
    re.IGNORECASE,
)
_QUOTES = "\"'“”„«»‘’`*"


def write(path: Path, prompt: str, seed: int, tokens: int) -> str:
    """The prompt expanded by the text model at `path` to fit `tokens` T5 tokens; "" if its answer is empty.

    Raises CheckpointError if the model cannot be used.
    """
    parameters = _parameters(path)
    tokenizer, template = _tokenizer(path)
    words = int(tokens * WORDS_PER_TOKEN)
    order = ORDER.format(words=words * 4 // 5, prompt=prompt)
    with guest(lambda dtype: _network(path, dtype), parameters) as network:
        given = _given(tokenizer, order).to(network.device)
        thinks = "<think>" in template and "enable_thinking" not in template
        most = tokens + tokens // 2 + (THOUGHTS if thinks else 0)
        answer = _generate(network, given, seed, most, tokenizer)
    return cut_to(cleaned(tokenizer.decode(answer, skip_special_tokens=True)), words)


def cleaned(answer: str) -> str:
    """The paragraph in a chat model's answer, without its thoughts, "Here is ...:", quotation marks and remarks."""
    words = _THOUGHT.sub("", answer).strip()
    first = next((place for place, letter in enumerate(words) if letter.isalnum()), 0)  # quotes, dashes, stars before
    opening = _OPENING.match(words, first)
    paragraphs = [part.strip() for part in re.split(r"\n\s*\n", words[opening.end() :] if opening else words)]
    text = " ".join(next(filter(None, paragraphs), "").split())
    return text.strip(_QUOTES + " ")


def cut_to(text: str, words: int) -> str:
    """The sentences of `text` that fit in `words` words; if not even one fits, the first `words` words."""
    kept = " ".join(text.split()[:words])
    end = max((match.end() for match in re.finditer(r"[.!?](?=\s|$)", kept)), default=0)
    return kept[:end] or kept.rstrip(",;:") + "." * bool(kept)


def _parameters(path: Path) -> int:
    """The number of the model's parameters. Raises CheckpointError if its files are damaged or not safetensors."""
    if not path.is_dir():
        if re.search(r"-\d{5}-of-\d{5}$", path.stem):
            raise CheckpointError(f"{path.name} is a part of a split GGUF file. Get the model as one file.")
        return _numbers(path)
    if (config := path / "config.json").exists():
        headers.check_json(config)
    files = sorted(path.glob("*.safetensors"))
    if not files:
        present = ", ".join(sorted(file.name for file in path.iterdir()))
        raise CheckpointError(
            f"{path.name} has no .safetensors file (found: {present}). Pickles (.bin, .pt) are never opened, because "
            "they can run any code: download the model as safetensors, or as one .gguf file."
        )
    return sum(map(_numbers, files))


def _numbers(file: Path) -> int:
    return sum(torch.Size(shape).numel() for shape in open_component(file, "text model").shapes.values())


def _source(path: Path) -> dict[str, Any]:
    """Arguments of transformers' from_pretrained: the model's path, no code of its own, no downloads."""
    where = (
        {"pretrained_model_name_or_path": path}
        if path.is_dir()
        else {"pretrained_model_name_or_path": path.parent, "gguf_file": path.name}
    )
    return {**where, "trust_remote_code": False, "local_files_only": True}


def _tokenizer(path: Path) -> tuple[Any, str]:
    """The model's tokenizer and its chat template ("" if it was not trained to chat)."""
    from transformers import AutoTokenizer

    def load() -> Any:
        loaded = AutoTokenizer.from_pretrained(**_source(path))
        if not loaded(CONTINUED).input_ids:  # some versions make an empty tokenizer if its files are missing
            raise ValueError("tokenizer.json is missing")
        return loaded

    tokenizer = _loaded(path, "tokenizer", load)
    return tokenizer, str(getattr(tokenizer, "chat_template", None) or "")


def _network(path: Path, dtype: torch.dtype) -> torch.nn.Module:
    from transformers import AutoModelForCausalLM

    more = {"use_safetensors": True} if path.is_dir() else {}
    network, report = _loaded(
        path,
        "network",
        lambda: AutoModelForCausalLM.from_pretrained(**_source(path), dtype=dtype, output_loading_info=True, **more),
    )
    if missing := sorted(report["missing_keys"]):
        raise CheckpointError(
            f"{path.name} is incomplete: {len(missing)} of its weights are missing ({', '.join(missing[:3])}, ...). "
            "Download it again."
        )
    return network.eval()


def _loaded(path: Path, part: str, load: Callable[[], Any]) -> Any:
    try:
        return load()
    except CheckpointError:
        raise
    except Exception as error:  # transformers raises whatever its parts raise
        reason = next(iter(str(error).strip().splitlines()), "") or type(error).__name__
        if "trust_remote_code" in str(error):
            reason = "it needs Python code of its own, which is never run here"
        raise CheckpointError(
            f"{path.name} cannot be used as a text model: no {part} could be loaded from it ({reason}). Expected: a "
            f"folder with config.json, .safetensors and tokenizer files, or one .gguf file, of a model such as {KNOWN}."
        ) from error


def _given(tokenizer: Any, order: str) -> Any:
    """The order as tokens, in the model's chat template if it has one."""
    if not getattr(tokenizer, "chat_template", None):
        return tokenizer(order + CONTINUED, return_tensors="pt", return_token_type_ids=False)
    return tokenizer.apply_chat_template(
        [{"role": "user", "content": order}],
        add_generation_prompt=True,
        enable_thinking=False,
        return_tensors="pt",
        return_dict=True,
    )


def _generate(network: Any, given: Any, seed: int, most: int, tokenizer: Any) -> torch.Tensor:
    """The answer's tokens [n]. ComfyUI shows the progress, and can cancel, at every token."""
    report, start = progress(most), given["input_ids"].shape[1]

    def watch(tokens: torch.Tensor, _: Any, **__: Any) -> torch.Tensor:
        report(tokens.shape[1] - start)
        return torch.zeros(len(tokens), dtype=torch.bool, device=tokens.device)

    devices = [network.device] if network.device.type == "cuda" else []
    with torch.random.fork_rng(devices), torch.inference_mode():
        torch.manual_seed(seed)
        tokens = network.generate(
            **given,
            max_new_tokens=most,
            do_sample=True,
            temperature=TEMPERATURE,
            top_p=TOP_P,
            stopping_criteria=[watch],
            pad_token_id=tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id,
        )
    report(most)
    return tokens[0, start:]
