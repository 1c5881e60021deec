"""Small saved graphs in the editor's format, like people's files, for tests of `old_graphs`."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]

Spec = tuple[str, list[tuple], list[str], Any]
"""(class, inputs as (name, type) or (name, type, source id, source slot), output types, widgets_values)."""


def graph(nodes: dict[int, Spec], **extra: Any) -> Json:
    """Nodes by id, in a row. A type in lower case means that the link goes to a widget."""
    links: list[list] = []
    written: list[Json] = []
    for key, (kind, inputs, outputs, values) in nodes.items():
        sockets = []
        for slot, (name, of_type, *source) in enumerate(inputs):
            socket: Json = {"name": name, "type": of_type.upper(), "link": None}
            if of_type.islower():
                socket["widget"] = {"name": name}
            if source:
                socket["link"] = len(links) + 1
                links.append([len(links) + 1, *source, key, slot, of_type.upper()])
            sockets.append(socket)
        written.append(
            {
                **{"id": key, "type": kind, "pos": [400 * len(written), 0], "size": [315, 200], "flags": {}, "mode": 0},
                **{"order": len(written), "inputs": sockets, "properties": {"Node name for S&R": kind}},
                "outputs": [{"name": name, "type": name, "links": []} for name in outputs],
                "widgets_values": values,
            }
        )
    written_by_id = {node["id"]: node for node in written}
    for link, origin, slot, *_ in links:
        if slot < len(written_by_id[origin]["outputs"]):
            written_by_id[origin]["outputs"][slot]["links"].append(link)
    last = {"last_node_id": max(nodes), "last_link_id": len(links)}
    return {**last, "nodes": written, "links": links, "groups": [], "config": {}, "extra": {}, "version": 0.4, **extra}


def by_id(saved: Json) -> dict[int, Json]:
    return {node["id"]: node for node in saved["nodes"]}


def of_type(saved: Json, kind: str) -> Json:
    """The one node of a class."""
    (node,) = [node for node in saved["nodes"] if node["type"] == kind]
    return node


def source(saved: Json, node: Json, name: str) -> tuple[str, int] | None:
    """(class, output) of what an input is linked to; None if it is not."""
    link = next((socket["link"] for socket in node["inputs"] if socket["name"] == name), None)
    if link is None:
        return None
    (found,) = [each for each in saved["links"] if each[0] == link]
    return by_id(saved)[found[1]]["type"], found[2]


def cogvideox(**changed: Any) -> Json:
    """Text to video with CogVideoXWrapper's last version. `changed`: widgets of the node of that id ("n63=[...]")."""
    loader = ["THUDM/CogVideoX-5b", "bf16", "disabled", False, "sdpa", "main_device"]
    nodes: dict[int, Spec] = {
        36: ("DownloadAndLoadCogVideoModel", [("lora", "COGLORA")], ["COGVIDEOMODEL", "VAE"], loader),
        20: ("CLIPLoader", [], ["CLIP"], ["t5\\t5xxl_fp16.safetensors", "sd3"]),
        37: ("EmptyLatentImage", [], ["LATENT"], [720, 480, 1]),
        30: ("CogVideoTextEncode", [("clip", "CLIP", 20, 0)], ["CONDITIONING", "CLIP"], ["a dog on a roof", 1, False]),
        31: ("CogVideoTextEncode", [("clip", "CLIP", 30, 1)], ["CONDITIONING", "CLIP"], ["blurry", 1, True]),
        63: (
            "CogVideoSampler",
            [
                ("model", "COGVIDEOMODEL", 36, 0),
                ("positive", "CONDITIONING", 30, 0),
                ("negative", "CONDITIONING", 31, 0),
                ("samples", "LATENT", 37, 0),
                ("image_cond_latents", "LATENT"),
            ],
            ["LATENT"],
            [49, 40, 6, 7, "increment", "CogVideoXDDIM", 1],
        ),
        60: (
            "CogVideoDecode",
            [("vae", "VAE", 36, 1), ("samples", "LATENT", 63, 0)],
            ["IMAGE"],
            [True, 240, 360, 0.2, 0.2, True],
        ),
        44: (
            "VHS_VideoCombine",
            [("images", "IMAGE", 60, 0)],
            ["VHS_FILENAMES"],
            {"frame_rate": 8, "filename_prefix": "CogVideoX"},
        ),
    }
    for name, values in changed.items():
        key = int(name[1:])
        nodes[key] = (*nodes[key][:3], values)
    return graph(nodes)
