"""Longer prompts: by rules for any model, in the words of a small one, and what is made of a text model's answer."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path

import folder_paths
import pytest
import tiny_writer
import torch
from atelier.models.bridge.guest_model import guest
from atelier.models.contract.vocabulary import Vocabulary, completed
from atelier.models.library import folders
from atelier.models.loading.identify import identify
from atelier.models.weights.checkpoint import open_checkpoint
from atelier.models.weights.errors import CheckpointError
from atelier.prompts import english, text_model
from atelier.prompts.expand import AUTOMATIC, RULES, chosen, expand, expanders
from atelier.prompts.rules import by_rules
from pocket import captions, world

POCKET = Path(folders.model_path(folders.POCKET))
PROMPTS = (
    "a red fox in the snow",
    "cat",
    "a woman in a red dress",
    "Tokyo street at night",
    "an astronaut on the moon, the camera slowly zooms out",
    "a diver beside a coral reef",
    "two dogs running along a beach at sunset, aerial shot",
    "anime girl walking in the rain",
    "an old man mends a net,\n  by the sea",
    "(a lighthouse:1.3) in a storm",
    "a spaceship",
    "a room full of books, lit by candles, 35mm film",
)


@pytest.mark.parametrize("prompt", PROMPTS)
def test_the_prompt_stays_and_sentences_follow(prompt):
    for seed in range(20):
        made = english.expanded(prompt, seed)
        assert made == english.expanded(prompt, seed)
        first = english.sentence(prompt)
        assert (
            made.startswith(first)
            and made[1 : len(first) - 1] == " ".join(prompt.split())[1:].rstrip(".")[: len(first) - 2]
        )
        added = re.findall(r"[^.]+\.", made[len(first) :])
        assert "".join(added) == made[len(first) :]
        assert all(re.match(r" [A-Z]\w*\b", line) for line in added)
        assert len({*added}) == len(added) <= len(english.missing(prompt))


@pytest.mark.parametrize("prompt", PROMPTS)
def test_nothing_is_said_twice(prompt):
    """What is expanded says everything: expanding it again, with any seed, changes nothing."""
    for seed in range(10):
        made = english.expanded(prompt, seed)
        assert english.missing(made) == [] and english.expanded(made, seed + 1) == made


def test_another_seed_gives_another_expansion():
    assert len({english.expanded("a red fox", seed) for seed in range(30)}) > 15


@pytest.mark.parametrize(
    "said,aspect",
    [
        ("a dolly shot of a cat", "camera"),
        ("a cat seen from a low angle", "camera"),
        ("a cat in golden sunlight", "light"),
        ("a neon sign", "light"),
        ("a cat sleeping", "motion"),
        ("a bird flies", "motion"),
        ("a cat on the roof", "place"),
        ("a forest", "place"),
        ("a cat, watercolor", "look"),
        ("a cat, 4k, highly detailed", "look"),
    ],
)
def test_what_a_prompt_says_is_not_added(said, aspect):
    assert aspect not in english.missing(said)
    assert english.missing("a cat") == ["motion", "place", "camera", "light", "look"]


def test_words_that_only_look_like_motion_or_place():
    assert "motion" in english.missing("a king with a ring in the morning")
    assert "place" in english.missing("a man in a black coat")


@pytest.mark.parametrize(
    "prompt,wrong",
    [
        ("a street at night", "sunlight|daylight|morning|afternoon|overcast"),
        ("a fish underwater", "wind|street|window|moonlight"),
        ("an empty room", "moonlight|overcast|ground|wind"),
        ("an astronaut in outer space", "morning|afternoon|overcast|wind"),
        ("a cartoon cat", "film|documentary"),
    ],
)
def test_what_is_added_agrees_with_the_prompt(prompt, wrong):
    added = " ".join(english.expanded(prompt, seed)[len(prompt) :] for seed in range(60))
    assert not re.search(wrong, added, re.IGNORECASE), added


def test_every_added_sentence_is_recognised_as_what_it_adds():
    for aspect in english.ASPECTS:
        assert all(aspect.pattern.search(line.text) for line in aspect.lines), aspect.name
        assert any(not line.only for line in aspect.lines), aspect.name


@pytest.mark.parametrize(
    "text",
    [
        "ein Hund läuft durch den Wald",
        "un chat sur une table",
        "un perro en la playa",
        "een hond op het strand",
        "一只猫在雪地里",
        "лиса в снегу",
        "قطة على السطح",
        "",
        "  \n ",
    ],
)
def test_other_languages_and_nothing_stay_as_they_are(text):
    made = by_rules(text, 1)
    assert made.text == text and made.remark.endswith("nothing was added.")


@pytest.mark.parametrize("tokens", [40, 77, 128, 226, 256])
def test_it_fits_into_what_the_model_reads(tokens):
    """Counted by T5's own tokenizer; what was too long before stays as it was."""
    import comfy.text_encoders.sd3_clip
    from transformers import T5TokenizerFast

    t5 = T5TokenizerFast.from_pretrained(Path(comfy.text_encoders.sd3_clip.__file__).with_name("t5_tokenizer"))
    for prompt in PROMPTS:
        most = max(tokens, len(t5(english.sentence(prompt)).input_ids))
        assert max(len(t5(english.expanded(prompt, seed, tokens)).input_ids) for seed in range(20)) <= most
    long = "a fox and " * 200
    assert english.expanded(long, 1, tokens) == long


