"""Captions for scenes: plain prompts, free sentences and tag lists, with synonyms, missing attributes and stray words.

The tokenizer's vocabulary is made from the words in this file.
"""

import random
from collections.abc import Collection, Iterator

from pocket.world import ATTRIBUTES, BACKGROUNDS, COLORS, Scene

NOUNS = {
    "circle": ("circle", "circle", "circle", "ball", "disc", "disk", "dot"),
    "square": ("square", "square", "square", "box", "block"),
    "triangle": ("triangle",),
}
ANY_SHAPE = ("shape", "object", "thing", "form")
ADJECTIVES = {"small": ("small", "little", "tiny"), "large": ("large", "big", "huge")}
COLOR_WORDS = {"purple": ("purple", "purple", "violet")}
TRAVEL = (  # verb forms that take a direction
    ("moving", "moves"),
    ("moving", "moves"),
    ("sliding", "slides"),
    ("going", "goes"),
    ("drifting", "drifts"),
    ("flying", "flies"),
    ("travelling", "travels"),
    ("gliding", "glides"),
    ("floating", "floats"),
    ("heading", "heads"),
)
DIRECTIONS = {
    "left": ("left", "left", "to the left", "leftwards", "towards the left", "from right to left"),
    "right": ("right", "right", "to the right", "rightwards", "towards the right", "from left to right"),
    "up": ("up", "up", "upwards", "upward", "to the top", "towards the top"),
    "down": ("down", "down", "downwards", "downward", "to the bottom", "towards the bottom"),
}
VERBS = {  # verb forms that need no direction
    "up": (("rising", "rises"), ("climbing", "climbs"), ("rising up", "rises up"), ("ascending", "ascends")),
    "down": (("falling", "falls"), ("sinking", "sinks"), ("dropping", "drops"), ("descending", "descends")),
    "still": (
        ("standing still", "stands still"),
        ("staying still", "stays still"),
        ("not moving", "does not move"),
        ("resting", "rests"),
        ("at rest", "is at rest"),
        ("motionless", "is motionless"),
        ("staying in place", "stays in place"),
        ("still", "is still"),
    ),
    "grow": (
        ("growing", "grows"),
        ("growing larger", "grows larger"),
        ("getting bigger", "gets bigger"),
        ("getting larger", "gets larger"),
        ("expanding", "expands"),
        ("coming closer", "comes closer"),
        ("becoming bigger", "becomes bigger"),
    ),
}
PLAIN = {"still": "that is still", "grow": "growing", **{way: f"moving {way}" for way in DIRECTIONS}}
ADVERBS = ("slowly", "gently", "smoothly", "quickly", "steadily")
PLACES = ("on {}", "on a {} background", "on a {} background", "against a {} background", "with a {} background")
PLACE_TAGS = ("{} background", "{} background", "the background is {}", "{} backdrop", "background: {}")
LEADS = ("a video of", "an animation of", "a clip of", "footage of", "an animation showing", "video of", "clip of")
TAGS = ("high quality", "4k", "flat colours", "cartoon style", "simple shapes", "minimal", "2d animation", "hd")
OUTLINED = ("outlined {}", "{} with an outline", "{} with a border")
BESIDE = ("and {}", "next to {}", "beside {}", "with {}")
PANS = ("the camera pans {}", "camera pans {}", "camera panning {}", "panning {}", "the camera moves {}")
SIZE_KNOWN = 0.75  # share of captions for training that say the size: it is what is learnt last
SHORT = 0.25  # share of captions for training that say colour, shape and motion, as most people type them first
STRAY = (
    "nice beautiful simple flat clean bright smooth shiny cute pretty very best scene shows showing there with then "
    "motion graphics vector style minimalist camera static looping loop seamless colorful picture film frame single "
    "geometric toy across screen through air space image and while over under near some this that looks like you can "
    "see which has its one plain lonely magic funny dreamy soft light dark sky sea river forest city street house dog "
    "cat bird horse elephant person woman man child robot car train boat tree flower mountain sun moon star water fire "
    "snow rain morning night summer winter running walking dancing jumping singing happy sad old young fast calm"
).split()
LEAVE_OUT = {"color": 0.06, "shape": 0.06, "size": 0.4, "motion": 0.1, "background": 0.3}


def said_attributes(rng: random.Random) -> set[str]:
    """A random choice of attributes for a caption to mention."""
    return {name for name in ATTRIBUTES if rng.random() >= LEAVE_OUT[name]}


def article_of(words: str) -> str:
    return "an" if words[0] in "aeiou" else "a"


def noun_phrase(scene: Scene, said: Collection[str], rng: random.Random) -> str:
    """For example "a small red circle"."""
    words = []
    if "size" in said:
        words.append(rng.choice(ADJECTIVES[scene.size]))
    if "color" in said:
        words.append(rng.choice(COLOR_WORDS.get(scene.color, (scene.color,))))
    words.append(rng.choice(NOUNS[scene.shape] if "shape" in said else ANY_SHAPE))
    if scene.outlined:
        words = rng.choice(OUTLINED).format(" ".join(words)).split()
    article = rng.choice((article_of(words[0]),) * 5 + ("the", "one", ""))
    return " ".join([article, *words]).strip()


def beside(scene: Scene, rng: random.Random) -> str:
    """For example "next to a blue square"; nothing if there is no second shape."""
    if not scene.other:
        return ""
    color = rng.choice(COLOR_WORDS.get(scene.other.color, (scene.other.color,)))
    noun = f"{color} {rng.choice(NOUNS[scene.other.shape])}"
    return rng.choice(BESIDE).format(f"{article_of(noun)} {noun}")


