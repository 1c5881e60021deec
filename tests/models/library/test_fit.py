"""What models take against what a machine has; and that the catalogue's figures are those of the files' headers."""

from __future__ import annotations

import published_files
import pytest
from atelier.models.library import published
from atelier.models.library.fit import Machine, Memory, advice
from atelier.models.loading.describe import about

GB = 10**9
CARD_8 = Machine("card", 8 * GB, 32 * GB)
CPU = Machine("cpu", 24 * GB, 24 * GB)


@pytest.mark.parametrize(
    ("network", "step", "machine", "expected"),
    [
        (4, 1, CARD_8, ""),
        (13, 1, CARD_8, "needs 14.0 GB at x, this card has 8.0: it is offloaded, which is slower. fp8 or GGUF helps"),
        (4, 9, CARD_8, "needs 13.0 GB at x, this card has 8.0: too large. A smaller size, or fewer frames"),
        (40, 1, CARD_8, "needs 41.0 GB at x, this card has 8.0: too large. Use fp8 or GGUF"),
        (20, 1, CPU, ""),
        (26, 1, CPU, "needs 27.0 GB at x, this machine has 24.0: too large. Use fp8 or GGUF"),
    ],
)
def test_advice(network, step, machine, expected):
    assert advice(Memory(network * GB, step * GB), machine, "x", 16) == expected


def layout_of(entry: published.Published) -> tuple[str, str] | None:
    """(layout, name) of tests/support/published_files for an entry; None if that has no such layout."""
    name = entry.folder.removeprefix("diffusers/") if entry.folder else entry.files[0].name
    name = f"{name}/{entry.part}" if entry.part else name
    for line in published_files.FILES.strip().splitlines():
        variant, layout, file = line.split()
        if (variant, file) == (entry.variant, name):
            return layout, file
    return None


def test_the_catalogues_memory_is_that_of_the_files(tmp_path):
    """Every entry whose layout is known, at its published size in a sparse file."""
    measured = {}
    for entry in published.models():
        if (known := layout_of(entry)) is None:
            continue
        (folder := tmp_path / entry.id).mkdir()
        measured[entry.id] = about(published_files.write(folder, entry.variant, *known))["memory"]
    assert len(measured) > 25
    for entry in published.models():
        assert entry.memory is not None, entry.id
        if entry.id in measured:
            known = measured[entry.id]
            assert (entry.memory.network, entry.memory.step) == pytest.approx(
                (known["network"], known["step"]), rel=0.02
            )
