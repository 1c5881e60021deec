// Whether a video that a view works with has been deleted meanwhile. The list holds the newest ones; of others, the
// server is asked.

import * as api from "../api.js"
import { videos } from "../videos.js"

const FRESH_MS = 5000
const answers = new Map() // id -> {gone, at}

/** Whether the video is known to be deleted. `then()` is called when that has changed. */
export function isGone(id, then) {
  if (videos.get(id) || !videos.loaded) return false
  const known = answers.get(id)
  if (!known || performance.now() - known.at > FRESH_MS) ask(id, known?.gone ?? false, then)
  return known?.gone ?? false
}

async function ask(id, before, then) {
  answers.set(id, { gone: before, at: performance.now() })
  const gone = await api.retrieve(id).then(
    () => false,
    (error) => (error.status === 404 ? true : before),
  )
  answers.set(id, { gone, at: performance.now() })
  if (gone !== before) then()
}
