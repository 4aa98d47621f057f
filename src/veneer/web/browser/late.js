/* What a person typed or chose is never written over by an answer to an older question.

   Every question that the page asks carries the hand's count at that moment; every change by hand gets the
   next one. An answer's value goes into a field only if the field was not changed by hand since. What
   "answer" gets is made by late.py. */
window.late = (() => {
  let count = 0;
  const changed = {}, settled = {}, kept = {}, subject = {}, put = {};

  function byHand(event) {
    const at = ++count;
    for (let node = event.target; node instanceof Element; node = node.parentElement) {
      if (node.id) changed[node.id] = at;
    }
  }
  const isChoice = (event) => event.target instanceof Element && event.target.closest('[role=option]');
  const isChoosing = (event) =>
    ['Enter', 'ArrowUp', 'ArrowDown'].includes(event.key) && event.target.closest?.('[role=listbox], [role=combobox]');
  for (const name of ['input', 'drop']) addEventListener(name, byHand, true);
  addEventListener('mousedown', (event) => isChoice(event) && byHand(event), true);
  addEventListener('keydown', (event) => isChoosing(event) && byHand(event), true);

  const since = (id, moment) => (changed[id] ?? 0) > (moment ?? 0);

  /* A text below a picture that goes away: leaving the field saves it under that picture's name. */
  async function leaveWhatGoes(values) {
    const goes = values.filter(({ id, of }) => of !== undefined && subject[id] !== undefined && of !== subject[id]);
    const field = document.activeElement;
    if (goes.some(({ id }) => document.getElementById(id)?.contains(field))) {
      field.blur();
      await new Promise((done) => setTimeout(done));
    }
    for (const { id } of goes) changed[id] = settled[id] = 0;
  }

  function hasPlace({ id, saved, lasting, preset }, asked) {
    if ((settled[id] ?? 0) > asked || since(id, lasting ? kept[id] : asked)) return false;
    if (preset && (put[id] ?? 0) > asked) return false;  // for want of a choice, and one has come since
    settled[id] = asked;
    put[id] = ++count;
    if (saved) kept[id] = count;
    return true;
  }

  return {
    /* The question's inputs, the count in the last one's place. */
    ask: (inputs) => [...inputs.slice(0, -1), ++count],
    /* What stands in a field by hand and is not saved yet; null where nobody changed it. */
    unsaved: (id, text) => (since(id, kept[id]) ? text : null),
    /* One update for each of a handler's fields. */
    settle: async ({ asked, unless, count: number, values }) => {
      const stands = ({ id, of, saved }) => !saved || of === subject[id];
      const found = unless.some((id) => since(id, asked)) ? [] : values.filter(stands);
      await leaveWhatGoes(found);
      const updates = Array.from({ length: number }, () => ({ __type__: 'update' }));
      for (const one of found) if (hasPlace(one, asked)) updates[one.at].value = one.value;
      for (const { id, of } of found) if (of !== undefined) subject[id] = of;
      return updates;
    },
  };
})();
