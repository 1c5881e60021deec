// The browser's storage: the colours, the language, the draft of the form, changes that the server has not got yet.

const PREFIX = "atelier."

function read(name, otherwise) {
  try {
    return JSON.parse(localStorage.getItem(PREFIX + name)) ?? otherwise
  } catch {
    return otherwise
  }
}

function write(name, value) {
  try {
    if (value === null) localStorage.removeItem(PREFIX + name)
    else localStorage.setItem(PREFIX + name, JSON.stringify(value))
    return true
  } catch {
    document.dispatchEvent(new Event("forgetful")) // a private window or a full disk: the page works, but forgets
    return false
  }
}

export const draft = {
  get: () => read("draft", {}),
  set: (values) => write("draft", values),
}

/** How loud videos play: {muted, volume}. They are muted at first, or the browser would not play them by itself. */
export const loudness = {
  get: () => read("loudness", { muted: true, volume: 1 }),
  set: (value) => write("loudness", value),
}

/** The id of the project that is open. */
export const project = {
  get: () => read("project", ""),
  set: (value) => write("project", value || null),
}

const LEFT_MS = 600_000 // after which the changes of a closed page are taken over
const page = `unsent.${Math.random().toString(36).slice(2)}`

/** Changes of the desk that the server has not got yet: those of this page, and at first those of pages long closed. */
export const unsent = {
  get() {
    const left = []
    try {
      for (const name of Object.keys(localStorage).filter((name) => name.startsWith(`${PREFIX}unsent.`))) {
        const { at, changes } = read(name.slice(PREFIX.length), { at: 0, changes: [] })
        if (Date.now() - at < LEFT_MS) continue
        left.push(...changes)
        localStorage.removeItem(name)
      }
    } catch {
      // A private window without storage keeps nothing.
    }
    return left
  },
  set: (changes) => write(page, changes.length ? { at: Date.now(), changes } : null),
}

export const language = {
  get: () => read("language", null),
  set: (value) => write("language", value),
}

/** The theme is stored as bare text, for early.js. */
export const theme = {
  get: () => document.documentElement.dataset.theme,
  set(value) {
    document.documentElement.dataset.theme = value
    try {
      localStorage.setItem(PREFIX + "theme", value)
    } catch {
      // As above.
    }
  },
}
