"""The picture of the pocket with sound: the first pocket LTX's autoencoder and transformer, in LTX-2's layout.

They were that pocket's own weights, of 64 x 64 pixels, under LTX-2's names: its layers compute what LTX Video's do. A
first latent frame that counts as long as the others (`causal_offset`) left the positions as it knew them. It is not
shipped any more, so they are read from the pocket with sound; nothing of them is trained.
"""

from pathlib import Path

import torch
from diffusers import AutoencoderKLLTX2Video, LTX2VideoTransformer3DModel

RELEASE = Path(__file__).parents[3] / "models" / "pocket_sound"
SOUNDS = ("audio", "a2v", "av_cross_attn")
"""What the names of all weights have in them that the picture alone does without."""


def autoencoder() -> AutoencoderKLLTX2Video:
    """The released video autoencoder."""
    return AutoencoderKLLTX2Video.from_pretrained(RELEASE / "vae", dtype=torch.float32).eval()


def network() -> LTX2VideoTransformer3DModel:
    """LTX-2's network with the released picture stream; its sound stream is fresh, and not heard by it."""
    released = LTX2VideoTransformer3DModel.from_pretrained(RELEASE / "transformer", dtype=torch.float32)
    net = LTX2VideoTransformer3DModel.from_config(released.config)
    picture = {key: value for key, value in released.state_dict().items() if not any(s in key for s in SOUNDS)}
    net.load_state_dict(picture, strict=False)
    return net


def train(work: Path, minutes: float, release: Path | None = None) -> None:
    """Saves the video autoencoder in `work`/vae: nothing of it is trained."""
    autoencoder().save_pretrained(work / "vae")
