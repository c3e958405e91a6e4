// The studio's boards: jobs, training runs and the load, asked for while their tab is seen.
"use strict";
(() => {
  const { call, say } = window.kouji;
  const $ = (selector, root = document) => root.querySelector(selector);
  const isSeen = (element) => element && element.offsetParent !== null && !document.hidden;
  const watches = new Map();

  function element(name, text = "", kind = "") {
    const made = document.createElement(name);
    if (text) made.textContent = text;
    if (kind) made.className = kind;
    return made;
  }

  function button(text, work, kind = "kj-small") {
    const made = element("button", text, kind);
    made.type = "button";
    made.addEventListener("click", async () => {
      made.disabled = true;
      await work().catch((error) => window.alert(error.message));
      made.disabled = false;
    });
    return made;
  }

  // Ask again a while after each answer, as long as the board is seen.
  function watch(name, selector, refresh, pause) {
    clearTimeout(watches.get(name));
    const turn = async () => {
      const board = $(selector);
      if (isSeen(board)) await refresh(board).catch((error) => tell(board, error));
      watches.set(name, setTimeout(turn, isSeen(board) ? pause : 4 * pause));
    };
    watches.set(name, setTimeout(turn, 0));
  }

  function tell(board, error) {
    const hint = $(".kj-dim", board);
    if (hint) {
      hint.hidden = false;
      hint.textContent = error.message;
    }
  }

  // Rows keep their place and their focus: only what has changed is drawn anew.
  function fillList(board, items, key, render) {
    const list = $("ol", board);
    $(".kj-dim", board).hidden = items.length > 0;
    const known = new Map([...list.children].map((row) => [row.dataset.key, row]));
    items.forEach((item, place) => {
      const name = item[key], look = JSON.stringify(item);
      let row = known.get(name);
      known.delete(name);
      if (!row || row.dataset.look !== look) {
        const fresh = render(item);
        fresh.dataset.key = name;
        fresh.dataset.look = look;
        const focused = row && [...row.querySelectorAll("button, a")].indexOf(document.activeElement);
        if (row) row.replaceWith(fresh);
        row = fresh;
        if (focused >= 0) row.querySelectorAll("button, a")[focused]?.focus();
      }
      if (list.children[place] !== row) list.insertBefore(row, list.children[place] || null);
    });
    for (const row of known.values()) row.remove();
  }

  // --- jobs

  const JOB_ACTIONS = {
    waiting: ["pause", "cancel"], running: ["pause", "cancel"], paused: ["resume", "cancel"],
    interrupted: ["resume", "cancel"], failed: ["resume", "remove"],
    cancelled: ["resume", "remove"], finished: ["remove"],
    "finished with errors": ["resume", "remove"],
  };

  function showJobs() {
    watch("jobs", "#kj-jobs", refreshJobs, 1000);
  }

  async function refreshJobs(board) {
    const jobs = await (await call("jobs")).json();
    fillList(board, jobs, "id", jobRow);
  }

  function jobRow(job) {
    const row = element("li", "", "kj-card kj-row");
    row.dataset.state = job.state;
    const head = element("p", "", "kj-row-head");
    head.append(element("b", job.name), element("span", say(`state.${job.state}`), "kj-badge"));
    const bar = element("progress");
    bar.max = Math.max(1, job.lines);
    bar.value = job.done + job.failed;
    bar.setAttribute("aria-label", job.name);
    const facts = [say("lines", job)];
    if (job.failed) facts.push(say("failures", job));
    if (job.eta_seconds !== null && ["running", "waiting"].includes(job.state))
      facts.push(say("eta", { time: clock(job.eta_seconds) }));
    row.append(head, bar, element("p", facts.join(" · "), "kj-dim"));
    if (job.error) row.append(element("p", job.error, "kj-warn"));
    const actions = element("p", "", "kj-row-actions");
    for (const action of JOB_ACTIONS[job.state] || [])
      actions.append(button(say(action), async () => {
        if (action === "remove" && !window.confirm(say("sure"))) return;
        await call(`jobs/${encodeURIComponent(job.id)}/${action}`, { method: "POST" });
        await refreshJobs($("#kj-jobs"));
      }));
    if (job.state.startsWith("finished"))
      for (const kind of ["joined", "srt", "vtt", "manifest"]) {
        const link = element("a", words(kind), "kj-small");
        link.href = new URL(`./studio/jobs/${encodeURIComponent(job.id)}/files/${kind}`, document.baseURI);
        link.download = "";
        actions.append(link);
      }
    row.append(actions);
    return row;
  }

  function words(kind) {
    return ["joined", "manifest"].includes(kind) ? say(`file.${kind}`) : kind.toUpperCase();
  }

  function clock(seconds) {
    const whole = Math.ceil(seconds), minutes = Math.floor(whole / 60);
    const two = (number) => String(number).padStart(2, "0");
    return minutes < 60 ? `${minutes}:${two(whole % 60)}`
      : `${Math.floor(minutes / 60)}:${two(minutes % 60)}:${two(whole % 60)}`;
  }

  // --- training runs

  let chosen = null;

  function showRuns() {
    watch("runs", "#kj-runs", refreshRuns, 2000);
  }

  async function refreshRuns(board) {
    const runs = await (await call("runs")).json();
    fillList(board, runs, "name", runRow);
    chosen ??= runs[0]?.name;
    if (chosen) drawRun(await (await call(`runs/${encodeURIComponent(chosen)}`)).json());
  }

  function runRow(run) {
    const row = element("li", "", "kj-card kj-row kj-line");
    row.dataset.state = run.state;
    const name = element("span");
    name.append(element("b", run.name), element("small", ` ${run.command}`));
    const actions = element("span", "", "kj-row-actions");
    actions.append(element("span", say(`state.${run.state}`), "kj-badge"));
    actions.append(button(say("show"), async () => {
      chosen = run.name;
      await refreshRuns($("#kj-runs"));
    }));
    if (run.state === "running")
      actions.append(button(say("stop"), async () => {
        await call(`runs/${encodeURIComponent(run.name)}/stop`, { method: "POST" });
      }));
    row.append(name, actions);
    return row;
  }

  function drawRun(run) {
    const panel = $("#kj-run"), look = JSON.stringify(run);
    panel.hidden = false;
    if (panel.dataset.look === look) return;
    panel.dataset.look = look;
    panel.className = "kj-card";
    panel.replaceChildren(element("h3", run.name));
    if (Object.keys(run.curves).length) panel.append(chart(run.curves));
    if (run.output) {
      const output = element("pre", run.output.split("\n").slice(-14).join("\n"));
      output.tabIndex = 0;
      output.setAttribute("aria-label", say("output"));
      panel.append(output);
    }
  }

  const SVG = "http://www.w3.org/2000/svg";

  function shape(name, attributes, text = "") {
    const made = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.textContent = text;
    return made;
  }

  // "train loss" as the log has it, in the words of the page.
  function curveName(name) {
    const [kind, ...rest] = name.split(" "), what = rest.join(" ");
    const isKnown = kind === "train" || kind === "valid";
    const who = isKnown ? say(`curve.${kind}`) : kind;
    return `${who} ${what === "loss" ? say("loss").toLowerCase() : what}`;
  }

  function chart(curves) {
    const width = 640, height = 240, left = 52, bottom = 24;
    const points = Object.values(curves).flat();
    const steps = points.map(([step]) => step), values = points.map(([, value]) => value);
    const low = Math.min(...values), high = Math.max(...values, low + 1e-9);
    const first = Math.min(...steps), last = Math.max(...steps, first + 1);
    const x = (step) => left + ((step - first) / (last - first)) * (width - left - 8);
    const y = (value) => 8 + ((high - value) / (high - low)) * (height - bottom - 16);
    const figure = element("figure", "", "kj-chart");
    const svg = shape("svg", { viewBox: `0 0 ${width} ${height}`, role: "img" });
    svg.append(shape("title", {}, say("loss")));
    for (const share of [0, 0.5, 1]) {
      const value = low + share * (high - low);
      svg.append(shape("line", { x1: left, x2: width - 8, y1: y(value), y2: y(value) }));
      svg.append(shape("text", { x: left - 6, y: y(value) + 4, "text-anchor": "end" },
        value.toPrecision(3)));
    }
    svg.append(shape("text", { x: left, y: height - 6 }, say("step", { step: first })));
    svg.append(shape("text", { x: width - 8, y: height - 6, "text-anchor": "end" },
      say("step", { step: last })));
    const legend = element("figcaption");
    Object.entries(curves).forEach(([name, curve], index) => {
      const line = curve.map(([step, value]) => `${x(step).toFixed(1)},${y(value).toFixed(1)}`);
      svg.append(shape("polyline", { points: line.join(" "), class: `kj-curve-${index % 6}` }));
      const value = curve[curve.length - 1][1];
      legend.append(element("span", `${curveName(name)} ${value.toPrecision(4)}`, `kj-key-${index % 6}`));
    });
    figure.append(svg, legend);
    return figure;
  }

  // --- the load

  function showSystem() {
    watch("system", "#kj-system", refreshSystem, 1500);
  }

  async function refreshSystem(board) {
    const load = await (await call("system")).json();
    const rows = [
      ["ready", say(`service.${load.state}`)],
      ["inside", `${load.inside} / ${load.seats}`],
      ["waiting", `${load.waiting} / ${load.queue}`],
      ["first", load.engine?.first_audio_ms ? `${load.engine.first_audio_ms} ms` : "–"],
      ["ended", String(load.engine?.ended?.finished ?? 0)],
      ["memory", load.memory_mb ? `${load.memory_mb} MB` : "–"],
      ["load", load.load === null ? "–" : `${load.load} / ${load.cores}`],
      ["models", (load.models || []).map((each) => `${each.name} (${each.precision})`).join(", ") || "–"],
      ["gpu", load.gpus.map((each) =>
        `${each.name} ${each.load ?? "–"}% ${each.used_mb ?? "–"}/${each.total_mb ?? "–"} MB ${each.celsius ?? "–"}°C`,
      ).join(", ") || say("none")],
    ];
    $("dl", board).replaceChildren(...rows.map(([name, value]) => {
      const cell = element("div");
      cell.append(element("dt", say(name)), element("dd", value));
      return cell;
    }));
  }

  Object.assign(window.kouji, { showJobs, showRuns, showSystem });
})();
