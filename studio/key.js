// The API key that the server may require. It is kept until the tab is closed; ComfyUI's editor reads it here too.

const NAME = "atelier.key"

export const key = {
  get() {
    try {
      return JSON.parse(sessionStorage.getItem(NAME))
    } catch {
      return null
    }
  },
  set(value) {
    try {
      sessionStorage.setItem(NAME, JSON.stringify(value))
    } catch {
      // A private window without storage: the key is asked for again.
    }
  },
}

/** The headers of a request with this key; none if there is no key. */
export const authorization = (given = key.get()) => (given ? { Authorization: `Bearer ${given}` } : {})
