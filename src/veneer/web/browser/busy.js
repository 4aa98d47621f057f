/* One line says what works and how long; a question that is answered at once is not told of. */
window.busy = (() => {
  const LATE = 400;
  const since = {};
  let line, clock;

  function made() {
    line = document.createElement('div');
    line.id = 'busy';
    line.innerHTML = '<span role="status"></span><span aria-hidden="true"></span>';
    document.body.append(line);
    return line;
  }
  function draw() {
    const late = Object.entries(since).filter(([, at]) => performance.now() - at > LATE);
    const [words, seconds] = (line ?? made()).children;
    const told = late.map(([name]) => name).join(', ');
    if (words.textContent !== told) words.textContent = told;
    const longest = Math.max(0, ...late.map(([, at]) => performance.now() - at));
    seconds.textContent = `${Math.floor(longest / 1000)} s`;
    line.hidden = !told;
    if (!Object.keys(since).length) clock = clearInterval(clock);
  }
  return {
    begin: (words) => { since[words] = performance.now(); clock ??= setInterval(draw, 200); },
    end: (words) => { delete since[words]; if (line) draw(); },
  };
})();
