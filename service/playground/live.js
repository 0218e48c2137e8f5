// Figures of the server, from what it tells Prometheus.

import { Refused, metrics } from "./server.js";
import { $, REASONS, count, drawn, element, milliseconds, percent, readable } from "./page.js";

const EVERY = 2; // seconds
const MOST_BETWEEN = 60; // seconds, while it fails
const SPAN = 60; // seconds
const AXIS = [0.001, 0.01, 0.1, 1]; // seconds
const SAMPLE = /^(anytime_\w+|process_start_time_seconds)(?:\{(.*)\})? (\S+)$/gm;
const LABEL = /(\w+)="((?:[^"\\]|\\.)*)"/g;

let model = null;
let history = [];
let wait = EVERY;
let timer = 0;
let onScreen = true;

export function watch() {
  new IntersectionObserver(([entry]) => (onScreen = entry.isIntersecting)).observe($("live"));
  for (const input of document.getElementsByName("span")) input.addEventListener("change", show);
  refresh();
}

export function watchModel(description) {
  model = description;
  show();
}

// Ask now, and then again and again while somebody looks.
export async function refresh() {
  clearTimeout(timer);
  try {
    remember(parsed(await metrics()));
    wait = EVERY;
    tell("");
    show();
  } catch (error) {
    wait = Math.min(2 * wait, MOST_BETWEEN);
    const why = error instanceof Refused ? `They were refused: ${error.message}` : "The server cannot be reached.";
    tell(`No figures now. ${why}`);
  }
  schedule();
}

function schedule() {
  clearTimeout(timer);
  timer = setTimeout(document.hidden || !onScreen ? schedule : refresh, wait * 1000);
}

function tell(text) {
  if ($("live-note").textContent !== text) $("live-note").textContent = text;
}

function parsed(text) {
  const samples = [];
  for (const [, name, labels = "", value] of text.matchAll(SAMPLE)) {
    if (name.endsWith("_created")) continue;
    const pairs = [...labels.matchAll(LABEL)].map(([, key, quoted]) => [key, quoted.replace(/\\(.)/g, "$1")]);
    samples.push({ name, key: `${name}{${labels}}`, labels: Object.fromEntries(pairs), value: Number(value) });
  }
  const started = samples.find(({ name }) => name === "process_start_time_seconds")?.value;
  return { at: performance.now() / 1000, started, samples };
}

function remember(snapshot) {
  if (history.at(-1)?.started !== snapshot.started) history = []; // another process counts anew
  history = [...history.filter(({ at }) => at > snapshot.at - SPAN - EVERY), snapshot];
}

// What happened to one model between two snapshots, or since the start of the server.
class Figures {
  constructor(now, since, name) {
    const before = new Map(since?.samples.map(({ key, value }) => [key, value]));
    this.seconds = since ? now.at - since.at : Date.now() / 1000 - now.started;
    this.now = now.samples.filter(({ labels }) => labels.model === name);
    this.gone = this.now.map((sample) => ({ ...sample, value: sample.value - (before.get(sample.key) ?? 0) }));
  }

  all(name, labels = {}) {
    const wanted = Object.entries(labels);
    const named = this.gone.filter((each) => each.name === `anytime_${name}`);
    return named.filter((each) => wanted.every(([label, value]) => each.labels[label] === value));
  }

  sum(name, labels) {
    return this.all(name, labels).reduce((total, { value }) => total + value, 0);
  }

  // How many lie in each bucket of a histogram: [upper edge in seconds, how many].
  buckets(name) {
    let below = 0;
    return this.all(`${name}_bucket`).map(({ labels, value }) => {
      const inside = value - below;
      below = value;
      return [labels.le === "+Inf" ? Infinity : Number(labels.le), inside];
    });
  }

  gauge(name) {
    return this.now.filter((each) => each.name === `anytime_${name}`).reduce((total, { value }) => total + value, 0);
  }
}

// The edge within which a share of all lies: edges are what a histogram knows.
function within(buckets, share) {
  let rest = share * buckets.reduce((total, [, inside]) => total + inside, 0);
  const reached = buckets.find(([, inside]) => (rest -= inside) <= 0);
  const [last] = buckets.at(-2);
  return Number.isFinite(reached[0]) ? `within ${milliseconds(1000 * reached[0])}` : `over ${milliseconds(1000 * last)}`;
}

function show() {
  const now = history.at(-1);
  if (!now || !model) return;
  const minute = document.querySelector("[name=span]:checked").value === "minute";
  const figures = new Figures(now, minute ? history[0] : undefined, model.name);
  showExits(figures);
  showAttainment(figures);
  showLatency(figures);
  showLoad(figures, now);
}

