// What a view keeps over a reload, files included: in the browser's IndexedDB. Without one, the page works and forgets.

const [NAME, PLACE] = ["atelier", "bench"]
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

export const kept = (name) =>
  store("readonly")
    .then((place) => asked(place.get(name)))
    .catch(() => undefined)

export const keep = (name, value) =>
  store("readwrite")
    .then((place) => asked(place.put(value, name)))
    .catch(() => undefined)
