// The controls, and one run: a picture goes out, exits come back.

import { Ladder } from "./ladder.js";
import * as live from "./live.js";
import { $, LABELS, REASONS, count, milliseconds, percent, readable } from "./page.js";
import { Cut, Refused, Unreachable, models, stream, useKey } from "./server.js";

const BUDGETS = [1, 1.5, 2, 3, 5, 7.5, 10, 15, 20, 30, 50, 75, 100, 150, 200, 300, 500, 1000, 2000, Infinity]; // ms
const FIRST_BUDGET = 50;
const LARGE = 200_000; // bytes; larger pictures are scaled down before they are sent
const SIDE = 512; // pixels, or four times what the network takes
const OWN = "own threshold"; // instead of an operating point
const SLOW = 400; // ms without an answer, after which the page says that it waits
const PAUSE = 150; // ms, for who moves a slider

const ladder = new Ladder($("ladder"));
let served = [];
let model = null;
let picture = null;
let running = null;
let pause = 0;

/* The server and its models */

async function start(wait = 1) {
  try {
    const { models: all, default: first } = await models();
    served = all;
    if (served.length === 0) throw new Refused({ message: "The server has no model to serve." });
    trouble("");
    for (const { name } of served) $("model").append(new Option(name, name));
    $("model").value = first ?? served[0].name;
    $("model").disabled = $("point").disabled = false;
    chooseModel();
    live.watch();
  } catch (error) {
    if (error.code === "unauthorized") return askForKey();
    trouble(`${error.message} Trying again in ${wait} s.`);
    setTimeout(start, wait * 1000, Math.min(2 * wait, 30));
  }
}

function trouble(text) {
  $("trouble").textContent = text;
  $("trouble").hidden = !text;
}

function askForKey() {
  document.querySelector("nav").hidden = true; // what it leads to needs the key, too, and links carry none
  $("key").value = "";
  $("key-dialog").showModal();
}

$("key-dialog").addEventListener("close", () => {
  useKey($("key").value);
  if (!$("key").value) trouble("Without an API key this server tells nothing. Reload the page to give one.");
  else if (model) run();
  else start();
});

function chooseModel() {
  model = served.find(({ name }) => name === $("model").value);
  const kept = $("point").value;
  const titled = (name) => (name === model.default_operating_point ? `${name} (default)` : name);
  const points = Object.keys(model.operating_points).map((name) => new Option(titled(name), name));
  $("point").replaceChildren(...points, new Option(OWN, OWN));
  $("point").value = kept === OWN || kept in model.operating_points ? kept : model.default_operating_point;
  const samples = [...$("samples").children];
  const fitting = samples.some(({ dataset }) => dataset.model === model.name) ? model.name : samples[0].dataset.model;
  for (const sample of samples) sample.hidden = sample.dataset.model !== fitting;
  live.watchModel(model);
  choosePoint();
  const current = samples.find((sample) => sample.ariaPressed === "true");
  if (current?.hidden) samples.find((sample) => !sample.hidden).click();
  else if (picture) run();
}

/* The request */

function choosePoint() {
  const own = $("point").value === OWN;
  document.body.classList.toggle("own-threshold", own);
  const point = model.operating_points[$("point").value];
  $("point-note").textContent = own
    ? "Stops at the first exit this sure."
    : `Loses at most ${Number((100 * point.max_accuracy_drop).toPrecision(2))} points of accuracy against the last exit.`;
  ladder.prepare(model, thresholds());
}

function thresholds() {
  const point = model.operating_points[$("point").value];
  return point ? point.thresholds : model.exits.slice(1).map(ownThreshold);
}

function ownThreshold() {
  return Number($("threshold").value) / 100;
}

function showBudget() {
  const budget = BUDGETS[$("budget").value];
  const text = budget === Infinity ? "no limit" : milliseconds(budget);
  $("budget-value").textContent = $("budget").ariaValueText = text;
}

