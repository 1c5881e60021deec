"""How much memory tensors take while something runs, counted tensor by tensor: exact, and the same on any machine.

On the meta device it costs nothing, so networks of published size can be counted at published sizes.
"""

from collections.abc import Iterable

import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

YOUNG = 64
"""How many of the latest tensors are looked at first where something may have been freed: most go soon."""

Storages = dict[int, tuple[StorageWeakRef, int]]


class Allocated(TorchDispatchMode):
    """Counts, while it is active, the bytes of all tensors that are made and still there; `peak` is the most.

    known: tensors that were there before and do not count (weights, inputs), nor do views of them.
    """

    def __init__(self, known: Iterable[torch.Tensor]) -> None:
        super().__init__()
        self.known = {tensor.untyped_storage()._cdata for tensor in known}
        self.young: Storages = {}
        self.old: Storages = {}
        self.held = self.peak = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        made = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, torch.Tensor) and tensor.untyped_storage()._cdata not in self.known:
                self._count(tensor.untyped_storage())
        if self.held > self.peak:  # what is freed is looked for only where it decides
            self._forget_freed(self.young)
        if self.held > self.peak:
            self._forget_freed(self.old)
            self.old |= {key: self.young.pop(key) for key in list(self.young)[:-YOUNG]}
            self.peak = max(self.peak, self.held)
        return made

    def _count(self, storage: torch.UntypedStorage) -> None:
        """Note a tensor's storage, unless it is there already: `held` is what is there or was not yet found freed."""
        key = storage._cdata
        before = self.young.get(key) or self.old.get(key)
        if before is not None and not before[0].expired():
            return
        for storages in (self.young, self.old):
            self.held -= storages.pop(key, (None, 0))[1]
        self.held += storage.nbytes()
        self.young[key] = StorageWeakRef(storage), storage.nbytes()

    def _forget_freed(self, storages: Storages) -> None:
        for key in [key for key, (reference, _) in storages.items() if reference.expired()]:
            self.held -= storages.pop(key)[1]
