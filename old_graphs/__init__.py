"""Opens graphs that were made for dormant packs: CogVideoXWrapper, MochiWrapper, PyramidFlowWrapper.

`graph_in` takes the graph out of a file, `convert` returns it with Atelier's nodes in place of theirs, in the form that
it came in; `from_script` makes a graph of a diffusers script. None of them needs ComfyUI or models. `wrappers/` holds
what each class is, as data.
"""

from __future__ import annotations

from .convert import Conversion, convert
from .files import graph_in
from .graph import UnreadableGraph
from .names import Installed
from .scripts import from_script, is_script
from .wrappers import PACK_OF

__all__ = ["PACK_OF", "Conversion", "Installed", "UnreadableGraph", "convert", "from_script", "graph_in", "is_script"]
