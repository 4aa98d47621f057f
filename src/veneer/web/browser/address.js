/* The address bar follows the tab and the run that are shown, so that what is seen has a link. */
window.address = (() => {
  const tabs = { 'Data set': 'dataset', Recipe: 'recipe', Train: 'train', Compare: 'compare', Runs: 'runs' };
  const fields = { train: '#train-shown input', compare: '#compare-run input' };
  let isChosen = false;  // whether a person has opened a tab: no address opens another one then

  const all = () => [...document.querySelectorAll('#tabs [role=tab]')];
  const shown = () => tabs[all().find((one) => one.ariaSelected === 'true')?.textContent.trim()];

  function write() {
    const tab = shown();
    if (!tab) return;
    const query = new URLSearchParams({ tab });
    const before = new URLSearchParams(location.search);
    const kept = before.get('tab') === tab ? before.get('run') : '';  // the field may not be filled yet
    const run = fields[tab] && (document.querySelector(fields[tab])?.value || kept);
    if (run) query.set('run', run);
    history.replaceState(null, '', `?${query}`);
  }
  const soon = () => setTimeout(write, 50);
  addEventListener('click', (event) => event.target.closest?.('[role=tab], [role=option]') && soon());
  addEventListener('keyup', (event) => event.target.closest?.('[role=tab], [role=combobox]') && soon());
  const choosing = (event) => { if (event.isTrusted && event.target.closest?.('[role=tab]')) isChosen = true; };
  for (const name of ['pointerdown', 'keydown']) addEventListener(name, choosing, true);

  /* As a person opens it, so that all that follows from that does. */
  const open = (tab) => all().find((one) => tabs[one.textContent.trim()] === tab)?.click();
  return {
    open,
    openAsked: () => { if (!isChosen) open(new URLSearchParams(location.search).get('tab')); soon(); },
    shown,
  };
})();
