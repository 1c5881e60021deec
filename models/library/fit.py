"""Whether a model fits a machine: its weights as they are stored, and one step at a size, against the device."""

from __future__ import annotations

from dataclasses import dataclass

FITS, OFFLOADED, TOO_LARGE = "fits", "offloaded", "too large"
OVERHEAD = 0.7e9
"""Bytes that the driver and PyTorch take of a GPU before a model is loaded."""
WORKING_SET = 1.0e9
"""Bytes of a model's layers that are on the device at once when ComfyUI keeps the rest in main memory."""


@dataclass(frozen=True)
class Machine:
    """A device and its memory in bytes, and the main memory. `device` is "cpu" if both are the same."""

    device: str
    device_bytes: int
    main_bytes: int


@dataclass(frozen=True)
class Memory:
    """What a model takes, in bytes: its network as stored, and one step of sampling at a size."""

    network: int
    step: int

    def verdict(self, machine: Machine) -> str:
        """FITS; OFFLOADED: it runs, with most of its weights in main memory, slower; or TOO_LARGE."""
        if machine.device == "cpu":
            return FITS if self.network + self.step < machine.main_bytes else TOO_LARGE
        if self.network + self.step + OVERHEAD <= machine.device_bytes:
            return FITS
        streamed = self.step + min(self.network, WORKING_SET) + OVERHEAD <= machine.device_bytes
        return OFFLOADED if streamed and self.network < machine.main_bytes else TOO_LARGE


def advice(memory: Memory, machine: Machine, size: str, bits: float) -> str:
    """A warning in a sentence, with what helps; "" if the model fits. size: "768 x 512 x 97"; bits: of its weights."""
    verdict = memory.verdict(machine)
    if verdict == FITS:
        return ""
    where = "this machine has" if machine.device == "cpu" else "this card has"
    held = machine.main_bytes if machine.device == "cpu" else machine.device_bytes
    needs = f"needs {(memory.network + memory.step) / 1e9:.1f} GB at {size}, {where} {held / 1e9:.1f}"
    smaller = "fp8 or GGUF" if bits > 8 else "a GGUF of fewer bits" if bits > 4 else "a smaller model"
    if verdict == OFFLOADED:
        return f"{needs}: it is offloaded, which is slower. {smaller} helps"
    room = held - (0 if machine.device == "cpu" else OVERHEAD)
    if memory.step > room / 2:
        return f"{needs}: too large. A smaller size, or fewer frames"
    return f"{needs}: too large. Use {smaller}"
