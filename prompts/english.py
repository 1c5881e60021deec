"""Expands an English prompt by rules, without a model: adds the motion, place, camera, light or look it lacks.

The prompt itself stays unchanged.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass

WORDS_PER_TOKEN = 0.62
"""Words per T5 token, on the safe side: about 0.75 in plain English, fewer with commas and rare words."""
TOKENS = 128
"""Tokens of the shortest prompt limit of all families (LTX Video and Pyramid Flow)."""


@dataclass(frozen=True)
class Line:
    """A sentence to add to prompts that have one of the contexts `only` (empty: any prompt) and none of `never`."""

    text: str
    only: tuple[str, ...] = ()
    never: tuple[str, ...] = ()

    def fits(self, contexts: set[str]) -> bool:
        return (not self.only or bool(contexts & {*self.only})) and not contexts & {*self.never}


@dataclass(frozen=True)
class Aspect:
    """One aspect of a prompt. pattern: recognises it in a prompt. lines: sentences to add if it is missing."""

    name: str
    pattern: re.Pattern
    lines: tuple[Line, ...]


def _words(*patterns: str) -> re.Pattern:
    return re.compile(rf"\b(?:{'|'.join(patterns)})\b", re.IGNORECASE)


CONTEXTS = {
    "night": _words("night", "midnight", "nocturnal", "moonlit"),
    "indoors": _words(
        *("rooms?", r"(?:bed|bath|class|living)[- ]?room", "kitchens?", "indoors?", "inside", "office", "studio"),
        *("hallway", "corridor", "library", "museum", "cafe", "café", "restaurant", "bar", "shop", "church", "factory"),
        *("workshop", "stage", "theatre", "theater", "basement", "cellar", "attic", "cave"),
    ),
    "underwater": _words("under ?water", "beneath the waves", "coral", "reef", "seabed", "aquarium", "scuba", "diver"),
    "space": _words("outer space", "astronauts?", "spaceships?", "spacecraft", "galaxy", "planets?", "orbit", "moon"),
    "drawn": _words(
        *("anime", "cartoons?", "animated", "animation", "drawn", "drawing", "sketch", "water ?colou?r", "claymation"),
        *("stop[- ]motion", "pixel art", "paper", "papercraft", "origami", "comic", "illustration", "painting", "3d"),
    ),
    "person": _words(
        *("m[ae]n", "wom[ae]n", "boys?", "girls?", "child(?:ren)?", "person", "people", "dancers?", "chef", "king"),
        *("queen", "soldiers?", "farmers?", "workers?", "musicians?", "actors?", "actress", "monks?", "couple"),
        *("grand(?:mother|father)", "mother", "father", "lady", "gentleman", "teacher", "baby", "bride", "singer"),
    ),
    "animal": _words(
        *("cats?", "kittens?", "dogs?", "pupp(?:y|ies)", "fox(?:es)?", "horses?", "bears?", "wol(?:f|ves)", "lions?"),
        *("tigers?", "deer", "rabbits?", "squirrels?", "pandas?", "cows?", "sheep", "goats?", "monkeys?", "leopards?"),
    ),
    "green": _words(
        *("forests?", "woods?", "trees?", "meadows?", "fields?", "gardens?", "parks?", "jungle", "grass", "hills?"),
        *("valley", "countryside", "farm", "orchard", "vineyard"),
    ),
    "water": _words("sea", "seas", "oceans?", "lakes?", "rivers?", "beach(?:es)?", "harbou?r", "pond", "waterfalls?"),
    "city": _words("cit(?:y|ies)", "streets?", "downtown", "towns?", "skyline", "alley", "market", "skyscrapers?"),
    "wide": _words("landscapes?", "mountains?", "deserts?", "canyons?", "coast", "cliffs?", "glaciers?", "islands?"),
    "wet": _words("rain", "rainy", "raining", "storm", "stormy", "drizzle", "wet"),
    "moving": _words("walk\\w*", "runs?", "running", "driv\\w+", "rides?", "riding", "rac(?:es|ing)", "fl(?:ies|ying)"),
}
"""Subjects and settings of a prompt that the added sentences must agree with."""

CLOSED = ("indoors", "underwater", "space")
PLACES = (*CLOSED, "green", "water", "city", "wide")
NO_PARTICIPLE = (
    "morning evening building buildings ceiling string strings ring rings king kings spring springs wing wings thing "
    "things nothing something everything anything during lightning painting paintings clothing wedding lighting sling "
    "interesting stunning amazing breathtaking charming wing earring earrings viking pudding being setting bring sing "
    "railing awning dressing flooring landing icing siding shilling sterling darling sibling sting duckling ping"
).split()
CLOTHES = "dress|coat|suit|hat|shirt|jacket|cloak|uniform|gown|robe|sweater|helmet|costume|armou?r|kimono|scarf|hoodie"
STYLE_WORDS = (
    *("styles?", r"\w*-style", "cinematic", "realistic", "photo\\w*", "films?", "footage", "movie", "documentary"),
    *("[48]k", "u?hd", "35mm", "16mm", "vintage", "retro", "noir", "black and white", "monochrome", "render(?:ed)?"),
    *("details?", "detailed", "textures?", "palette", "quality", "sharp", "depth of field", "grain", "aesthetic"),
)

ASPECTS = (
    Aspect(
        "motion",
        re.compile(
            rf"\b(?!(?:{'|'.join(NO_PARTICIPLE)})\b)\w{{2,}}ing\b"
            r"|\b(?:moves?|movements?|motion|motionless|still|static|frozen|fast|quick|quickly|slowly|speed|pace)\b"
            r"|\b(?:walk|run|jump|swim|dance|turn|spin|fall|climb|slide|roll|drive|ride|wave|crash|explode|burn|pour)s\b"
            r"|\b(?:melt|bloom|open|close|eat|drink|talk|speak|sing|smile|laugh|play|cook|paint|write|read|look)s\b"
            r"|\b(?:flies|rises|grows|drifts|floats|flows|blows|glides|leaps|chases|sleeps|sits|stands|lies|rotates)\b",
            re.IGNORECASE,
        ),
        (
            Line("The movement is calm and continuous from beginning to end."),
            Line("Everything moves smoothly and at a natural pace."),
            Line("Small, natural movements run through the whole scene."),
            Line("Gestures are unhurried, and hair and clothes stir with every movement.", only=("person",)),
            Line("Breath, eyes and ears are never quite still.", only=("animal",), never=("drawn",)),
            Line("A light wind sets leaves and grass in motion.", only=("green",), never=CLOSED),
            Line("The water is never still, and the light plays on it in motion.", only=("water",), never=CLOSED),
            Line("People and traffic keep moving in the distance.", only=("city",), never=CLOSED),
        ),
    ),
    Aspect(
        "place",
        re.compile(
            r"\b(?:in|on|at|under|above|over|through|across|inside|outside|near|beside|behind|against|along|beneath"
            r"|among|between|by|into|onto|around|down|up|past|off|from|towards?)\s+"
            rf"(?:an?|the|his|her|its|their|some|my)\b(?!(?:\s+[\w-]+){{0,2}}\s+(?:{CLOTHES})s?\b)"
            r"|\b(?:background|backdrop|surroundings|place|scenery|set in|outdoors?)\b|"
            + "|".join(CONTEXTS[name].pattern for name in PLACES),
            re.IGNORECASE,
        ),
        (
            Line("The surroundings are simple and uncluttered, a little out of focus."),
            Line("The background is quiet and soft and does not distract."),
            Line("The place is wide and open, with faint shapes far behind."),
            Line("The place looks lived in, with small everyday things at the edges.", only=("person",)),
            Line("The background is earth, grass and leaves, softly blurred.", only=("animal",)),
            Line("The background is kept in broad, flat areas.", only=("drawn",)),
        ),
    ),
    Aspect(
        "camera",
        _words(
            *("cameras?", "shots?", "close[- ]?ups?", "zoom\\w*", "pans?", "panning", "doll(?:y|ies)", "tracking"),
            *(
                "aerial",
                "drone",
                "hand-?held",
                "tripod",
                "pov",
                "point of view",
                "wide[- ]angle",
                "lens",
                "fram(?:ed|ing)",
            ),
            *(
                "low angle",
                "high angle",
                "angle",
                "bird's[- ]eye",
                "steadicam",
                "crane",
                "macro",
                "fisheye",
                "viewpoint",
            ),
        ),
        (
            Line("The camera stands still at eye level."),
            Line("The camera pushes in very slowly."),
            Line("The camera drifts slowly to one side."),
            Line("It is a medium shot, held by hand with only a slight sway."),
            Line("A wide shot takes in the whole scene while the camera glides slowly forward."),
            Line("The camera follows at a steady distance.", only=("moving",)),
            Line("A smooth tracking shot goes along with the movement.", only=("moving",)),
            Line("The camera glides forward high above the ground.", only=("wide", "city"), never=("person", *CLOSED)),
        ),
    ),
    Aspect(
        "light",
        _words(
            *(
                "lights?",
                "lit",
                "lighting",
                r"\w+light",
                r"\w*lit",
                "sun",
                "sunny",
                "sunset",
                "sunrise",
                "dawn",
                "dusk",
            ),
            *("golden hour", "shadows?", "neon", "lamps?", "candles?", "glow\\w*", "bright\\w*", "dark\\w*", "noon"),
            *(
                "mornings?",
                "evenings?",
                "afternoon",
                "overcast",
                "fog",
                "foggy",
                "mist",
                "misty",
                "silhouettes?",
                "haze",
            ),
        ),
        (
            Line("The light is soft and comes from one side."),
            Line("Soft morning light draws long shadows.", never=(*CLOSED, "night", "wet")),
            Line("Warm late-afternoon light gives everything a golden edge.", never=(*CLOSED, "night", "wet")),
            Line("The light of an overcast day is even, without hard shadows.", never=(*CLOSED, "night")),
            Line("Cool moonlight sets everything off against the dark.", only=("night",), never=CLOSED),
            Line("Street lamps leave pools of warm light in the dark.", only=("city",), never=(*CLOSED, "wet")),
            Line("Daylight falls in from one side and fades softly.", only=("indoors",), never=("night",)),
            Line("A few warm lamps leave the corners in shadow.", only=("indoors",)),
            Line("Shafts of sunlight shimmer down through the water.", only=("underwater",), never=("night",)),
            Line("Hard, clear light from one side leaves deep black shadows.", only=("space",), never=("indoors",)),
            Line("Grey, even light shines on every wet surface.", only=("wet",), never=("night", *CLOSED)),
        ),
    ),
    Aspect(
        "look",
        re.compile(f"{_words(*STYLE_WORDS).pattern}|{CONTEXTS['drawn'].pattern}", re.IGNORECASE),
        (
            Line("Natural tones, fine detail and a shallow depth of field give it the look of a film."),
            Line("The picture is sharp and rich in texture, like a frame from a feature film."),
            Line("It looks like documentary footage, realistic and clear."),
            Line("Realistic textures and gentle contrast make it look like 35mm film."),
        ),
    ),
)
"""In the order in which their sentences are added."""

ENGLISH = {
    *"a an the of in on at with and is are to from by for as its his her their that this it".split(),
    *"through over under into near while behind between against across".split(),
}
OTHER = {
    *"der die das ein eine einen einem und ist im auf mit von den dem zu zum zur durch über unter".split(),
    *"le la les un une des du et est dans sur avec au aux qui par pour sous".split(),
    *"el los las una del y es en con por para que se su al".split(),
    *"il lo gli uno della nel nella e di che sul sulla da della".split(),
    *"o os um uma do da dos das em no na com ao que".split(),
    *"het een van op met voor naar onder door bij".split(),
    *"och ett på med av i som är till jest na się w z do og det er på".split(),
} - ENGLISH  # fmt: skip


def is_english(text: str) -> bool:
    """Whether a text is English, judged by its letters, then by its function words."""
    letters = [letter for letter in text if letter.isalpha()]
    foreign = [letter for letter in letters if ord(letter) > 0x24F]  # beyond Latin and its accented letters
    if len(foreign) > len(letters) / 5:
        return False
    words = re.findall(r"[^\W\d_]+", text.lower())
    english, other = (sum(word in small for word in words) for small in (ENGLISH, OTHER))
    accented = sum(not word.isascii() for word in words)
    return english > other or (english == other and accented <= len(words) / 4)


def contexts(prompt: str) -> set[str]:
    """The CONTEXTS a prompt is about."""
    return {name for name, pattern in CONTEXTS.items() if pattern.search(prompt)}


def missing(prompt: str) -> list[str]:
    """The names of the ASPECTS that a prompt does not mention."""
    return [aspect.name for aspect in ASPECTS if not aspect.pattern.search(prompt)]


def expanded(prompt: str, seed: int, tokens: int = TOKENS) -> str:
    """A paragraph of up to `tokens` T5 tokens, with the prompt as its first sentence.

    The seed chooses the added sentences. A prompt that is empty, complete or in another language comes back unchanged.
    """
    about, gaps = contexts(prompt), missing(prompt)
    if not prompt.strip() or not gaps or not is_english(prompt):
        return prompt
    draw, text, room = random.Random(seed), sentence(prompt), int(tokens * WORDS_PER_TOKEN)
    for aspect in ASPECTS:
        lines = [line.text for line in aspect.lines if line.fits(about)]
        draw.shuffle(lines)
        fitting = [line for line in lines if len(f"{text} {line}".split()) <= room]
        if aspect.name in gaps and fitting:
            text = f"{text} {fitting[0]}"
    return text if text != sentence(prompt) else prompt


def sentence(prompt: str) -> str:
    """A prompt as one sentence: on one line, with a capital letter and a full stop."""
    text = " ".join(prompt.split()).rstrip(" ,;:")
    text = text[:1].upper() + text[1:]
    return text if text.endswith((".", "!", "?", "…", '."', ".)")) else text + "."
