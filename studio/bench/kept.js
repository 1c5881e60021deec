// What the bench keeps over a reload, files included: in the browser's IndexedDB. Without one, the page works, says that it
// forgets, and forgets.

const [NAME, PLACE] = ["atelier", "bench"]
const LASTING_MS = 30 * 86_400_000 // of what nobody has come back to
const asked = (request) =>
  new Promise((done, fail) => {
    request.onsuccess = () => done(request.result)
    request.onerror = () => fail(request.error)
  })

let opened = null
function store(mode) {
  opened ??= new Promise((done, fail) => {
    const request = indexedDB.open(NAME, 1)
    request.onupgradeneeded = () => request.result.createObjectStore(PLACE)
    asked(request).then(done, fail)
  })
  return opened.then((base) => base.transaction(PLACE, mode).objectStore(PLACE))
}

/** What was kept under a name; undefined if nothing was. */
export const kept = (name) =>
  store("readonly")
    .then((place) => asked(place.get(name)))
    .catch(() => undefined)

/** Keep a value. If the browser's storage is full, the page says that it forgets (the event "forgetful"). */
export const keep = (name, value) =>
  store("readwrite")
    .then((place) => {
      const put = asked(place.put({ ...value, at: Date.now() }, name))
      place.transaction.commit() // now: a page that is left while it is busy would take it back
      return put
    })
    .catch(() => document.dispatchEvent(new Event("forgetful")))

/** Remove what has a name with this beginning and was kept long ago. */
export async function tidy(beginning) {
  try {
    const place = await store("readwrite")
    const names = await asked(place.getAllKeys(IDBKeyRange.bound(beginning, `${beginning}\uffff`)))
    for (const name of names)
      asked(place.get(name)).then(({ at = 0 }) => Date.now() - at > LASTING_MS && place.delete(name))
  } catch {
    // A private window without storage keeps nothing.
  }
}

/** The name of this tab, which a reload keeps: two tabs keep what is in work apart. */
export const tab = (() => {
  try {
    return (sessionStorage["atelier.tab"] ??= Math.random().toString(36).slice(2))
  } catch {
    return "only"
  }
})()
