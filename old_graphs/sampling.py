"""Samplers, image encoders and decoders -> Empty Video Latent, Place Frames, Sample Video, Decode Video and others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from . import names
from .graph import Node, Source, short
from .text import encoded
from .translation import EMPTY_LATENTS, Old, Results, Translation
from .wrappers.pyramid_flow import steps_of

LATENT_FRAMES = 4
"""Frames of CogVideoX in one latent frame; Context Windows counts latent frames."""
PYRAMID_FRAMES = 8
SCHEDULES = {
    "uniform_standard": "standard_uniform",
    "uniform_looped": "looped_uniform",
    "static_standard": "standard_static",
}
"""The wrapper's context schedules -> core's."""
GUIDANCE_LISTS = {"CreateCFGScheduleFloatList"}
"""Nodes of other packs that give the wrapper a guidance for each step."""
NEAR = 200
"""Nodes behind a sampler that are searched for the frame rate of its video."""


@dataclass
class Shot:
    """What a sampler starts from, while it is put together."""

    latent: Source | None
    positive: Source | None
    negative: Source | None


def sample(work: Translation, old: Old) -> Results:
    model = work.model_of(old.source("model"))
    vae = work.vae_of(old) or _vae_behind(work, old)
    known = work.old_origin(old.source("known"), "frames")
    first, last, control = _pictures(work, old, known)
    positive, negative = _texts(work, old)
    shot = Shot(_base_latent(work, old, model, vae, first or last or control), positive, negative)
    _place(work, old, known, vae, shot, {"first": first, "last": last})
    if control is not None:
        _control(work, old, known, vae, shot, control)
    if old.source("known") is not None and known is None:
        work.report.lose(old.node, "its picture is lost: it does not come from an image encoder that is known here")
    sampled = _sampler(work, old, _patched(work, old, model), shot)
    results: Results = {"latent": Source(sampled.id, 0)}
    if model is not None:
        results["model"] = model
    if any(kind == "IMAGE" for _, kind in old.node.outputs):  # the first versions of Pyramid's sampler decoded, too
        results["image"] = Source(_decoder(work, old, vae, results["latent"]).id, 1)
    return results


def _vae_behind(work: Translation, old: Old) -> Source | None:
    """The VAE of the sampler's model loader, or of the node that encodes its picture."""
    for name in ("known", "latent"):
        if (frames := work.old_origin(old.source(name), "frames")) and (vae := work.vae_of(frames)):
            return vae
    loader = work.loader_of(old.source("model"))
    return work.results(loader).get("vae") if loader else None


def _pictures(work: Translation, old: Old, known: Old | None) -> tuple[Source | None, Source | None, Source | None]:
    """First picture, last picture, control clip. What a Pose or Control model gets as pictures is its control clip."""
    asked = old.source("control")
    encoder = work.old_origin(asked, "control")
    control = work.results(encoder).get("image") if encoder else work.output(asked)
    first, last = (
        work.output((known.source(name) if known else None) or old.source(name)) for name in ("images", "last")
    )
    loader = work.loader_of(old.source("model"))
    marks = names.identity(str(loader.get("model")))[1] if loader else frozenset()
    if control is None and known is not None and marks & {"pose", "control"}:
        return None, None, first
    return first, last, control


def _texts(work: Translation, old: Old) -> tuple[Source | None, Source | None]:
    """The sampler's positive and negative conditioning."""
    both = work.old_origin(old.source("texts"), "text")
    if both is not None:
        node = encoded(work, both, None)
        return Source(node.id, 0), Source(node.id, 1)
    if old.get("prompt") is not None or old.source("prompt"):
        inputs = {"clip": work.clip_of(old), "prompt": old.given("prompt")}
        node = work.new("AtelierEncodeVideoPrompt", inputs, old, "left")
        return Source(node.id, 0), Source(node.id, 1)
    links = {name: old.source(name) for name in ("positive", "negative")}
    pair = [work.old_origin(link, "text") for link in links.values()]
    direct = all(link is not None and link.node in work.old for link in links.values())
    single = all(text is not None and text.get("negative") is None for text in pair) and pair[0] is not pair[1]
    if direct and single:
        node = encoded(work, *pair)
        return Source(node.id, 0), Source(node.id, 1)
    return work.output(links["positive"]), work.output(links["negative"])


def _base_latent(
    work: Translation, old: Old, model: Source | None, vae: Source | None, picture: Source | None
) -> Source | None:
    """The latent to sample: encoded footage, another sampler's clip, or an empty one of the old graph's size."""
    footage = old.source("footage")
    link = old.source("latent")
    given = work.origin(link)
    if isinstance(given, Old) and given.rule.role == "frames":
        return work.results(given).get("latent")
    if footage is not None:
        return Source(_encoded(work, old, work.output(footage), vae).id, 0)
    if isinstance(given, Old):
        return work.output(link)
    if given is not None and given.type not in EMPTY_LATENTS:
        if picture is None and old.given("denoise") not in (None, 1):
            return link
        work.report.lose(old.node, f"the noise from {short(given.type)} is lost: Sample Video makes its own")
    width, height = _size(work, old, given, picture)
    inputs = {"model": model, "width": width, "height": height, "frames": _frames(work, old)}
    return Source(work.new("AtelierEmptyVideoLatent", inputs, old, "left").id, 0)


