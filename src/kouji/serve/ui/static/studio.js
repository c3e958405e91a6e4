// The studio's player: listens to takes while they are made, draws, seeks, remembers.
// Talks only to its own server; texts come from window.koujiWords.
"use strict";
window.kouji = (() => {
  const words = window.koujiWords || {};
  const say = (name, values = {}) =>
    (words[name] || name).replace(/\{(\w+)\}/g, (_, key) => values[key] ?? "");
  const $ = (selector, root = document) => root.querySelector(selector);
  const base = new URL("./studio/", document.baseURI).href;
  const view = { take: null, peaks: [], words: [], seconds: 0, isWhole: false };

  async function call(path, options = {}) {
    const answer = await fetch(base + path, { credentials: "same-origin", ...options });
    if (!answer.ok) {
      const body = await answer.json().catch(() => ({}));
      throw new Error(body.error?.message || answer.statusText);
    }
    return answer;
  }

  // Whose session has ended sees the form for a key, whoever noticed it.
  const ask = window.fetch.bind(window);
  window.fetch = async (...what) => {
    const answer = await ask(...what);
    if (answer.status === 401 && answer.url.startsWith(location.origin)) location.reload();
    return answer;
  };

  // --- a take, from its first sound to its last

  async function play(take, where = "speak") {
    if (!take?.id) return;
    if (where === "preview") return preview(take.id);
    show(take.id);
    const audio = $("#kj-audio");
    audio.src = `${base}takes/${take.id}/stream.wav`;
    audio.play().catch(() => {});
    try {
      await follow(take.id);
    } catch {
      status(say("lost"), "kj-warn");
    }
    refreshHistory();
  }

  function preview(id) {
    const audio = $("#kj-preview");
    audio.hidden = false;
    audio.src = `${base}takes/${id}/sound.wav`;
    audio.play().catch(() => {});
    refreshHistory();
  }

  function show(id) {
    Object.assign(view, { take: id, peaks: [], words: [], seconds: 0, isWhole: false });
    const player = $("#kj-player");
    $(".kj-empty", player).hidden = true;
    $(".kj-take", player).hidden = false;
    $(".kj-words", player).replaceChildren();
    $(".kj-warnings", player).replaceChildren();
    $(".kj-facts", player).textContent = "";
    $(".kj-spectrum", player).hidden = true;
    for (const link of player.querySelectorAll("[data-format]"))
      link.href = `${base}takes/${id}/sound.${link.dataset.format}`;
    for (const link of player.querySelectorAll("[data-subtitles]"))
      link.href = `${base}takes/${id}/subtitles.${link.dataset.subtitles}`;
    player.dataset.state = "speaking";
    draw();
  }

  async function follow(id) {
    for (let next = 0, isOver = false; !isOver && view.take === id;) {
      const news = await (await call(`takes/${id}/news?since=${next}`)).json();
      if (view.take === id) hear(news);
      next = news.next;
      isOver = news.state !== "speaking";
    }
  }

  function hear(news) {
    view.peaks.push(...news.peaks);
    view.seconds = news.seconds;
    for (const word of news.words) addWord(word);
    draw();
    if (news.state === "speaking") {
      status(say("speaking", { seconds: news.seconds.toFixed(1) }));
      return;
    }
    const player = $("#kj-player");
    player.dataset.state = news.state;
    const values = { seconds: news.seconds.toFixed(2), work: news.work_seconds.toFixed(2) };
    status(news.message || say(news.state, values), news.message ? "kj-warn" : "");
    $(".kj-facts", player).textContent = say("facts", news);
    for (const warning of news.warnings) {
      const item = document.createElement("li");
      item.textContent = warning;
      $(".kj-warnings", player).append(item);
    }
    if (news.seconds > 0) {
      const picture = $(".kj-spectrum", player);
      picture.src = `${base}takes/${news.id}/spectrogram.png`;
      picture.hidden = false;
      const audio = $("#kj-audio");
      // A stream cannot be wound back; the whole file can. Swap where it is not heard.
      if (audio.paused || audio.ended) whole(audio.ended ? 0 : audio.currentTime, false);
      else swapInSilence(news.id);
    }
    draw();
  }

  const QUIET = 2, PEAKS_PER_SECOND = 50; // of the waveform's numbers, 0 to 100

  function swapInSilence(id) {
    const audio = $("#kj-audio");
    if (view.take !== id || view.isWhole) return;
    if (audio.ended) return whole(0, false);
    const place = Math.round(audio.currentTime * PEAKS_PER_SECOND);
    const near = view.peaks.slice(Math.max(0, place - 2), place + 5);
    if (near.length === 7 && Math.max(...near) <= QUIET) whole(audio.currentTime, !audio.paused);
    else requestAnimationFrame(() => swapInSilence(id));
  }

  function whole(seconds, isPlaying) {
    const audio = $("#kj-audio"), id = view.take;
    if (view.isWhole || !id) return;
    view.isWhole = true;
    audio.src = `${base}takes/${id}/sound.wav`;
    audio.addEventListener("loadedmetadata", () => {
      if (seconds) audio.currentTime = Math.min(seconds, audio.duration);
      if (isPlaying) audio.play().catch(() => {});
    }, { once: true });
  }

  function status(text, kind = "") {
    const line = $("#kj-player .kj-status");
    line.textContent = text;
    line.className = `kj-status ${kind}`;
  }

  function halt() {
    $("#kj-audio")?.pause();
  }

  // --- words and waveform

  function addWord([text, start, end]) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "kj-word";
    button.textContent = text;
    button.title = `${start.toFixed(2)} – ${end.toFixed(2)} s`;
    button.addEventListener("click", () => seek(start, true));
    $("#kj-player .kj-words").append(button, " ");
    view.words.push({ start, end, button });
  }

  function seek(seconds, isPlaying) {
    const audio = $("#kj-audio");
    const isOver = $("#kj-player").dataset.state !== "speaking";
    if (!view.isWhole && isOver) return whole(seconds, isPlaying || !audio.paused);
    audio.currentTime = Math.max(0, Math.min(seconds, view.seconds));
    if (isPlaying) audio.play().catch(() => {});
    moved();
  }

  function draw() {
    const wave = $("#kj-player .kj-wave"), canvas = wave && $("canvas", wave);
    if (!canvas || !wave.clientWidth) return;
    const ratio = window.devicePixelRatio || 1;
    const width = wave.clientWidth, height = wave.clientHeight;
    canvas.width = width * ratio;
    canvas.height = height * ratio;
    const pen = canvas.getContext("2d");
    pen.scale(ratio, ratio);
    pen.fillStyle = getComputedStyle(wave).color;
    const bars = Math.min(Math.floor(width / 3), Math.max(view.peaks.length, 1));
    for (let bar = 0; bar < bars; bar++) {
      const first = Math.floor((bar * view.peaks.length) / bars);
      const last = Math.max(first + 1, Math.floor(((bar + 1) * view.peaks.length) / bars));
      const loudest = Math.max(0, ...view.peaks.slice(first, last));
      const tall = Math.max(2, (loudest / 100) * height * 0.94);
      const step = width / bars;
      pen.beginPath();
      pen.roundRect(bar * step, (height - tall) / 2, Math.max(1, step * 0.66), tall, 1.5);
      pen.fill();
    }
    moved();
  }

  function moved() {
    const audio = $("#kj-audio"), wave = $("#kj-player .kj-wave");
    if (!audio || !wave) return;
    const share = view.seconds ? Math.min(1, audio.currentTime / view.seconds) : 0;
    $(".kj-cursor", wave).style.left = `${share * 100}%`;
    wave.setAttribute("aria-valuemax", view.seconds.toFixed(2));
    wave.setAttribute("aria-valuenow", audio.currentTime.toFixed(2));
    for (const { start, end, button } of view.words)
      button.classList.toggle("kj-now", audio.currentTime >= start && audio.currentTime < end);
  }

  // --- what was spoken before

  async function refreshHistory() {
    const list = $("#kj-history ol");
    if (!list) return;
    const takes = await (await call("takes")).json();
    $("#kj-history .kj-dim").hidden = takes.length > 0;
    list.replaceChildren(...takes.map((take) => {
      const item = document.createElement("li");
      const button = document.createElement("button");
      button.type = "button";
      button.className = "kj-past";
      button.setAttribute("aria-current", take.id === view.take);
      const text = document.createElement("span"), facts = document.createElement("small");
      text.textContent = take.text;
      facts.textContent = `${take.voice} · ${take.seconds.toFixed(1)} s`;
      button.append(text, facts);
      button.addEventListener("click", () => recall(take.id));
      item.append(button);
      return item;
    }));
  }

  async function recall(id) {
    show(id);
    whole(0, true);
    await follow(id).catch(() => {});
    refreshHistory();
  }

  // --- keys and clicks, wherever Gradio has drawn what they are for

  function fill(chip) {
    const field = $(`#${chip.dataset.fill} textarea, #${chip.dataset.fill} input`);
    const kept = field.value.split(/[,，、]\s*/).filter((word) => word);
    const word = chip.textContent;
    const next = kept.includes(word) ? kept.filter((each) => each !== word) : [...kept, word];
    field.value = next.join(document.documentElement.lang === "en" ? ", " : "，");
    field.dispatchEvent(new Event("input", { bubbles: true }));
  }

  document.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      if (!event.target.closest?.("#kj-tab-speak, #kj-text, #kj-style")) return;
      event.preventDefault();
      event.target.dispatchEvent(new Event("change", { bubbles: true }));
      $("#kj-speak")?.click();
      return;
    }
    if (event.target.closest?.(".kj-wave") && ["ArrowLeft", "ArrowRight"].includes(event.key)) {
      event.preventDefault();
      seek($("#kj-audio").currentTime + (event.key === "ArrowLeft" ? -1 : 1), false);
    }
  });
  document.addEventListener("click", (event) => {
    const chip = event.target.closest?.(".kj-chip");
    if (chip) fill(chip);
    const wave = event.target.closest?.(".kj-wave");
    if (wave && view.seconds) {
      const box = wave.getBoundingClientRect();
      seek(((event.clientX - box.left) / box.width) * view.seconds, false);
    }
  });
  for (const name of ["timeupdate", "seeked", "ended"])
    document.addEventListener(name, (event) => {
      if (event.target.id === "kj-audio") moved();
    }, true);
  window.addEventListener("resize", draw);

  return { call, draw, halt, play, refreshHistory, say };
})();
