"""api/graphs/saved_graph.py for programs outside ComfyUI. It is loaded by path: importing its package needs ComfyUI."""

import importlib.util

import comfyui

_spec = importlib.util.spec_from_file_location(__name__ + "_of_the_pack", comfyui.ROOT / "api/graphs/saved_graph.py")
_module = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_module)

GraphError = _module.GraphError
node_types, set_widget, to_api = _module.node_types, _module.set_widget, _module.to_api
