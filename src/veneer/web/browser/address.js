/* The address bar follows the tab and the run that are shown, so that what is seen has a link. */
window.address = (() => {
  const tabs = { 'Data set': 'dataset', Recipe: 'recipe', Train: 'train', Compare: 'compare', Runs: 'runs' };
  const fields = { train: '#train-shown input', compare: '#compare-run input' };

  function write() {
    const label = document.querySelector('#tabs [role=tab][aria-selected=true]')?.textContent.trim();
    const tab = tabs[label];
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
  return { write: soon };
})();