# ------------------------------------------------------------------------------------------------ few words


@pytest.fixture(scope="module")
def words() -> Vocabulary:
    return folders.vocabulary(folders.POCKET)


def test_the_pocket_models_words_are_those_it_was_trained_on(words):
    recorded = json.loads((POCKET / "recipe.json").read_text())["vocabulary"]
    assert recorded == captions.vocabulary()
    trained = {word for phrase in captions.all_words() for word in phrase.split()}
    added = {word for attribute in words.attributes for phrase in attribute.add for word in phrase.split()}
    assert added <= trained
    assert words == identify(open_checkpoint(POCKET))[1].vocabulary


@pytest.mark.parametrize("seed", range(5))
def test_what_a_caption_leaves_out_is_filled_in_and_the_rest_kept(words, seed):
    """Captions as the model was trained on: their words stay, in their order, and everything is said afterwards."""
    rng = random.Random(seed)
    for scene in world.draw_scenes(200, rng):
        said = {"shape"} | {name for name in world.ATTRIBUTES if rng.random() < 0.5}
        prompt = captions.caption(scene, rng, said)
        made = completed(prompt, seed, words)
        kept = iter(re.findall(r"\w+", made.lower()))
        old = [word for word in re.findall(r"\w+", prompt.lower()) if word not in ("a", "an")]
        assert all(word in kept for word in old), (prompt, made)
        assert all(attribute.is_in(made) for attribute in words.attributes), (prompt, made)
        assert completed(made, seed + 1, words) == made
        assert not re.search(r"\ba [aeiou]|\ban [^aeiou]|  | ,", made, re.IGNORECASE), made


@pytest.mark.parametrize(
    "prompt,pattern",
    [
        ("a red circle moving left", r"a (small|large) red circle moving left on a \w+ background"),
        ("an orange square", r"a (small|large) orange square (moving \w+|standing still|growing) on a \w+ background"),
        ("Big ball, 4k", r"Big \w+ ball (moving \w+|standing still|growing) on a \w+ background, 4k"),
        ("Triangle.", r"(Small|Large) \w+ triangle (moving \w+|standing still|growing) on a \w+ background\."),
        ("A circle on white", r"A (small|large) \w+ circle (moving \w+|standing still|growing) on white"),
    ],
)
def test_how_it_is_filled_in(words, prompt, pattern):
    made = {completed(prompt, seed, words) for seed in range(30)}
    assert len(made) > 1 and all(re.fullmatch(pattern, text) for text in made), made


def test_what_a_small_model_cannot_know_is_said(words):
    made = by_rules("a fox in the snow", 1, words)
    assert made.text == "a fox in the snow" and "'a small red circle moving left on" in made.remark


def test_a_model_without_a_recipe_has_no_vocabulary():
    assert folders.vocabulary("checkpoints/any.safetensors") is folders.vocabulary("diffusers/not there") is None


# ------------------------------------------------------------------------------------------------ text models


@pytest.fixture
def llm(tmp_path, monkeypatch) -> Path:
    """A folder of text models, as extra_model_paths.yaml would add it."""
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "LLM", ([str(tmp_path)], set()))
    return tmp_path


@pytest.mark.parametrize(
    "answer",
    [
        "A fox runs. It is quick.",
        '"A fox runs. It is quick."',
        "Here is the paragraph:\n\nA fox runs. It is quick.",
        "Sure! Here's your prompt: A fox runs.\nIt is quick.",
        "**Prompt:** A fox runs. It is quick.\n\nLet me know if you want changes.",
        "<think>A fox: it runs.</think>\n\nA fox runs. It is quick.",
        "the user wants a fox</think>A fox runs. It is quick.",
        "Paragraph: “A fox runs. It is quick.”",
    ],
)
def test_an_answer_is_cleaned(answer):
    assert text_model.cleaned(answer) == "A fox runs. It is quick."


@pytest.mark.parametrize("answer", ["", "  \n", "<think>A fox, hm", '""', "Here is the paragraph:"])
def test_an_answer_that_says_nothing(answer):
    assert text_model.cleaned(answer) == ""


def test_an_answer_that_is_too_long_ends_with_a_sentence():
    assert text_model.cut_to("One two three. Four five six. Seven", 6) == "One two three. Four five six."
    assert text_model.cut_to("One two three. Four five six. Seven", 5) == "One two three."
    assert text_model.cut_to("One two, three four", 2) == "One two."
    assert text_model.cut_to("", 9) == ""


