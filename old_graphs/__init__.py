"""Opens graphs that were made for dormant packs: CogVideoXWrapper, MochiWrapper, PyramidFlowWrapper.

`convert` takes a saved graph in either of ComfyUI's forms and returns it with Atelier's nodes in place of theirs. It
needs neither ComfyUI nor models, and imports no other room. `wrappers/` holds what each class is, as data.
"""

from __future__ import annotations

from .convert import Conversion, convert
from .graph import UnreadableGraph
from .names import Installed

__all__ = ["Conversion", "Installed", "UnreadableGraph", "convert"]
