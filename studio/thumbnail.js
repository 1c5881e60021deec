// The small picture of a video, fetched when it comes into view.

import * as api from "./api.js"

const wanted = new WeakMap() // <img> -> the id of its video
const near = new IntersectionObserver(
  (entries) => {
    for (const { target, isIntersecting } of entries) if (isIntersecting) fetch(target)
  },
  { rootMargin: "50%" },
)

async function fetch(picture) {
  near.unobserve(picture)
  picture.src = await api.address(wanted.get(picture), "thumbnail").catch(() => "")
}

/** Have an <img> show the first frame of a finished video. Returns the <img>. */
export function thumbnail(picture, id) {
  if (wanted.get(picture) !== id) {
    wanted.set(picture, id)
    near.observe(picture)
  }
  return picture
}
