"""Runs pytest without the repository's root on ``sys.path`` (``python -m pytest`` puts the current folder there).

``nodes`` is a folder of this pack and also a module of ComfyUI, which must be found instead.
"""

import os
import signal
import sys

# The tests' tensors are tiny: on a busy machine threads wait for each other many times longer than they compute.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest  # noqa: E402

if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # unwinds like Ctrl-C, and so stops the server
    sys.exit(pytest.main(sys.argv[1:]))
