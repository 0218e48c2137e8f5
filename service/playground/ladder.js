// The exits of a network, the shallowest first: each lights up as it is reached.

import { LABELS, REASONS, element, milliseconds, percent, readable } from "./page.js";

export class Ladder {
  constructor(root) {
    this.root = root;
    this.rungs = [];
  }

  // All exits of a model, none reached. `thresholds`: confidences that suffice, none for the last exit.
  prepare(model, thresholds) {
    this.rungs = model.exits.map((exit, index) => new Rung(exit, thresholds[index]));
    this.root.replaceChildren(...this.rungs.map((rung) => rung.item));
  }

  // `role`: "passed", "answer", or "beyond" for what a deeper exit would have said.
  reach(step, role, answer) {
    this.rungs[step.exit.number - 1].reach(step, role, answer);
  }

  // Nothing deeper will be reached.
  end(reached, depth) {
    for (const rung of this.rungs.slice(reached)) rung.skip();
    const next = this.rungs[reached];
    if (next && depth !== undefined) next.say(`not run: ${percent(1 - depth)} of the work saved`);
  }
}

class Rung {
  constructor(exit, threshold) {
    this.exit = exit;
    this.threshold = threshold !== undefined && threshold <= 1 ? threshold : undefined;
    this.time = element("span", { className: "time" });
    this.top = element("ul", { className: "top", hidden: true });
    this.verdict = element("p", { className: "verdict" });
    this.item = element(
      "li",
      {},
      element("span", { className: "node", ariaHidden: "true", textContent: exit.number }),
      element(
        "h3",
        {},
        element("span", { className: "name", textContent: `Exit ${exit.number}` }),
        element("span", { className: "depth", textContent: `${percent(exit.depth)} of the work` }),
        this.time,
      ),
      this.top,
      this.verdict,
    );
    this.item.style.setProperty("--place", exit.number - 1);
    this.state("waiting");
    this.say(this.threshold === undefined ? "answers in any case" : `answers if ${percent(this.threshold)} sure`);
  }

  state(name) {
    this.item.dataset.state = name;
  }

  say(text) {
    this.verdict.textContent = text;
  }

  reach(step, role, answer) {
    this.state(role);
    this.time.textContent = milliseconds(step.latency.elapsed_ms);
    this.top.hidden = false;
    this.top.replaceChildren(...step.top.slice(0, LABELS).map((label, index) => this.row(label, index === 0)));
    this.say(this.judged(step, role, answer));
  }

  row({ label, probability }, first) {
    const bar = element("span", { className: "bar", ariaHidden: "true" }, element("span", { className: "fill" }));
    bar.style.setProperty("--share", probability);
    if (first && this.threshold !== undefined) {
      bar.append(element("span", { className: "limit" }));
      bar.style.setProperty("--limit", this.threshold);
    }
    return element(
      "li",
      {},
      element("span", { className: "label", textContent: readable(label) }),
      bar,
      element("span", { className: "share", textContent: percent(probability) }),
    );
  }

  judged(step, role, answer) {
    if (role === "beyond") {
      return step.class_index === answer.class_index ? "would have said the same" : "would have said otherwise";
    }
    if (role === "answer") {
      const reason = step.exit.reason ?? "confident";
      const compared = reason === "confident" && this.compared(step.confidence);
      return `answered: ${REASONS[reason]}${compared ? ` (${compared})` : ""}`;
    }
    return this.threshold === undefined ? "went on" : `went on: ${this.compared(step.confidence)}`;
  }

  compared(confidence) {
    if (this.threshold === undefined) return "";
    const digits = percent(confidence) === percent(this.threshold) ? 2 : 0;
    const relation = confidence >= this.threshold ? "reaches" : "is below";
    return `${percent(confidence, digits)} ${relation} ${percent(this.threshold, digits)}`;
  }

  skip() {
    this.state("skipped");
    this.say("not run");
  }
}