@pytest.mark.parametrize("make", [tiny_writer.folder, tiny_writer.gguf_file], ids=["folder", "gguf"])
def test_a_text_model_writes(llm, make):
    name = "fox.gguf" if make is tiny_writer.gguf_file else "someone/fox"
    make(llm / name)
    assert expanders() == [AUTOMATIC, RULES, f"LLM/{name}"]
    made = expand("a fox", AUTOMATIC, 1)
    assert (made.text, made.expander, made.remark) == (tiny_writer.SENTENCE, f"LLM/{name}", "")
    assert chosen(RULES) == RULES and expand("a fox", RULES, 1).expander == RULES


def test_a_model_that_was_not_trained_to_chat_goes_on_writing(llm):
    tiny_writer.folder(llm / "plain", template=None)
    assert expand("a fox", "LLM/plain", 1).text.endswith("while the camera follows.")


def test_the_same_seed_writes_the_same_and_leaves_the_others_numbers_alone(llm):
    tiny_writer.folder(llm / "fox", silent=True)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    expand("a fox", "LLM/fox", 1)
    assert torch.equal(before, torch.get_rng_state())


def test_no_text_no_matter(llm):
    tiny_writer.folder(llm / "silent", silent=True)
    made = expand("a fox", "LLM/silent", 1)
    assert made.text == english.expanded("a fox", 1) and made.expander == RULES
    assert made.remark == "LLM/silent gave no text: the rules were used."


def test_an_endless_answer_is_cut_to_what_the_model_reads(llm):
    tiny_writer.folder(llm / "endless", endless=True)
    made = expand("a fox", "LLM/endless", 1)
    assert 60 < len(made.text.split()) <= 128 * english.WORDS_PER_TOKEN and made.text.endswith("follows.")


def test_a_long_prompt_is_left_alone(llm):
    tiny_writer.folder(llm / "fox")
    long = "a fox " * 60
    assert expand(long, AUTOMATIC, 1).text == long


def test_what_lies_beside_text_models_is_no_choice(llm):
    for name, about in (("florence", {"architectures": ["Florence2ForConditionalGeneration"]}), ("encoder", {})):
        (llm / name).mkdir()
        (llm / name / "config.json").write_text(json.dumps(about))
    (llm / "mmproj-vision.gguf").touch()
    (llm / ".cache").mkdir()
    (llm / ".cache" / "x.gguf").touch()
    assert folders.text_models() == []


def test_a_guest_leaves_nothing_behind():
    kept = torch.nn.Linear(4, 4)
    with pytest.raises(RuntimeError, match="stop"), guest(lambda dtype: kept.to(dtype), 20) as network:
        assert network.weight.device.type != "meta"
        raise RuntimeError("stop")
    assert kept.weight.is_meta


def broken(path: Path) -> dict[str, tuple[Path, str]]:
    """Text models that cannot be used, and what must be said of them."""
    made = {name: tiny_writer.folder(path / name) for name in ("pickle", "cut", "config", "part", "code", "words")}
    weights = {name: folder / "model.safetensors" for name, folder in made.items()}
    torch.save({}, made["pickle"] / "pytorch_model.bin")
    weights["pickle"].unlink()
    weights["cut"].write_bytes(weights["cut"].read_bytes()[:-5000])
    (made["config"] / "config.json").write_text("{")
    from safetensors.torch import load_file, save_file

    state = load_file(weights["part"])
    save_file({k: w for k, w in state.items() if "layers.1" not in k}, weights["part"], metadata={"format": "pt"})
    config = json.loads((made["code"] / "config.json").read_text())
    config |= {"model_type": "own", "auto_map": {"AutoConfig": "own.Own", "AutoModelForCausalLM": "own.Model"}}
    (made["code"] / "config.json").write_text(json.dumps(config))
    (made["code"] / "own.py").write_text(f"open({str(path / 'ran')!r}, 'w')\n")
    for file in made["words"].glob("token*"):
        file.unlink()
    whole = tiny_writer.gguf_file(path / "whole.gguf").read_bytes()
    (path / "short.gguf").write_bytes(whole[: len(whole) // 2])
    (path / "no.gguf").write_bytes(b"hello")
    (path / "x-00001-of-00002.gguf").write_bytes(whole)
    return {
        "pickle": (made["pickle"], "Pickles .* never opened.*download the model as safetensors"),
        "cut": (made["cut"], "damaged or incomplete safetensors file.*Download it again"),
        "config": (made["config"], "cannot be used as a text model.*Expected: a folder with config.json"),
        "part": (made["part"], "incomplete: .* weights are missing .*Download it again"),
        "code": (made["code"], "Python code of its own, which is never run"),
        "words": (made["words"], "no tokenizer could be loaded"),
        "short": (path / "short.gguf", "damaged or incomplete GGUF file.*Download it again"),
        "no": (path / "no.gguf", "not a safetensors file.*Expected: a .safetensors or .gguf file"),
        "split": (path / "x-00001-of-00002.gguf", "part of a split GGUF file. Get the model as one file"),
    }


def test_what_cannot_be_used_says_what_to_do(llm):
    for name, (path, said) in broken(llm).items():
        with pytest.raises(CheckpointError, match=f"(?s){said}"):
            expand("a fox", f"LLM/{path.relative_to(llm)}", 1)
            pytest.fail(name)
    assert not (llm / "ran").exists()