function showExits(figures) {
  const total = figures.sum("exits_total");
  const share = (labels) => (total ? figures.sum("exits_total", labels) / total : 0);
  const reasons = Object.keys(REASONS);
  $("live-exits").replaceChildren(
    ...model.exits.map(({ number }) => {
      const exit = String(number);
      const parts = reasons.map((reason) => [reason, share({ exit, reason })]).filter(([, part]) => part > 0);
      const bar = element("span", { className: "stack", ariaHidden: "true" });
      for (const [reason, part] of parts) {
        const segment = element("span", { className: "segment" });
        segment.dataset.reason = reason;
        segment.style.setProperty("--share", part);
        bar.append(segment);
      }
      const spoken = parts.map(([reason, part]) => `${REASONS[reason]} ${percent(part)}`).join(", ");
      return element(
        "p",
        { className: "exit-share" },
        element("span", { textContent: `Exit ${number}` }),
        bar,
        element("span", { className: "share", textContent: total ? percent(share({ exit })) : "–" }),
        element("span", { className: "spoken", textContent: spoken }),
      );
    }),
  );
  $("legend").replaceChildren(
    ...reasons.map((reason) => {
      const swatch = element("span", { className: "segment", ariaHidden: "true" });
      swatch.dataset.reason = reason;
      return element("li", {}, swatch, `${REASONS[reason]} ${total ? percent(share({ reason })) : ""}`);
    }),
  );
}

function showAttainment(figures) {
  const granted = figures.sum("budget_seconds_count");
  const late = figures.sum("deadline_missed_total");
  const refused = figures.all("refused_total").filter(({ value }) => value > 0);
  const reasons = refused.map(({ labels, value }) => `${count(value)} ${readable(labels.reason)}`).join(", ");
  const met = Math.floor(1000 * (1 - late / granted)) / 1000; // rounded down: 100 % is all
  const answers = granted ? `${count(granted - late)} of ${count(granted)} answers that had` : "No answers with";
  $("live-attainment").textContent = granted ? percent(met, late ? 1 : 0) : "–";
  $("live-attainment-note").textContent =
    `${answers} a budget. ` + (reasons ? `Refused: ${reasons}.` : "None refused.");
}

function showLatency(figures) {
  const latencies = figures.buckets("request_duration_seconds");
  const budgets = figures.buckets("budget_seconds");
  const answered = latencies.reduce((total, [, inside]) => total + inside, 0);
  const granted = budgets.reduce((total, [, inside]) => total + inside, 0);
  $("live-latency-note").textContent = answered
    ? `Latency (filled): half ${within(latencies, 0.5)}, 99 % ${within(latencies, 0.99)}. ` +
      (granted ? `Budgets (outlined): half ${within(budgets, 0.5)}.` : "No budgets.")
    : "No answers.";
  const shares = (buckets, all) => buckets.map(([, inside]) => (all ? inside / all : 0));
  const columns = { latency: shares(latencies, answered), budget: shares(budgets, granted) };
  const most = Math.max(...columns.latency, ...columns.budget, Number.MIN_VALUE);
  const [width, height, step] = [16 * latencies.length, 64, 16];
  const chart = drawn("svg", { viewBox: `0 -1 ${width} ${height + 15}`, "aria-hidden": "true" });
  for (const [name, column] of Object.entries(columns)) {
    column.forEach((share, index) => {
      const tall = (share / most) * height;
      const place = { x: index * step + 2, width: step - 4, y: height - tall, height: tall };
      if (share) chart.append(drawn("rect", { class: name, ...place }));
    });
  }
  latencies.forEach(([edge], index) => {
    if (!AXIS.includes(edge)) return;
    const place = { x: (index + 1) * step, y: height + 12, "text-anchor": "middle" };
    chart.append(drawn("text", place, milliseconds(1000 * edge)));
  });
  chart.append(drawn("line", { x1: 0, x2: width, y1: height, y2: height }));
  $("live-latency").replaceChildren(chart);
}

function showLoad(figures, now) {
  const answers = figures.sum("request_duration_seconds_count");
  const busy = figures.sum("stage_duration_seconds_sum") / figures.seconds;
  const [jobs, batches] = [figures.sum("batch_size_sum"), figures.sum("batch_size_count")];
  const rate = figures.seconds > 0 ? answers / figures.seconds : 0;
  $("live-rate").textContent = figures.seconds > 0 ? `${Number(rate.toPrecision(rate < 100 ? 2 : 3))} answers/s` : "–";
  const list = {
    "Engine busy with this model": Number.isFinite(busy) ? percent(Math.min(busy, 1)) : "–",
    "Images that run together": batches ? (jobs / batches).toFixed(1) : "–",
    "Waiting now": count(figures.gauge("queue_depth")),
  };
  $("live-load-list").replaceChildren(
    ...Object.entries(list).flatMap(([name, value]) => [
      element("dt", { textContent: name }),
      element("dd", { textContent: value }),
    ]),
  );
  $("live-load").replaceChildren(sparkline(now));
}

// Answers per second over the last minute.
function sparkline(now) {
  const [width, height] = [240, 36];
  const rates = history.slice(1).map((snapshot, index) => {
    const figures = new Figures(snapshot, history[index], model.name);
    return [snapshot.at, figures.sum("request_duration_seconds_count") / figures.seconds];
  });
  const most = Math.max(...rates.map(([, rate]) => rate), 1);
  const points = rates.map(
    ([at, rate]) => `${width * (1 - (now.at - at) / SPAN)},${(height - 1) * (1 - rate / most) + 0.5}`,
  );
  const line = drawn("polyline", { points: points.join(" "), class: "rate" });
  const base = drawn("line", { x1: 0, x2: width, y1: height, y2: height });
  return drawn("svg", { viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" }, base, line);
}
