"""Which of ComfyUI's front ends the browser tests open in the normal run."""

import pytest

BOTH = ["pinned", pytest.param("newest", marks=pytest.mark.slow)]
"""The front end of the pinned ComfyUI, and the newest with `--slow`.

In the normal run the newest is opened with Nodes 2.0, where parts of ours are drawn: there they are drawn otherwise.
"""
