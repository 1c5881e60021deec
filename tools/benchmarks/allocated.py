"""Counts the memory of tensors while code runs, tensor by tensor: exact, and the same on any machine.

On the meta device it takes no memory itself, so networks of published size can be measured at published sizes.
"""

from collections.abc import Iterable

import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

YOUNG = 64
"""Number of the latest tensors to check first for freed ones, because most tensors live briefly."""

Storages = dict[int, tuple[StorageWeakRef, int]]


class Allocated(TorchDispatchMode):
    """Counts the bytes of all living tensors that were made while it is active; `peak` is their maximum.

    known: earlier tensors that do not count (weights, inputs), nor do views of them.
    """

    def __init__(self, known: Iterable[torch.Tensor]) -> None:
        super().__init__()
        self.known = {tensor.untyped_storage()._cdata for tensor in known}
        self.young: Storages = {}
        self.old: Storages = {}
        self.held = self.peak = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, torch.Tensor) and tensor.untyped_storage()._cdata not in self.known:
                self._count(tensor.untyped_storage())
        if self.held > self.peak:  # freed tensors are looked for only if they could change the peak
            self._forget_freed(self.young)
        if self.held > self.peak:
            self._forget_freed(self.old)
            self.old |= {key: self.young.pop(key) for key in list(self.young)[:-YOUNG]}
            self.peak = max(self.peak, self.held)
        return result

    def _count(self, storage: torch.UntypedStorage) -> None:
        """Add a tensor's storage unless it is counted already. `held` includes storages not yet found to be freed."""
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
