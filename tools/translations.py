"""Writes ComfyUI's translation files, locales/LANG/*.json, and the words of the pack's own scripts in web/,
web/storyboard/words.LANG.json, from tools/phrases/LANG.json: python tools/translations.py

A phrase stands once, under the English text that it translates. So when a node's English text changes, its phrase is
missing, and the old one is stale: both are listed, and nothing is written. ``{Sample Video}`` in a phrase is that
node's name in the language. The values of lists are not translated: ComfyUI's format has no place for them, and saved
graphs hold them.
"""

import asyncio
import json
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

import comfyui
import pack
from console import Problem, guard, say

LANGUAGES = ("fr", "ja", "zh")
PHRASES, LOCALES = comfyui.ROOT / "tools" / "phrases", comfyui.ROOT / "locales"
PACK = "atelier"
"""The name under which the front end lists this pack's templates: that of its folder."""
COMMAND = re.compile(r'id: "(Atelier\.\w+)",\s+label: "([^"]+)"')
WORDS = re.compile(r'\bt\(\s*"((?:[^"\\]|\\.)*)"')
"""A text that a script shows: the argument of `t` (web/storyboard/words.js)."""
SYNTAX = re.compile(r"[@{}|]")
"""Characters that the front end's translator (vue-i18n) takes for its own."""

Json = dict[str, Any]


class Gaps(Problem):
    """Phrases are missing, or translate a text that is gone."""


def schemas() -> list[Any]:
    """The schemas of the pack's nodes, in a ComfyUI that is ready in this process."""
    import atelier

    nodes = asyncio.run(asyncio.run(atelier.comfy_entrypoint()).get_node_list())
    return [node.GET_SCHEMA() for node in nodes]


def commands() -> dict[str, str]:
    """The front end's commands of this pack: id -> English label."""
    scripts = sorted((comfyui.ROOT / "web").glob("*.js"))
    return {id: label for script in scripts for id, label in COMMAND.findall(script.read_text(encoding="utf-8"))}


def page() -> set[str]:
    """The texts that the pack's scripts show in ComfyUI's front end and in the time line."""
    scripts = [*(comfyui.ROOT / "web").glob("*.js"), *(comfyui.ROOT / "web" / "storyboard").glob("*.js")]
    return {text for script in scripts for text in WORDS.findall(script.read_text(encoding="utf-8"))}


def page_file(language: str) -> Path:
    return comfyui.ROOT / "web" / "storyboard" / f"words.{language}.json"


def english(nodes: list[Any]) -> dict[str, set[str]]:
    """What a language has to translate, by the sections of its file of phrases."""
    slots = {slot.id for node in nodes for slot in node.inputs}
    slots |= {slot.display_name for node in nodes for slot in node.outputs if slot.display_name}
    texts = {text for node in nodes for text in (node.description, *(slot.tooltip for slot in node.inputs))}
    return {
        "nodes": {node.display_name for node in nodes},
        "slots": slots,
        "texts": texts,
        "menu": set(commands().values()),
        "page": page(),
        "templates": {graph.stem for graph in (comfyui.ROOT / "workflows").glob("*.json")},
    }


def read(language: str, nodes: list[Any]) -> Json:
    """The phrases of a language, complete. Raises Gaps."""
    phrases = json.loads((PHRASES / f"{language}.json").read_text(encoding="utf-8"))
    lines = []
    for section, wanted in english(nodes).items():
        lines += [f"missing in {section}: {text}" for text in sorted(wanted - set(phrases[section]))]
        lines += [f"stale in {section}: {text}" for text in sorted(set(phrases[section]) - wanted)]
    if lines:
        raise Gaps(f"tools/phrases/{language}.json does not fit the nodes:\n" + "\n".join(lines))
    return phrases


def translated(phrases: Json, nodes: list[Any]) -> dict[str, Json]:
    """File name -> content of a language's folder in locales/. Raises Problem at a phrase that would not be shown as
    it is written."""

    def text(english: str) -> str:
        named = re.sub(r"\{([^{}]+)\}", lambda name: phrases["quoted"].format(phrases["nodes"][name[1]]), english)
        if SYNTAX.search(named):
            raise Problem(f"The front end would take a part of this for its own syntax (@ {{ }} |): {named}")
        return named

    def slots(node: Any) -> Json:
        inputs = {
            slot.id: {"name": phrases["slots"][slot.id], "tooltip": text(phrases["texts"][slot.tooltip])}
            for slot in node.inputs
        }
        outputs = {
            str(place): {"name": phrases["slots"][slot.display_name]}
            for place, slot in enumerate(node.outputs)
            if slot.display_name
        }
        return {"inputs": inputs, "outputs": outputs} if outputs else {"inputs": inputs}

    described = {
        node.node_id: {
            "display_name": phrases["nodes"][node.display_name],
            "description": text(phrases["texts"][node.description]),
            **slots(node),
        }
        for node in nodes
    }
    labels = {id.replace(".", "_"): {"label": phrases["menu"][label]} for id, label in commands().items()}
    menu = {label.replace(".", "_"): shown for label, shown in phrases["menu"].items()}
    templates = {"template": {PACK: phrases["templates"]}}
    main = {"menuLabels": menu, "templateWorkflows": templates}
    return {"nodeDefs.json": described, "commands.json": labels, "main.json": main}


def written(content: Json) -> str:
    return json.dumps(content, ensure_ascii=False, indent=2) + "\n"


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="atelier-translations-") as base:
        pack.prepare_comfyui(Path(base))
        pack.load()
        nodes = schemas()
    for language in LANGUAGES:
        phrases = read(language, nodes)
        files = translated(phrases, nodes)
        page_file(language).write_text(written(phrases["page"]), encoding="utf-8")
        for name, content in files.items():
            target = LOCALES / language / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(written(content), encoding="utf-8")
        say(f"Written: locales/{language}: {', '.join(files)}; {page_file(language).name}")
    return 0


if __name__ == "__main__":
    sys.exit(guard(main))
