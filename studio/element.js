// Creates elements from plain descriptions. Text never becomes markup, whether it comes from a person or a server.

/**
 * element("p.note", {id: "x", onclick: f, "aria-label": "y"}, "words", another)
 * Attributes that are false, null or undefined are skipped; on... are listeners.
 */
export function element(description, attributes = {}, ...children) {
  const [tag, ...classes] = description.split(".")
  const created = document.createElement(tag)
  if (classes.length) created.className = classes.join(" ")
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) created.addEventListener(name.slice(2), value)
    else if (value !== false && value !== null && value !== undefined)
      created.setAttribute(name, value === true ? "" : value)
  }
  created.append(...children.filter((child) => child !== null && child !== undefined && child !== false))
  return created
}

export const byId = (id) => document.getElementById(id)

/** Write a message about a field into `id-note` or `id-fault`; "" clears it. */
export function say(id, text) {
  const place = byId(id)
  if (place.textContent !== text) place.textContent = text
  if (place.classList.contains("fault")) place.hidden = !text
}
