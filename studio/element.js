// Elements from plain descriptions. Text is always text: nothing that a person or a server wrote becomes markup.

/**
 * element("p.note", {id: "x", onclick: f, "aria-label": "y"}, "words", another)
 * Attributes that are false, null or undefined are left out; on... are listeners.
 */
export function element(description, attributes = {}, ...children) {
  const [tag, ...classes] = description.split(".")
  const made = document.createElement(tag)
  if (classes.length) made.className = classes.join(" ")
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value)
    else if (value !== false && value !== null && value !== undefined)
      made.setAttribute(name, value === true ? "" : value)
  }
  made.append(...children.filter((child) => child !== null && child !== undefined && child !== false))
  return made
}

export const byId = (id) => document.getElementById(id)

/** Say in `id-note` or `id-fault` what is to be known of a field; "" clears it. */
export function say(id, text) {
  const place = byId(id)
  if (place.textContent !== text) place.textContent = text
  if (place.classList.contains("fault")) place.hidden = !text
}
