"""How the pocket's world sounds: a colour is a pitch, a large shape is louder, and one that grows gets louder.

The pitches are multiples of 100 Hz. LTX-2's vocoder makes every column of the spectrogram, 10 ms, in the same way, so
the sound of a steady spectrogram repeats after 10 ms: only such pitches can be steady.
"""

import math
from collections.abc import Sequence

import torch
import torchaudio
from torch import Tensor

from pocket.world import COLORS, Scene

PITCHES = dict(zip(COLORS, (300.0, 600.0, 1000.0, 500.0, 800.0, 400.0), strict=True))  # Hz: a major chord
LOUDNESS = {"small": 0.35, "large": 0.55}  # amplitudes
GROWTH = 1.2  # of the amplitude in a second, as of the radius
RATE = 16000  # samples per second of the spectrogram's waves
HOP, BINS, WINDOW, QUIET = 160, 64, 1024, 1e-5
PER_SECOND = 25.0  # latents
COLUMNS = 4  # of the spectrogram in a latent; the first has one
SEMITONE = 2 ** (1 / 12)


def length(frames: int, fps: float) -> int:
    """Sound latents of a clip, as LTX-2 counts them."""
    return round(frames / fps * PER_SECOND)


def columns(latents: int) -> int:
    """Spectrogram columns of that many latents."""
    return COLUMNS * latents - COLUMNS + 1


def waves(scenes: Sequence[Scene], seconds: float, rate: int = RATE) -> Tensor:
    """The scenes' sound [B, 1, samples] in -1..1."""
    time = torch.arange(round(seconds * rate)) / rate
    tones = []
    for scene in scenes:
        loud = LOUDNESS[scene.size] * (GROWTH**time if scene.motion == "grow" else 1)
        tones.append(loud * torch.sin(2 * math.pi * PITCHES[scene.color] * time))
    return torch.stack(tones)[:, None]


_MEL = torchaudio.transforms.MelSpectrogram(
    sample_rate=RATE,
    n_fft=WINDOW,
    win_length=WINDOW,
    hop_length=HOP,
    f_min=0.0,
    f_max=RATE / 2,
    n_mels=BINS,
    power=1.0,
    mel_scale="slaney",
    norm="slaney",
)


def spectrogram(sound: Tensor, count: int) -> Tensor:
    """Waves [B, 1, samples] at RATE -> the first `count` columns of their mel spectrogram [B, 2, count, 64].

    It is LTX-2's. Both channels are the same.
    """
    return _MEL(sound)[..., :count].clamp(min=QUIET).log().transpose(2, 3).expand(-1, 2, -1, -1)


def pitch_of(sound: Tensor, rate: int) -> float | None:
    """The strongest frequency in Hz of a wave [channels, samples]; None if it is silent.

    The first and last tenth of a second are left out: a spectrogram does not see past a clip's ends.
    """
    middle = sound.mean(0)[rate // 10 : -(rate // 10)]
    if middle.numel() < rate // 4 or middle.abs().max() < 0.02:
        return None
    count = 8 * rate  # zeros behind the sound make steps of an eighth of a Hz
    strength = torch.fft.rfft(middle * torch.hann_window(len(middle)), count).abs()
    strength[: 50 * count // rate] = 0  # no music below 50 Hz
    return int(strength.argmax()) * rate / count


def color_of(sound: Tensor, rate: int) -> str | None:
    """The colour whose pitch a wave [channels, samples] has, to half a semitone either way; None if it has none's."""
    pitch = pitch_of(sound, rate)
    if pitch is None:
        return None
    off = {name: abs(math.log(pitch / own, SEMITONE)) for name, own in PITCHES.items()}
    nearest = min(off, key=off.get)
    return nearest if off[nearest] < 0.5 else None
