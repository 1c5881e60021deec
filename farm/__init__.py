"""Many machines behind one API: filled graphs go to workers, each of which owns a headless ComfyUI; clips come back.

`jobs.py` is the head's queue and `waiting.py` its order, both without Ray. `cluster.py` reaches workers through Ray.
`worker.py` is what runs on their machines. `pieces.py` has pieces of a graph made that runs on the head, and
`parcel.py` is the file of what such a piece needs. Nothing here is imported without a farm.
"""
