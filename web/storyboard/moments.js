/**
 * The moments that a card snaps to: the starts of the shot's latent frames, or tenths of a second if they are unknown.
 *
 * The first latent frame is one frame of video, every other `latent_frame` frames (models/contract/grid.py).
 */

/** Seconds that Shift moves a card by; also the precision of written times. */
export const FINE = 0.01
const TENTH = { at: (index) => index / 10, index: (time) => Math.floor(time * 10 + 1e-6) }

/** {at: number -> seconds, index: seconds -> number of the moment at or before them}. */
export function momentsOf(shot) {
  if (!shot?.latent_frame) return TENTH
  const { latent_frame: frames, fps } = shot
  return {
    at: (index) => (index ? hundredths(((index - 1) * frames + 1) / fps) : 0),
    index: (time) => (time < hundredths(1 / fps) ? 0 : Math.floor((time * fps - 1 + (fps * FINE) / 2) / frames) + 1),
  }
}

/** The moment nearest to `time`. */
export function nearest(moments, time) {
  const index = moments.index(Math.max(0, time)),
    [before, after] = [moments.at(index), moments.at(index + 1)]
  return time - before < after - time ? before : after
}

/** The next moment after `time`, or before it if `direction` is below 0. */
export function next(moments, time, direction) {
  const index = moments.index(time),
    here = moments.at(index)
  if (direction > 0) return moments.at(index + 1)
  return here < time - FINE / 2 ? here : moments.at(Math.max(0, index - 1))
}

export function hundredths(seconds) {
  return Math.round(seconds * 100) / 100
}
