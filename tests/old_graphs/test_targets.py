"""The table of nodes that old ones become, against the nodes themselves in a real ComfyUI."""

from __future__ import annotations

from atelier.old_graphs.targets import SIZES, TARGETS

KINDS = {name: kind for kind, name in SIZES.items()}


# A node may have gained inputs and outputs since: they go to the end, and saved graphs do without them.
def test_every_target_has_the_inputs_and_outputs_of_its_node_in_saved_order(server):
    schemas = server.client.object_info(TARGETS)
    assert schemas.keys() == TARGETS.keys()
    for name, target in TARGETS.items():
        inputs = schemas[name]["input"]
        specs = {**inputs.get("required", {}), **inputs.get("optional", {})}
        order = [n for group in ("required", "optional") for n in schemas[name]["input_order"].get(group, [])]
        kinds = {n: "c" if isinstance(spec[0], list) else KINDS.get(spec[0], spec[0]) for n, spec in specs.items()}
        expected = [(n, kinds[n]) for n in order]
        assert [(n, kind) for n, kind, _ in target.inputs] == expected[: len(target.inputs)], name
        required = schemas[name]["input"].get("required", {})
        assert not [n for n, _ in expected[len(target.inputs) :] if n in required and len(required[n]) < 2], name
        outputs = list(zip(schemas[name]["output_name"], schemas[name]["output"], strict=True))
        assert list(target.outputs) == outputs[: len(target.outputs)], name
        for widget, kind, default in target.inputs:
            spec = specs[widget]
            options = spec[0] if isinstance(spec[0], list) else spec[1].get("options") if len(spec) > 1 else None
            if kind == "c" and default is not None:
                assert default in options, f"{name}.{widget}"
