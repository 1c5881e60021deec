/** An element with properties, attributes, listeners ({on: {click: ...}}) and children. */
export function make(tag, { on = {}, ...given } = {}, ...children) {
  const element = document.createElement(tag)
  set(element, given)
  for (const [event, listener] of Object.entries(on)) element.addEventListener(event, listener)
  element.append(...children)
  return element
}

/** Sets an element's properties, attributes and CSS variables; null removes an attribute. */
export function set(element, given) {
  for (const [name, value] of Object.entries(given)) {
    if (name.startsWith("--")) element.style.setProperty(name, value)
    else if (name in element) {
      if (element[name] !== value) element[name] = value
    } else if (value === null) element.removeAttribute(name)
    else element.setAttribute(name, value)
  }
}