def _size(work: Translation, old: Old, empty: Any, picture: Source | None) -> tuple[Any, Any]:
    """Width and height: the sampler's own, those of EmptyLatentImage, or those of the picture."""
    if old.given("width") is not None and old.given("height") is not None:
        return tuple(work.output(side) if isinstance(side, Source) else side for side in map(old.given, SIDES))
    if isinstance(empty, Node) and empty.type in EMPTY_LATENTS:
        return _sides_of(work, empty)
    if picture is None:
        return None, None
    if old.given("side") is not None:
        picture = _scaled(work, old, picture, old.given("side"))
    return picture_size(work, old, picture)


SIDES = ("width", "height")


def _sides_of(work: Translation, empty: Node) -> tuple[Any, Any]:
    links = [socket.source if (socket := empty.socket(name)) else None for name in SIDES]
    values = [empty.value(name, place) for place, name in enumerate(SIDES)]
    values = [value if type(value) is int and 0 < value <= 16384 else None for value in values]
    return tuple(work.output(link) or value for link, value in zip(links, values, strict=True))


def picture_size(work: Translation, old: Old, picture: Source) -> tuple[Source, Source]:
    """Width and height of images: outputs of the node that gives them, else a Get Image Size of its own."""
    node = work.graph.nodes.get(picture.node)
    if node is not None and not node.new:
        sides = {name: slot for slot, (name, kind) in enumerate(node.outputs) if kind == "INT"}
        named = {side: slot for name, slot in sides.items() for side in SIDES if name.split()[-1:] == [side]}
        if len(named) == 2:
            return Source(node.id, named["width"]), Source(node.id, named["height"])
    size = work.once(("size", picture), lambda: work.new("GetImageSize", {"image": picture}, old, "left"))
    return Source(size.id, 0), Source(size.id, 1)


def _scaled(work: Translation, old: Old, picture: Source, side: Any) -> Source:
    """Images of about side x side pixels in their own aspect ratio: the wrapper's "closest bucket"."""
    if isinstance(side, Source) or isinstance(side, str) and not side.isdecimal():
        work.report.lose(old.node, "base_resolution is lost: it comes through a link. Set the size in the graph")
        return picture
    inputs = {"image": picture, "upscale_method": old.get("method"), "megapixels": round(int(side) ** 2 / 2**20, 4)}
    inputs["megapixels"] = min(max(inputs["megapixels"], 0.01), 16.0)
    own = old.rule.role == "resize"
    key = ("scaled", picture, inputs["megapixels"])
    return Source(work.once(key, lambda: work.new("ImageScaleToTotalPixels", inputs, old, "left", own=own)).id, 0)


def resize(work: Translation, old: Old) -> Results:
    """Images scaled to a base resolution, and their width and height."""
    picture = work.output(old.source("images"))
    if picture is None:
        return {}
    scaled = _scaled(work, old, picture, old.given("side") or 512)
    width, height = picture_size(work, old, scaled)
    return {"image": scaled, "width": width, "height": height}


def _frames(work: Translation, old: Old) -> Any:
    """The number of frames: as given, or of Pyramid's `temp`."""
    temp = old.given("temp")
    if isinstance(temp, Source):
        work.report.lose(old.node, "temp comes through a link and is lost: frames are 8 (temp - 1) + 1")
        return None
    if temp is not None:
        return PYRAMID_FRAMES * (min(max(temp, 1), 10_000) - 1) + 1
    frames = old.given("frames")
    return work.output(frames) if isinstance(frames, Source) else frames


def _place(
    work: Translation, old: Old, known: Old | None, vae: Source | None, shot: Shot, pictures: dict[str, Source | None]
) -> None:
    """Place Frames for the first and the last picture."""
    for position, picture in pictures.items():
        if picture is None:
            continue
        strength = known.given("strength") if known else None
        if isinstance(strength, int | float) and not 0 <= strength <= 1:
            work.report.lose(known.node, f"strength {strength:g} is lost: Place Frames takes 0 to 1")
            strength = min(max(strength, 0.0), 1.0)
        inputs = {"vae": vae, "latent": shot.latent, "images": picture, "position": position, "strength": strength}
        node = work.new(
            "AtelierPlaceFrames", inputs, known or old, "left" if known is None else "below", own=bool(known)
        )
        shot.latent = Source((work.passing(node, known) if known else node).id, 0)


def _control(work: Translation, old: Old, known: Old | None, vae: Source | None, shot: Shot, clip: Source) -> None:
    encoder = known or work.old_origin(old.source("control"), "control")
    inputs = {"positive": shot.positive, "negative": shot.negative, "vae": vae, "latent": shot.latent, "images": clip}
    node = work.new("AtelierControlVideo", inputs, encoder or old, "left", own=encoder is not None)
    if encoder is not None:
        work.passing(node, encoder)
    shot.positive, shot.negative = Source(node.id, 0), Source(node.id, 1)


