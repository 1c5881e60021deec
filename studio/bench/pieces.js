// A re-cut: the clip's pieces in their new order, in frames. Every function returns a new list and leaves the old one.
//
// A piece is {from, to}: the clip's frames from `from` up to, not with, `to`. A gap is {gap}: frames for the model.

export const lengthOf = (piece) => piece.gap ?? piece.to - piece.from

export const total = (pieces) => pieces.reduce((sum, piece) => sum + lengthOf(piece), 0)

/** [start, end] of the piece at `index` on the new clip. */
export function spanOf(pieces, index) {
  const start = total(pieces.slice(0, index))
  return [start, start + lengthOf(pieces[index])]
}

/** The index of the piece that holds `frame` of the new clip; the last one's after the end. */
export function at(pieces, frame) {
  let end = 0
  const index = pieces.findIndex((piece) => frame < (end += lengthOf(piece)))
  return index < 0 ? pieces.length - 1 : index
}

/** The clip's frame that the new clip shows at `frame`; null in a gap. */
export function shownAt(pieces, frame) {
  const index = at(pieces, frame)
  if (index < 0 || pieces[index].gap) return null
  return pieces[index].from + Math.min(frame - spanOf(pieces, index)[0], lengthOf(pieces[index]) - 1)
}

/** Two parts of a piece, of which the first has `count` frames. */
function halves(piece, count) {
  if (piece.gap) return [{ gap: count }, { gap: piece.gap - count }]
  return [
    { from: piece.from, to: piece.from + count },
    { from: piece.from + count, to: piece.to },
  ]
}

/** The pieces with a cut before `frame`. Unchanged where there is one already. */
export function split(pieces, frame) {
  const index = at(pieces, frame)
  if (index < 0) return pieces
  const [start, end] = spanOf(pieces, index)
  if (frame <= start || frame >= end) return pieces
  return pieces.toSpliced(index, 1, ...halves(pieces[index], frame - start))
}

/** The pieces without the frames from `start` up to `end`. */
export function without(pieces, start, end) {
  const cut = split(split(pieces, start), end)
  return cut.filter((_, index) => {
    const [from, to] = spanOf(cut, index)
    return to <= start || from >= end
  })
}

export const removed = (pieces, index) => pieces.toSpliced(index, 1)

/** The piece once more, after itself. */
export const repeated = (pieces, index) => pieces.toSpliced(index + 1, 0, { ...pieces[index] })

/** The piece at `index` moved before the one that is now at `place` (or to the end). */
export function moved(pieces, index, place) {
  const rest = pieces.toSpliced(index, 1)
  return rest.toSpliced(place > index ? place - 1 : place, 0, pieces[index])
}

/** A gap of `frames` before `frame`, or after the piece that ends there. */
export function gapped(pieces, frame, frames) {
  const cut = split(pieces, frame)
  let end = 0
  const index = cut.findIndex((piece) => (end += lengthOf(piece)) > frame)
  return cut.toSpliced(index < 0 ? cut.length : index, 0, { gap: frames })
}

/** The piece with another first or last frame, as far as the clip of `frames` goes. A gap becomes longer or shorter. */
export function trimmed(pieces, index, side, by, frames) {
  const piece = pieces[index]
  if (piece.gap) return pieces.with(index, { gap: Math.max(1, piece.gap + (side === "end" ? by : -by)) })
  const from = side === "start" ? Math.min(piece.to - 1, Math.max(0, piece.from + by)) : piece.from
  const to = side === "end" ? Math.max(piece.from + 1, Math.min(frames, piece.to + by)) : piece.to
  return pieces.with(index, { from, to })
}

/** The request's `recut`. */
export const requested = (pieces, fps) =>
  pieces.map((piece) => (piece.gap ? { gap: piece.gap / fps } : { start: piece.from / fps, end: piece.to / fps }))

/** The pieces of a video's record: lines such as "0 - 1.5" and "gap 0.5", in seconds. */
export const written = (text, fps) =>
  text.split("\n").map((line) => {
    const [from, to] = (line.match(/[\d.]+/g) ?? [0]).map((seconds) => Math.round(seconds * fps))
    return line.startsWith("gap") ? { gap: from } : { from, to }
  })
