"""Prompts that apply to a part of a clip: sample the clip in windows of time, one after the other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from ...contract.grid import Grid
from ...contract.guides import Appended
from ...timeline.latent import mask_of
from ...timeline.openings import with_openings
from ...timeline.relay import RELAY
from ...timeline.spans import ONLY, SPAN, active_at
from ...timeline.windows import Window, prompt_changes, windows
from ..video_model import APPENDED, CONTROL, VideoModel
from .calls import SamplerRun, around_run, conditioned_frame_rate
from .known_frames import extra_noise
from .windowed_sound import WindowedSound

CONTEXT = 1.0
"""Seconds of finished footage that a window reads on either side; at most half of its length."""
OPENING_SEED = 2
"""Combined with the seed, so that an opening's noise differs from that of other extra frames."""

Entries = list[dict[str, Any]]
"""ComfyUI's conditioning while it samples."""


@around_run
def with_windows(run: SamplerRun) -> torch.Tensor:
    """Sample a clip in windows if its prompts have spans. In each window, the finished frames are known frames.

    If no prompt has a span, the clip is sampled at once. What is before a later scene goes with the clip (`openings`).
    """
    guider, conds, model = run.guider, run.guider.conds, run.model
    entries = [entry for group in conds.values() for entry in group]
    if run.noise.ndim != 5 or not any(SPAN in entry for entry in entries):
        return run.proceed()
    rate, clip = conditioned_frame_rate(entries, model.variant), run.latent.clone()
    known = {} if run.mask is None else {"noise_mask": run.mask}
    holes = mask_of({"samples": run.latent, **known}).to(clip)
    plan = _plan(model, entries, rate, holes, finishes=not run.sigmas[-1])
    numbers = _asked_for(plan, entries)
    sound, openings = WindowedSound.of(run, model, rate), {}
    for turn, number in enumerate(numbers):
        window = plan[number]
        guider.conds = {name: _conditioning_of(group, model, rate, window) for name, group in conds.items()}
        seed = (run.seed or 0) ^ number << 32  # so that samplers that add noise add a different one in each window
        mask, noise = _part(holes, window), run.noise[:, :, window.begin : window.until]
        sampled = run.proceed(
            noise=torch.cat([extra_noise(noise, window.opening, seed ^ OPENING_SEED), noise], dim=2),
            latent=_part(clip, window),
            mask=mask if mask.lt(1).any() else None,
            callback=run.callback and _report(run.callback, clip, [plan[each] for each in numbers], turn, sound),
            seed=seed,
            options=run.options if sound is None else sound.options_of(window),
        )
        here = slice(window.start, window.end)
        clip[:, :, here] = sampled[:, :, window.lead :][:, :, : window.end - window.start].to(clip)
        holes[:, :, here] = 0
        if window.opening:
            openings[window.start] = sampled[:, :, : window.opening].to(clip)
        if sound is not None:
            sound.finish(window)
    return with_openings(clip, openings)


