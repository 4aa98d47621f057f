// Keys of the blind vote: L, R or N for the pair that is shown, wherever the page is looked at but in a field.
document.addEventListener("keydown", (event) => {
  const pair = document.querySelector("#compare-blind-pair figure");
  const side = { l: "left", r: "right", n: "neither" }[event.key.toLowerCase()];
  if (!side || event.ctrlKey || event.metaKey || event.altKey || !pair || pair.offsetParent === null) return;
  if (event.target.closest("input, textarea, select, [contenteditable=true]")) return;
  document.querySelector(`#compare-blind-${side}`)?.click();
});
