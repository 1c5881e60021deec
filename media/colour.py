"""Converts HDR (PQ, HLG) and wide-gamut (BT.2020) footage to BT.709, which the models were trained on."""

from __future__ import annotations

import torch

PQ, HLG = 16, 18
"""Transfer characteristics and, below, colour primaries as ITU-T H.273 numbers them."""
BT2020 = 9

WHITE = 203.0
"""The luminance of diffuse white in HDR, in cd/m2: ITU-R BT.2408, table 1."""
PEAK = 1000.0
"""Luminance that maps to full white, in cd/m2: most HDR footage is graded for it. Brighter pixels clip."""

KNEE = 0.5
"""Where the roll-off of highlights begins, as a share of diffuse white. Darker pixels do not change."""

# ITU-R BT.2087, annex 2: linear BT.2020 to linear BT.709.
TO_BT709 = (
    (1.660491, -0.587641, -0.072850),
    (-0.124550, 1.132900, -0.008349),
    (-0.018151, -0.100579, 1.118730),
)
LUMINANCE = (0.2627, 0.6780, 0.0593)
"""Weights of red, green and blue in BT.2020's luminance."""


def is_hdr(transfer: int) -> bool:
    return transfer in (PQ, HLG)


def needs_mapping(transfer: int, primaries: int) -> bool:
    """Whether frames with these tags look wrong if they are shown as BT.709."""
    return is_hdr(transfer) or primaries == BT2020


def to_bt709(pixels: torch.Tensor, transfer: int, primaries: int) -> torch.Tensor:
    """A file's pixels [..., 3] in 0..1 -> BT.709 in 0..1. Highlights above the knee are rolled off."""
    linear = _light(pixels, transfer)
    if is_hdr(transfer):
        linear = _rolled_off(linear)
    if primaries == BT2020:
        linear = linear @ torch.tensor(TO_BT709, dtype=linear.dtype).T
    return linear.clamp(0, 1) ** (1 / 2.4)


def _light(pixels: torch.Tensor, transfer: int) -> torch.Tensor:
    """Signal -> linear display light, with diffuse white at 1."""
    if transfer == PQ:  # SMPTE ST 2084, equation 4.1
        root = pixels.clamp(0, 1) ** (1 / 78.84375)
        return ((root - 0.8359375).clamp(min=0) / (18.8515625 - 18.6875 * root)) ** (1 / 0.1593017578125) * 1e4 / WHITE
    if transfer == HLG:  # ITU-R BT.2100, table 5, with the system gamma of a display of 1000 cd/m2
        scene = torch.where(
            pixels <= 0.5, pixels**2 / 3, (torch.exp((pixels - 0.55991073) / 0.17883277) + 0.28466892) / 12
        )
        luminance = (scene @ torch.tensor(LUMINANCE)).clamp(min=1e-6)[..., None]
        return scene * luminance**0.2 * PEAK / WHITE
    return pixels.clamp(0, 1) ** 2.4  # ITU-R BT.1886


def _rolled_off(linear: torch.Tensor) -> torch.Tensor:
    """Compress what is brighter than the knee with Reinhard's curve and a white point (Reinhard et al. 2002, eq. 4).

    All channels are scaled by the brightest one's factor, so that the hue stays.
    """
    scale = 1 - KNEE
    peak = (PEAK / WHITE - KNEE) / scale
    brightest = linear.amax(dim=-1, keepdim=True).clamp(min=1e-6)
    above = ((brightest - KNEE) / scale).clamp(min=0)
    rolled = KNEE + scale * above * (1 + above / peak**2) / (1 + above)
    return linear * torch.where(brightest > KNEE, rolled / brightest, 1.0)
