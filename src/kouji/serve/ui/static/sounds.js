// The tab Sounds: what was heard in a sound as bars, and over time as one lane for each class.
"use strict";
(() => {
  const { say } = window.kouji;
  const SVG = "http://www.w3.org/2000/svg";
  const $ = (selector, root = document) => root.querySelector(selector);
  let heard = null; // what the card shows

  function element(name, kind, text = "") {
    const made = document.createElement(name);
    made.className = kind;
    made.textContent = text;
    return made;
  }

  // A class in the words of the page; one that has none there as its model calls it.
  function named(label) {
    const key = `sound.${label}`, told = say(key);
    return told === key ? label.replaceAll("_", " ") : told;
  }

  const percent = (share) => `${(100 * share).toFixed(share > 0 && share < 0.0995 ? 1 : 0)} %`;

  function showSound(found) {
    if (!found?.labels) return;
    heard = found;
    const card = $("#kj-heard"), audio = $("#kj-heard-audio");
    $(".kj-empty", card).hidden = true;
    $(".kj-found", card).hidden = false;
    $(".kj-verdict", card).textContent = named(found.label);
    $(".kj-facts", card).textContent = say("heard", {
      model: found.model, seconds: found.duration.toFixed(1), windows: found.windows.length,
    });
    $(".kj-warnings", card).replaceChildren(...found.warnings.map((each) => element("li", "", each)));
    $(".kj-bars", card).replaceChildren(...found.probabilities.map(bar));
    $(".kj-lanes", card).replaceChildren(...found.lanes.map(lane));
    audio.src = new URL(found.sound, document.baseURI).href;
    card.dataset.state = "heard";
    drawWave();
    moved(0);
  }

  function bar({ label, probability }) {
    const item = element("li", "kj-bar-row");
    const track = element("span", "kj-track"), fill = element("i", "");
    fill.style.width = `${100 * probability}%`;
    track.append(fill);
    item.append(element("b", "", named(label)), track, element("span", "kj-share", percent(probability)));
    return item;
  }

  // Probability of one class as a filled curve through the middles of the windows.
  function lane({ label, values }) {
    const row = element("div", "kj-lane"), head = element("p", "kj-lane-head");
    head.append(element("b", "", named(label)), element("span", "kj-share", ""));
    const svg = document.createElementNS(SVG, "svg"), path = document.createElementNS(SVG, "path");
    svg.setAttribute("viewBox", "0 0 1000 100");
    svg.setAttribute("preserveAspectRatio", "none");
    svg.setAttribute("aria-hidden", "true");
    const points = values.map((value, index) => {
      const { start, end } = heard.windows[index];
      return [(500 * (start + end)) / heard.duration, 100 - 100 * value];
    });
    const edges = [[0, points[0][1]], ...points, [1000, points[points.length - 1][1]]];
    const line = edges.map(([x, y]) => `L${Math.min(1000, x).toFixed(1)} ${y.toFixed(1)}`).join("");
    path.setAttribute("d", `M0 100${line}L1000 100Z`);
    svg.append(path);
    row.append(head, svg);
    return row;
  }

  function drawWave() {
    const scope = $("#kj-heard .kj-timeline"), canvas = scope && $("canvas", scope);
    if (!heard || !canvas?.clientWidth) return;
    const ratio = window.devicePixelRatio || 1;
    const width = canvas.clientWidth, height = canvas.clientHeight;
    canvas.width = width * ratio;
    canvas.height = height * ratio;
    const pen = canvas.getContext("2d");
    pen.scale(ratio, ratio);
    pen.fillStyle = getComputedStyle(canvas).color;
    const bars = Math.max(1, Math.min(Math.floor(width / 3), heard.peaks.length));
    for (let place = 0; place < bars; place++) {
      const first = Math.floor((place * heard.peaks.length) / bars);
      const last = Math.max(first + 1, Math.floor(((place + 1) * heard.peaks.length) / bars));
      const tall = Math.max(1.5, (Math.max(...heard.peaks.slice(first, last)) / 100) * height);
      pen.fillRect((place * width) / bars, (height - tall) / 2, Math.max(1, (0.66 * width) / bars), tall);
    }
  }

  // The window whose middle is nearest to a moment.
  function windowAt(seconds) {
    const away = heard.windows.map(({ start, end }) => Math.abs((start + end) / 2 - seconds));
    return away.indexOf(Math.min(...away));
  }

  function moved(seconds) {
    const line = $("#kj-heard .kj-timeline");
    const share = heard.duration ? Math.min(1, seconds / heard.duration) : 0;
    $(".kj-cursor", line).style.left = `${100 * share}%`;
    const index = windowAt(seconds);
    const rows = [...line.querySelectorAll(".kj-lane .kj-share")];
    heard.lanes.forEach(({ values }, place) => (rows[place].textContent = percent(values[index])));
    const { label, probability } = heard.windows[index];
    const told = say("heard.at", {
      seconds: seconds.toFixed(1), label: named(label), share: percent(probability),
    });
    $("#kj-heard .kj-moment").textContent = told;
    line.setAttribute("aria-valuemax", heard.duration.toFixed(2));
    line.setAttribute("aria-valuenow", seconds.toFixed(2));
    line.setAttribute("aria-valuetext", told);
  }

  function seek(seconds) {
    const audio = $("#kj-heard-audio"), place = Math.max(0, Math.min(seconds, heard.duration));
    if (audio.readyState > 0) audio.currentTime = place;
    else audio.addEventListener("loadedmetadata", () => (audio.currentTime = place), { once: true });
    moved(place);
  }

  document.addEventListener("keydown", (event) => {
    const line = event.target.closest?.(".kj-timeline");
    const steps = { ArrowLeft: -0.5, ArrowRight: 0.5, PageUp: -5, PageDown: 5, Home: -1e9, End: 1e9 };
    if (!line || !heard || !(event.key in steps)) return;
    event.preventDefault();
    seek(Number(line.getAttribute("aria-valuenow")) + steps[event.key]);
  });
  document.addEventListener("click", (event) => {
    const line = event.target.closest?.(".kj-timeline");
    if (!line || !heard) return;
    const box = line.getBoundingClientRect();
    seek(((event.clientX - box.left) / box.width) * heard.duration);
  });
  for (const name of ["timeupdate", "seeked", "ended"])
    document.addEventListener(name, (event) => {
      if (event.target.id === "kj-heard-audio" && heard) moved(event.target.currentTime);
    }, true);
  window.addEventListener("resize", drawWave);

  Object.assign(window.kouji, { drawSound: drawWave, showSound });
})();
