// The browser's storage: the colours, the language and the draft of the form.

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
  } catch {
    // A private window or a full disk: the page works, but forgets.
  }
}

export const draft = {
  get: () => read("draft", {}),
  set: (values) => write("draft", values),
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