function showThreshold() {
  $("threshold-value").textContent = $("threshold").ariaValueText = `${$("threshold").value} %`;
}

function options() {
  const budget = BUDGETS[$("budget").value];
  const own = $("point").value === OWN;
  return {
    model: model.name,
    latency_budget_ms: budget === Infinity ? "inf" : budget,
    ...(own ? { confidence_threshold: ownThreshold() } : { operating_point: $("point").value }),
    top_k: Math.min(LABELS, model.classes.length),
    stop_early: !$("deeper").checked,
  };
}

function runSoon() {
  clearTimeout(pause);
  pause = setTimeout(run, PAUSE);
}

/* The picture */

async function choose(file, alt = "The chosen picture", sample = null) {
  for (const each of $("samples").children) each.ariaPressed = String(each === sample);
  URL.revokeObjectURL($("picture").src);
  $("picture").src = URL.createObjectURL(file);
  $("picture").alt = alt;
  $("picture").hidden = false;
  $("hint").hidden = true;
  $("picture-note").textContent = "";
  try {
    picture = await (await smaller(file)).arrayBuffer();
  } catch {
    return say("No answer", "The file cannot be read.");
  }
  await run();
}

// A phone's photo takes long on its way, which the budget pays for; the network takes few of its pixels.
async function smaller(file) {
  if (file.size <= LARGE) return file;
  const side = Math.max(SIDE, 4 * (model?.input.height ?? 0));
  try {
    const whole = await createImageBitmap(file);
    const scale = side / Math.max(whole.width, whole.height);
    if (scale >= 1) return file;
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [Math.round(whole.width * scale), Math.round(whole.height * scale)];
    const context = canvas.getContext("2d");
    context.imageSmoothingQuality = "high";
    context.drawImage(whole, 0, 0, canvas.width, canvas.height);
    const small = await new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", 0.9));
    const kilobytes = (bytes) => `${count(Math.ceil(bytes / 1000))} kB`;
    const size = `${kilobytes(small.size)} instead of ${kilobytes(file.size)}`;
    $("picture-note").textContent = `Sent as ${canvas.width} × ${canvas.height} pixels, ${size}.`;
    return small;
  } catch {
    return file; // the server reads formats that this browser does not
  }
}

async function chooseSample(button) {
  const response = await fetch(button.firstElementChild.src).catch(() => null);
  if (response?.ok) await choose(await response.blob(), button.firstElementChild.alt, button);
  else say("The sample did not arrive.", "The server cannot be reached.", true);
}

/* The run */

async function run() {
  clearTimeout(pause);
  if (!picture || !model) return;
  running?.abort();
  const mine = (running = new AbortController());
  $("again").hidden = true;
  $("ladder").ariaBusy = "true";
  const told = { answer: null, last: null };
  const slow = setTimeout(() => say("Waiting for the first exit …", "The picture is on its way."), SLOW);
  ladder.prepare(model, thresholds());
  $("time").hidden = true;
  try {
    for await (const { name, data } of stream(picture, options(), mine.signal)) {
      if (mine.signal.aborted) return;
      clearTimeout(slow);
      if (name === "error") throw new Refused(data);
      reach(data, told);
    }
    ladder.end(told.last.exit.number, told.last.exit.depth);
  } catch (error) {
    if (mine.signal.aborted) return;
    fail(error, told);
  } finally {
    clearTimeout(slow);
    if (!mine.signal.aborted) $("ladder").ariaBusy = "false";
  }
  live.refresh();
}

function reach(step, told) {
  const role = told.answer ? "beyond" : step.would_answer ? "answer" : "passed";
  ladder.reach(step, role, told.answer);
  if (role === "answer") {
    told.answer = step;
    announce(step);
  }
  told.last = step;
  showTime(step, told.answer);
}

