"""pytest without the repository's root on ``sys.path`` (``python -m pytest`` puts the current folder there).

``nodes`` and ``server`` are folders of this pack and also ComfyUI's own modules: the latter must win.
"""

import signal
import sys

import pytest

if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # unwinds like Ctrl-C, and so stops the server
    sys.exit(pytest.main(sys.argv[1:]))
