// Sets the colours chosen last time before the first paint, so that the page does not flash.
try {
  document.documentElement.dataset.theme = localStorage.getItem("atelier.theme") ?? "auto"
} catch {
  document.documentElement.dataset.theme = "auto"
}