def _patched(work: Translation, old: Old, model: Source | None) -> Source | None:
    """The model with the step cache and the context windows that the sampler was given."""
    cache = work.old_origin(old.source("cache"), "cache")
    if cache is not None:
        node = work.new("EasyCache", {"model": model}, cache, own=True)
        model = Source(work.passing(node, cache).id, 0)
    context = work.old_origin(old.source("context"), "context")
    if context is not None:
        latent_frames = {
            name: max(value // LATENT_FRAMES, least)
            for name, least in (("frames", 2), ("overlap", 0), ("stride", 1))
            if isinstance(value := context.get(name), int)
        }
        inputs = {
            "model": model,
            "context_length": latent_frames.get("frames"),
            "context_overlap": latent_frames.get("overlap"),
            "context_stride": latent_frames.get("stride"),
            "context_schedule": SCHEDULES.get(context.get("schedule")),
        }
        model = Source(work.passing(work.new("ContextWindowsManual", inputs, context, own=True), context).id, 0)
    return model


def _sampler(work: Translation, old: Old, model: Source | None, shot: Shot) -> Node:
    """Sample Video, or core's SamplerCustom where another node gives the sigmas."""
    ends = {"positive": shot.positive, "negative": shot.negative}
    seed, guidance = _linked(work, old, "seed"), _guidance(work, old)
    schedule = work.old_origin(old.source("sigmas"), "schedule")
    if old.source("sigmas") is not None and schedule is None:
        inputs = {"model": model, "noise_seed": seed, "cfg": guidance, **ends}
        euler = work.new("KSamplerSelect", {}, old, "left")
        inputs |= {"sampler": Source(euler.id, 0), "sigmas": work.output(old.source("sigmas"))}
        return work.new("SamplerCustom", {**inputs, "latent_image": shot.latent}, old, own=True)
    setting = schedule or old
    steps = _linked(work, setting, "steps")
    if old.given("video_steps") is not None:
        steps = None if isinstance(old.given("video_steps"), Source) else steps_of(old.get("video_steps"))
        if steps is None:
            work.report.lose(old.node, "video_steps is lost: it is linked, or differs between the stages")
    denoise = _linked(work, setting, "denoise")
    if isinstance(denoise, int | float):
        denoise = min(max(denoise, 0.01), 1.0)
    inputs = {"model": model, **ends, "latent": shot.latent, "seed": seed, "steps": steps, "guidance": guidance}
    return work.new("AtelierSampleVideo", {**inputs, "denoise": denoise}, old, own=True)


def _linked(work: Translation, old: Old, name: str) -> Any:
    given = old.given(name)
    return work.output(given) if isinstance(given, Source) else given


def _guidance(work: Translation, old: Old) -> Any:
    given = old.given("guidance")
    if isinstance(given, Source):
        node = work.origin(given)
        if isinstance(node, Node) and node.type in GUIDANCE_LISTS:
            work.report.lose(old.node, "its guidance for each step is lost: Sample Video has one. See Dynamic Guidance")
            return old.get("guidance")
        return work.output(given)
    if isinstance(given, int | float) and given <= 0:
        work.report.lose(old.node, f"guidance {given:g} is lost: it is 1, without a negative prompt")
        return 1.0
    return given


def encode(work: Translation, old: Old) -> Results:
    """An image encoder whose latent is used as it is: footage to change, or something for another node."""
    node = _encoded(work, old, work.output(old.source("images")), work.vae_of(old))
    return {"latent": Source(node.id, 0)}


def _encoded(work: Translation, old: Old, images: Source | None, vae: Source | None) -> Node:
    inputs = {"vae": vae, "images": images, "fps": _rate(work, old)}
    return work.new("AtelierEncodeVideo", inputs, old, "left", own=old.rule.role == "frames")


def _rate(work: Translation, old: Old) -> float:
    """Frames per second of the video that comes out behind a node, else the model's own."""
    users = work.once("users", work.graph.consumers)
    found, seen = [old.node.id], {old.node.id}
    for key in found:
        node = work.graph.nodes.get(key)
        rate = node.saved.get("frame_rate") if node is not None and isinstance(node.saved, dict) else None
        if isinstance(rate, int | float) and not isinstance(rate, bool) and 0 < rate <= 240:
            return float(rate)
        for user, _ in users.get(key, ()):
            if user.id not in seen and len(found) < NEAR:
                seen.add(user.id)
                found.append(user.id)
    return 8.0 if "cogvideo" in old.node.type.lower() else 24.0


def decode(work: Translation, old: Old) -> Results:
    latent = work.output(old.source("latent"))
    return {"image": Source(_decoder(work, old, work.vae_of(old), latent, own=True).id, 1)}


def _decoder(work: Translation, old: Old, vae: Source | None, latent: Source | None, own: bool = False) -> Node:
    return work.new("AtelierDecodeVideo", {"vae": vae, "latent": latent}, old, own=own)
