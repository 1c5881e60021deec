// Before the first paint: the colours that were chosen last time, so that the page does not flash.
try {
  document.documentElement.dataset.theme = localStorage.getItem("atelier.theme") ?? "auto"
} catch {
  document.documentElement.dataset.theme = "auto"
}
