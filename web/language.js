// In ComfyUI's front end: the words of this pack's scripts and of the time line are those of its language.

import { app } from "../../scripts/app.js"
import { speakIn } from "./storyboard/words.js"

const SETTING = "Comfy.Locale"
const speak = (code) => speakIn(code ?? navigator.language).catch((error) => console.warn("Atelier: no words:", error))

app.registerExtension({
  name: "Atelier.Language",
  async init() {
    app.ui.settings.addEventListener?.(`${SETTING}.change`, ({ detail }) => speak(detail?.value))
    await speak(app.extensionManager?.setting?.get(SETTING))
  },
})
