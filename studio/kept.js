// The browser's storage: the colours, the draft of the form, and the API key until the tab is closed.

const PREFIX = "atelier."

function read(storage, name, otherwise) {
  try {
    return JSON.parse(storage.getItem(PREFIX + name)) ?? otherwise
  } catch {
    return otherwise
  }
}

function write(storage, name, value) {
  try {
    if (value === null) storage.removeItem(PREFIX + name)
    else storage.setItem(PREFIX + name, JSON.stringify(value))
  } catch {
    // A private window or a full disk: the page works, but forgets.
  }
}

export const draft = {
  get: () => read(localStorage, "draft", {}),
  set: (values) => write(localStorage, "draft", values),
}

export const key = {
  get: () => read(sessionStorage, "key", null),
  set: (value) => write(sessionStorage, "key", value),
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