def _plan(model: VideoModel, entries: Entries, rate: float, holes: torch.Tensor, finishes: bool) -> list[Window]:
    """The windows that contain frames to generate: those where holes [B, 1, T, H, W] are not 0.

    If the run leaves noise (not `finishes`), there is one window, because no later window could continue unfinished
    frames. A family with its own sampler changes prompts and continues its own frames itself, so only cuts and the
    clip's length start a window.
    """
    grid, recipe, count = model.variant.grid, model.variant.recipe, holes.shape[2]
    whole = Window(0, 0, count, count)
    if not finishes:
        return [whole]
    changes = prompt_changes(entries, [grid.moment(frame, rate) for frame in range(count)])
    if model.family.sample is not None:
        changes = [turn for turn in changes if turn.cut]
    longest = grid.latent_shape(recipe.width, recipe.height, recipe.frames)[2]
    context = max(1, min(round(CONTEXT * rate / grid.temporal), longest // 2))
    known = holes.amin(dim=(0, 1, 3, 4)).lt(1)
    known[_keyframes_of(entries, grid)] = True
    plan = windows(changes, known.tolist(), longest, context)
    return [window for window in plan if holes[:, :, window.start : window.end].any()] or [whole]


def _asked_for(plan: list[Window], entries: Entries) -> list[int]:
    """The numbers of the windows to sample: all, unless the conditioning asks for those of some latent frames ONLY.

    They keep their numbers, because the noise that a sampler adds depends on them.
    """
    begin, end = next((entry[ONLY] for entry in entries if ONLY in entry), (0, plan[-1].end))
    return [number for number, window in enumerate(plan) if window.start < end and window.end > begin]


def _keyframes_of(entries: Entries, grid: Grid) -> list[int]:
    """The latent frames at which keyframes begin. A window leads up to them, too: it makes these frames twice."""
    appended = next((entry[APPENDED] for entry in entries if entry.get(APPENDED)), None)
    if appended is None or appended.levels is None:
        return []
    held = appended.levels.isfinite().amax(dim=(0, 1, 3, 4))
    return appended.begin(grid)[held].tolist()


def _part(clip: torch.Tensor, window: Window) -> torch.Tensor:
    """The part of a clip [B, C, T, H, W] that the network reads in a window. An opening repeats its first frame."""
    part = clip[:, :, window.begin : window.until]
    return torch.cat([part[:, :, :1]] * window.opening + [part], dim=2)


def _conditioning_of(group: Entries, model: VideoModel, rate: float, window: Window) -> Entries:
    """The conditioning of a window: entries that apply in none of its frames are left out.

    Entries that apply only in some frames get a mask over time [1, T, 1, 1]. A family with its own sampler looks up the
    entries of each frame itself, so spans are shifted to start at the first frame that the network reads.
    """
    grid, kept = model.variant.grid, []
    # Only a clip's first latent frame is one frame long. Positions in time depend on whether x begins with it.
    first_frame = int(window.begin > 0 and not window.opening)
    guides = _guides_of(group, window, first_frame, grid)
    active = [active_at(group, grid.moment(frame, rate)) for frame in range(window.start, window.end)]
    for entry in group:
        row = [float(any(entry is one for one in entries)) for entries in active]
        if not any(row):
            continue
        entry = {**_with_part_of_control(entry, window), "first_frame": first_frame, APPENDED: guides}
        if entry.get(RELAY) is not None:
            shift = first_frame + window.opening - window.begin
            entry[RELAY] = entry[RELAY] + torch.tensor([shift, 0]).view(1, 2, 1)
        if model.family.sample is not None and SPAN in entry:
            offset = (window.begin - window.opening) * grid.temporal / rate
            entry = {**entry, SPAN: tuple(at - offset for at in entry[SPAN])}
        elif not all(row):
            added = -(window.lead + window.until - window.start) % grid.patch[0]
            front, behind = (0, added) if grid.whole_tokens else (added, 0)
            over_time = [row[0]] * (front + window.lead) + row + [row[-1]] * (window.until - window.end + behind)
            entry = {**entry, "mask": torch.tensor(over_time).view(1, -1, 1, 1)}
        kept.append(entry)
    return kept


def _guides_of(group: Entries, window: Window, first_frame: int, grid: Grid) -> Appended | None:
    """The guides that begin in the frames that the network reads, at their places in the window."""
    appended = next((entry[APPENDED] for entry in group if entry.get(APPENDED)), None)
    if appended is None:
        return None
    return appended.of_window(window.begin, window.until, first_frame + window.opening - window.begin, grid)


def _with_part_of_control(entry: dict[str, Any], window: Window) -> dict[str, Any]:
    control = entry.get(CONTROL)
    return entry if control is None else {**entry, CONTROL: control[:, :, window.begin : window.until]}


def _report(
    callback: Callable, clip: torch.Tensor, plan: list[Window], number: int, sound: WindowedSound | None
) -> Callable:
    """The callback of a window: it reports the whole clip so far, and counts the steps of all windows."""
    window, count = plan[number], clip.shape[2]
    rest = clip[:, :, window.end if number + 1 == len(plan) else count :]

    def so_far(part: torch.Tensor) -> torch.Tensor:
        if part.shape[3:] != clip.shape[3:]:  # Pyramid Flow starts each frame at a smaller size
            return part
        own = part[:, :, window.lead :][:, :, : window.end - window.start]
        return torch.cat([clip[:, :, : window.start].to(own), own, rest.to(own)], dim=2)

    def report(step: int, denoised: torch.Tensor, x: torch.Tensor, steps: int) -> None:
        if sound is not None:
            sound.show(window)
        callback(number * steps + step, so_far(denoised), so_far(x), len(plan) * steps)

    return report
