// Saved storyboards: below the bar of the gallery, with what can be done with each.

import { desk, newId } from "./desk.js"
import { byId, element } from "./element.js"
import { language, t } from "./language.js"
import { notify } from "./notices.js"
import { askName, askWhether } from "./question.js"

export class Boards {
  /** `open(board)` puts {name, text, pictures} on the bench. `projects` says which project is open. */
  constructor({ open, projects }) {
    Object.assign(this, { open, projects, drawn: null })
    desk.addEventListener("change", () => this.draw())
    document.addEventListener("language", () => this.draw())
    byId("project").addEventListener("change", () => this.draw())
    this.draw()
  }

  draw() {
    const { id: project } = this.projects
    const boards = desk.all("board").filter(([, board]) => !this.projects.project || board.project === project)
    const state = JSON.stringify([boards, language()])
    if (state === this.drawn) return
    this.drawn = state
    byId("boards").hidden = !boards.length
    byId("boards").replaceChildren(...boards.map(([id, board]) => this.row(id, board)))
  }

  row(id, board) {
    const act = (key, run) =>
      element(
        "button.quiet",
        { type: "button", onclick: run, "aria-label": t("of", { what: t(key), name: board.name }) },
        t(key),
      )
    const graph = element(
      "a.quiet",
      { href: `./?atelier_board=${encodeURIComponent(id)}`, target: "_blank", rel: "opener" },
      t("open.graph"),
    )
    return element(
      "li.board",
      {},
      element("strong", { dir: "auto" }, board.name),
      element(
        "div.acts",
        {},
        act("board.open", () => this.open({ id, ...board })),
        act("rename", () => this.rename(id, board)),
        act("board.export", () => this.export(board)),
        graph,
        act("delete", () => this.remove(id, board)),
      ),
    )
  }

  /** Save a board: under the key that it has already, else under a new one with a name that is asked for. */
  async save({ id, text, pictures }) {
    const there = id && desk.get(`board/${id}`)
    const name = there?.name ?? (await askName(t("board.name"), t("kind.storyboard")))
    if (!name) return null
    const key = there ? id : newId()
    desk.change({ [`board/${key}`]: { ...there, name, text, pictures, project: this.projects.id || undefined } })
    notify(t("board.saved", { name }))
    return key
  }

  async rename(id, board) {
    const name = await askName(t("board.name"), board.name)
    if (name) desk.set(`board/${id}`, { name })
  }

  /** The board as a JSON file, which the page takes back when it is dropped. */
  export({ name, text, pictures }) {
    const content = JSON.stringify({ atelier: "board", name, text, pictures }, null, 2)
    const url = URL.createObjectURL(new Blob([content], { type: "application/json" }))
    element("a", { href: url, download: `${name.replace(/[^\p{L}\p{N}]+/gu, "-") || "board"}.json` }).click()
    setTimeout(() => URL.revokeObjectURL(url), 10_000)
  }

  async remove(id, board) {
    const sure = await askWhether(t("board.delete.sure", { name: board.name }), t("delete"))
    if (sure) desk.change({ [`board/${id}`]: null }, true)
  }
}
