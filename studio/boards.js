// Saved storyboards, re-cuts and blends: below the bar of the gallery, with what can be done with each.

import { desk, newId } from "./desk.js"
import { byId, element } from "./element.js"
import { language, t } from "./language.js"
import { notify } from "./notices.js"
import { askName, askWhether } from "./question.js"

const STORYBOARD = "storyboard"

/** What a board holds, without its name and its project. */
const contentOf = ({ name: _name, project: _project, ...content }) => content

const same = (one, other) =>
  [...new Set([...Object.keys(one), ...Object.keys(other)])].every(
    (key) => JSON.stringify(one[key]) === JSON.stringify(other[key]),
  )

export class Boards {
  /** `open(board)` puts {id, name, kind, ...} on the bench. `projects` says which project is open. */
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
    const { kind = STORYBOARD } = board
    const address = { href: `./?atelier_board=${encodeURIComponent(id)}`, target: "_blank", rel: "opener" }
    const graph = kind === STORYBOARD && element("a.quiet", address, t("open.graph"))
    return element(
      "li.board",
      {},
      element("strong", { dir: "auto" }, board.name),
      kind !== STORYBOARD && element("span.edge", {}, t(`${kind}.title`)),
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

  /**
   * Save what is on the bench: over the board that it was opened from, else as a new one, whose name is asked for. If
   * another page has changed that board meanwhile, this one is saved beside it. `before` and the result are
   * {id, content}; the result is null if the person cancels.
   */
  async save(before, content) {
    const there = before && desk.get(`board/${before.id}`)
    const foreign = there && before.content && !same(contentOf(there), before.content)
    const kind = content.kind ?? STORYBOARD
    const asking = () => askName(t(kind === STORYBOARD ? "board.save" : `${kind}.save`), t(`kind.${kind}`))
    const name = !there ? await asking() : foreign ? `${there.name} (2)` : there.name
    if (!name) return null
    const id = there && !foreign ? before.id : newId()
    const project = there?.project ?? (this.projects.id || undefined)
    desk.change({ [`board/${id}`]: { ...content, name, project } })
    notify(foreign ? t("desk.copied", { problem: there.name }) : t("board.saved", { name }))
    return { id, content }
  }

  /** {id, content} of a saved board, to save over it later. */
  static opened(id) {
    const board = desk.get(`board/${id}`)
    return board && { id, content: contentOf(board) }
  }

  async rename(id, board) {
    const name = await askName(t("board.name"), board.name)
    if (name) desk.set(`board/${id}`, { name })
  }

  /** The board as a JSON file, which the page takes back when it is dropped. */
  export(board) {
    const content = JSON.stringify({ atelier: "board", name: board.name, ...contentOf(board) }, null, 2)
    const url = URL.createObjectURL(new Blob([content], { type: "application/json" }))
    element("a", { href: url, download: `${board.name.replace(/[^\p{L}\p{N}]+/gu, "-") || "board"}.json` }).click()
    setTimeout(() => URL.revokeObjectURL(url), 10_000)
  }

  async remove(id, board) {
    const sure = await askWhether(t("board.delete.sure", { name: board.name }), t("delete"))
    if (sure) desk.change({ [`board/${id}`]: null }, true)
  }
}
