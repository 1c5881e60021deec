"""How much memory tensors take while something runs, counted tensor by tensor: exact, and the same on any machine.

On the meta device it costs nothing, so networks of published size can be counted at published sizes.
"""

from collections.abc import Iterable

import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Allocated(TorchDispatchMode):
    """Counts, while it is active, the bytes of all tensors that are made and still there; `peak` is the most.

    known: tensors that were there before and do not count (weights, inputs), nor do views of them.
    """

    def __init__(self, known: Iterable[torch.Tensor]) -> None:
        super().__init__()
        self.known = {tensor.untyped_storage()._cdata for tensor in known}
        self.live: dict[int, tuple[StorageWeakRef, int]] = {}
        self.held = self.peak = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        made = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, torch.Tensor) and tensor.untyped_storage()._cdata not in self.known:
                self._count(tensor.untyped_storage())
        if self.held > self.peak:  # what is freed is looked for only where it decides
            self.live = {key: entry for key, entry in self.live.items() if not entry[0].expired()}
            self.held = sum(size for _, size in self.live.values())
            self.peak = max(self.peak, self.held)
        return made

    def _count(self, storage: torch.UntypedStorage) -> None:
        """Note a tensor's storage, unless it is there already: `held` is what is there or was not yet found freed."""
        before = self.live.get(storage._cdata)
        if before is not None and not before[0].expired():
            return
        self.held += storage.nbytes() - (before[1] if before else 0)
        self.live[storage._cdata] = StorageWeakRef(storage), storage.nbytes()
