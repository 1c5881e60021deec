// A question in a dialog: a name to write, or a yes or no before something is deleted.

import { byId, element, say } from "./element.js"
import { t } from "./language.js"

/** Ask; resolves to the text that was written, to true if there is no `label`, or to null if the person cancels. */
function ask({ title, label = null, value = "", yes }) {
  const dialog = byId("question")
  say("question-title", title)
  const input = label && element("input", { id: "question-text", dir: "auto", maxlength: 200, autocomplete: "off" })
  byId("question-body").replaceChildren(...(input ? [element("label", { for: "question-text" }, label), input] : []))
  byId("question-yes").textContent = yes
  dialog.returnValue = ""
  dialog.showModal()
  if (input) {
    input.value = value
    input.select()
  } else byId("question-no").focus()
  return new Promise((resolve) => {
    const answer = () => resolve(dialog.returnValue !== "ok" ? null : input ? input.value.trim() : true)
    dialog.addEventListener("close", answer, { once: true })
  })
}

export const askName = (title, value = "") => ask({ title, label: t("name"), value, yes: t("save") })
export const askWhether = (title, yes) => ask({ title, yes })