function announce({ exit, latency: { elapsed_ms: elapsed, budget_ms: budget }, ...step }) {
  const late = budget !== null && elapsed > budget;
  const granted = budget === null ? "" : `${late ? ", late for its " : " of "}${milliseconds(budget)}`;
  const spent = `after ${milliseconds(elapsed)}${granted}, with ${percent(exit.depth)} of the work`;
  say(sure(step), `Exit ${exit.number} of ${exit.of} answered ${spent}: ${REASONS[exit.reason ?? "confident"]}.`);
}

function sure({ label, confidence }) {
  return `${readable(label)}, ${percent(confidence)} sure`;
}

function showTime(step, answer) {
  const { elapsed_ms: elapsed, budget_ms: budget } = step.latency;
  const spent = (answer ?? step).latency.elapsed_ms;
  const whole = Math.max(budget ?? elapsed, elapsed);
  $("time").hidden = false;
  $("time").classList.toggle("late", budget !== null && spent > budget);
  $("time").style.setProperty("--spent", spent / whole);
  $("time").style.setProperty("--beyond", elapsed / whole);
  $("time-spent").textContent = `${milliseconds(spent)} spent`;
  $("time-budget").textContent = budget === null ? "no limit" : `${milliseconds(budget)} granted`;
}

function fail(error, told) {
  if (error.code === "unauthorized") return askForKey();
  const best = told.answer ?? told.last;
  ladder.end(told.last?.exit.number ?? 0);
  if (error instanceof Cut && best) {
    say(sure(best), `The connection ended after exit ${told.last.exit.number}: this is the best answer so far.`, true);
  } else if (error instanceof Refused) {
    const wait = error.retryAfter ? ` Worth trying again in ${milliseconds(error.retryAfter)}.` : "";
    say("Refused", `${sentence(error.message)}${wait}`, true);
  } else {
    say("No answer", error instanceof Unreachable || error instanceof Cut ? error.message : `${error}`, true);
  }
}

function sentence(text) {
  return `${text.charAt(0).toUpperCase()}${text.slice(1)}${/[.!?]$/.test(text) ? "" : "."}`;
}

function say(answer, why, again = false) {
  $("answer").textContent = answer;
  $("why").textContent = why;
  $("again").hidden = !again;
}

/* What the visitor does */

for (const input of [$("file"), $("camera")]) {
  input.addEventListener("change", () => {
    if (input.files.length) choose(input.files[0]);
    input.value = ""; // the same file may be chosen again
  });
}
for (const button of $("samples").children) button.addEventListener("click", () => chooseSample(button));
document.addEventListener("paste", (event) => {
  const [file] = event.clipboardData.files;
  if (file) choose(file, "The pasted picture");
});
document.addEventListener("dragover", (event) => {
  event.preventDefault();
  $("drop").classList.add("over");
});
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) $("drop").classList.remove("over");
});
document.addEventListener("drop", (event) => {
  event.preventDefault();
  $("drop").classList.remove("over");
  const [file] = event.dataTransfer.files;
  if (file) choose(file, "The dropped picture");
});
$("picture").addEventListener("error", () => {
  $("picture").hidden = true;
  $("hint").hidden = false;
  $("hint").textContent = "This browser cannot show the file; the server may read it all the same.";
});
$("request").addEventListener("submit", (event) => event.preventDefault());
$("model").addEventListener("change", chooseModel);
$("budget").addEventListener("input", showBudget);
$("budget").addEventListener("change", runSoon);
$("point").addEventListener("change", () => {
  choosePoint();
  run();
});
$("threshold").addEventListener("input", () => {
  showThreshold();
  choosePoint();
});
$("threshold").addEventListener("change", runSoon);
$("deeper").addEventListener("change", run);
$("again").addEventListener("click", run);

$("camera-button").hidden = navigator.maxTouchPoints === 0;
$("budget").max = BUDGETS.length - 1;
$("budget").value = BUDGETS.indexOf(FIRST_BUDGET);
showBudget();
showThreshold();
start();
