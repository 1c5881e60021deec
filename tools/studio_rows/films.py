"""The videos that a person took home, as frames, and what is measured on them beside the shots' measures."""

from pathlib import Path
from typing import Any


def frames_of(path: Path) -> Any:
    """Frames [F, H, W, 3] in 0..1 of a file."""
    import av
    import torch

    with av.open(str(path)) as film:
        pictures = [torch.from_numpy(frame.to_ndarray(format="rgb24")) for frame in film.decode(video=0)]
    return torch.stack(pictures).float() / 255


def rate_of(path: Path) -> float:
    import av

    with av.open(str(path)) as film:
        return float(film.streams.video[0].average_rate)


def write_picture(path: Path, frame: Any) -> Path:
    """A frame [H, W, 3] in 0..1 as a PNG."""
    from PIL import Image

    Image.fromarray((frame * 255).round().byte().numpy()).save(path)
    return path


def write_clip(path: Path, frames: Any, fps: int) -> Path:
    """Frames [F, H, W, 3] in 0..1 as an MP4."""
    import av

    with av.open(str(path), "w") as film:
        stream = film.add_stream("libx264", rate=fps, options={"crf": "4"})
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], "yuv420p"
        for frame in frames:
            film.mux(stream.encode(av.VideoFrame.from_ndarray((frame * 255).round().byte().numpy(), format="rgb24")))
        film.mux(stream.encode(None))
    return path


def centres(frames: Any) -> Any:
    """The shape's centre in each frame, [F, 2], in pixels: of what differs from the picture's corners."""
    import torch

    ground = torch.stack([frames[:, y, x] for y in (0, -1) for x in (0, -1)]).median(0).values
    weight = (frames - ground[:, None, None]).abs().amax(-1)
    weight = weight * (weight > 0.5 * weight.amax((1, 2), keepdim=True))
    rows, columns = torch.meshgrid(torch.arange(frames.shape[1]), torch.arange(frames.shape[2]), indexing="ij")
    total = weight.sum((1, 2)).clamp(min=1e-6)
    return torch.stack([(weight * grid).sum((1, 2)) / total for grid in (columns, rows)], dim=1)


def apart(one: Any, other: Any) -> float:
    """Mean distance of the shapes of two clips of one length, in pixels."""
    return float((centres(one) - centres(other)).norm(dim=1).mean())


def best(frames: Any, source: Any) -> list[float]:
    """For each frame, in dB, how well the most alike frame of the source fits."""
    from shots.studio import kept

    return [max(kept(frame, other) for other in source) for frame in frames]
