"""Many machines behind one API: filled graphs go to workers, each of which owns a headless ComfyUI; clips come back.

`jobs.py` is the head's queue and `waiting.py` its order, both without Ray. `cluster.py` reaches workers through Ray.
`worker.py` is what runs on their machines. Nothing here is imported without a farm.
"""