def motion_phrase(motion: str, finite: bool, rng: random.Random) -> str:
    """For example "moving to the left", or "moves to the left" if finite."""
    if motion in DIRECTIONS and (motion not in VERBS or rng.random() < 0.7):
        phrase = f"{rng.choice(TRAVEL)[finite]} {rng.choice(DIRECTIONS[motion])}"
    else:
        phrase = rng.choice(VERBS[motion])[finite]
    if motion != "still" and rng.random() < 0.2:
        adverb = rng.choice(ADVERBS)
        phrase = f"{adverb} {phrase}" if rng.random() < 0.5 else f"{phrase} {adverb}"
    if not finite and motion != "still" and rng.random() < 0.15:
        phrase = f"is {phrase}"
    return phrase


def caption(scene: Scene, rng: random.Random, said: Collection[str] = tuple(ATTRIBUTES)) -> str:
    """One wording of the scene that mentions exactly the attributes in `said`."""
    noun = noun_phrase(scene, said, rng)
    motion = motion_phrase(scene.motion, rng.random() < 0.3, rng) if "motion" in said else ""
    if scene.pan:
        motion = rng.choice(PANS).format(rng.choice(DIRECTIONS[scene.pan][:3]))
    motion = " ".join(filter(None, (motion, beside(scene, rng))))
    name = rng.choice(("grey", "gray")) if scene.background == "grey" else scene.background
    place = tag = ""
    if "background" in said:
        place, tag = rng.choice(PLACES).format(name), rng.choice(PLACE_TAGS).format(name)
    sentence = " ".join(filter(None, (noun, motion)))
    if not place:
        text = sentence
    elif (kind := rng.random()) < 0.45:
        text = f"{sentence} {place}"
    elif kind < 0.65:
        text = f"{sentence}, {tag}"
    elif kind < 0.75:
        text = f"{tag}, {sentence}"
    elif kind < 0.85:
        text = ", ".join(filter(None, (noun, motion, tag)))
    else:
        text = " ".join(filter(None, (noun, place, motion)))
    if rng.random() < 0.15:
        text = f"{rng.choice(LEADS)} {text}"
    if rng.random() < 0.3:
        text = text[0].upper() + text[1:]
    return text + "." * (rng.random() < 0.3)


def free_caption(scene: Scene, said: Collection[str], rng: random.Random) -> str:
    """A caption as users might type it: sometimes with style tags or with words that have no meaning here."""
    text = caption(scene, rng, said)
    if rng.random() < 0.1:
        text = f"{text.rstrip('.')}, {rng.choice(TAGS)}"
    if rng.random() < 0.25:
        words = text.split(" ")
        for _ in range(rng.randint(1, 3)):
            words.insert(rng.randint(0, len(words)), rng.choice(STRAY))
        text = " ".join(words)
    return text


def training_caption(scene: Scene, rng: random.Random, grown: bool = False) -> str:
    """A caption for a clip that a transformer trains on. grown: the shape is not of the scene's size any more."""
    said = said_attributes(rng) | ({"size"} if rng.random() < SIZE_KNOWN else set())
    if rng.random() < SHORT:
        said = {"color", "shape", "motion"}
    said -= {"size"} if grown else set()
    return free_caption(scene, said, rng)


def short_caption(scene: Scene) -> str:
    """What most people type first, for example "a red circle moving left": colour, shape and motion, in plain words."""
    return f"{article_of(scene.color)} {scene.color} {scene.shape} {PLAIN[scene.motion]}"


def vocabulary() -> dict:
    """The words of the attributes, with which prompts are completed: "vocabulary" in recipe.json."""
    moving = {word for pair in TRAVEL for phrase in pair for word in phrase.split()}
    moving |= {phrase for pairs in VERBS.values() for pair in pairs for phrase in pair}
    shades = (*BACKGROUNDS, "gray")
    return {
        "example": "a small red circle moving left on a black background",
        "things": sorted({noun for nouns in NOUNS.values() for noun in nouns} | {*ANY_SHAPE}),
        "attributes": [
            {
                "words": [word for words in ADJECTIVES.values() for word in words],
                "add": list(ADJECTIVES),
                "place": "before",
            },
            {"words": [*COLORS, "violet"], "add": list(COLORS), "place": "before"},
            {
                "words": sorted(moving | {*DIRECTIONS}),
                "add": [*(f"moving {way}" for way in DIRECTIONS), "standing still", "growing"],
                "place": "behind",
            },
            {
                "words": [*shades, "background", "backdrop"],
                "add": [f"on a {shade} background" for shade in BACKGROUNDS],
                "place": "end",
            },
        ],
    }


def all_words() -> Iterator[str]:
    """Every phrase in this file, for the tokenizer's vocabulary."""
    for table in (NOUNS, ADJECTIVES, COLOR_WORDS, DIRECTIONS, ATTRIBUTES):
        for phrases in table.values():
            yield from phrases
    for pairs in (TRAVEL, *VERBS.values()):
        for pair in pairs:
            yield from pair
    for phrases in (ANY_SHAPE, ADVERBS, LEADS, TAGS, STRAY, ("a", "an", "the", "one", "gray", "is")):
        yield from phrases
    for template in PLACES + PLACE_TAGS:
        yield template.replace("{}", "")
