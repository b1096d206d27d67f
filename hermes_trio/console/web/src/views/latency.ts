// Where time goes: percentiles by phase and by tool, and the curves of the last minutes.
import type { App, View } from "../app";
import { formatCount, formatDuration, h } from "../dom";
import type { Chart } from "../parts/chart";
import { teach } from "../parts/marks";
import { load } from "../parts/lazy";
import type { Figures, Percentiles, Section } from "../protocol";

const CHARTS: [title: string, unit: string, series: string[]][] = [
  ["Whole calls, percentiles of each second", "s", ["p50", "p95", "p99"]],
  ["Queues and calls", "", ["trajectories waiting for a slot", "calls queued", "calls under way"]],
  ["Calls ended per second", "/s", ["calls"]],
];
const ORDER = ["queued", "packed", "on_the_wire", "running", "result", "whole"];

export class LatencyView implements View {
  readonly title = "Latency and queues";
  readonly sections: Section[] = ["figures"];
  readonly element: HTMLElement;
  private readonly phases = h("tbody");
  private readonly tools = h("tbody");
  private readonly charts = CHARTS.map(([title]) => h("figure", { class: "chart" }, h("figcaption", {}, title)));
  private readonly tables: HTMLElement;
  private readonly none: HTMLElement;
  private drawn: Chart[] | null = null;
  private drawnFigures: Figures | null = null;

  constructor(private readonly app: App) {
    this.tables = h("div", { class: "tables" }, table("By phase", "phase", this.phases), table("By tool, whole calls", "tool", this.tools));
    this.none = teach("No call has ended since the console was opened", "Percentiles and curves begin with the first one.");
    this.element = h("section", { class: "view scrolling", "aria-label": this.title, tabindex: 0 }, this.none, h("div", { class: "charts" }, ...this.charts), this.tables);
  }

  async open(): Promise<void> {
    if (this.drawn) return;
    const { makeChart } = await load("chart");
    if (this.drawn) return;
    this.drawn = CHARTS.map(([, unit, series], n) => makeChart(this.charts[n]!, unit, series));
    this.drawnFigures = null;
    this.draw();
  }

  draw(): void {
    const { figures } = this.app.store;
    if (figures === this.drawnFigures) return;
    this.drawnFigures = figures;
    const hasCalls = Object.keys(figures.tools).length > 0;
    this.none.hidden = hasCalls;
    this.tables.hidden = !hasCalls;
    const longest = Math.max(...Object.values(figures.phases).map((each) => each.p99), 1e-6);
    fill(this.phases, ORDER.filter((phase) => phase in figures.phases).map((phase) => [phase.replaceAll("_", " "), figures.phases[phase]!]), longest);
    const slowest = Math.max(...Object.values(figures.tools).map((each) => each.p99), 1e-6);
    fill(this.tools, Object.entries(figures.tools).sort(([, a], [, b]) => b.n - a.n), slowest);
    const column = (n: number): number[] => figures.history.map((sample) => sample[n]!);
    const at = figures.history.map((sample) => sample[0]! - this.app.store.now());
    this.drawn?.[0]?.show([at, column(5), column(6), column(7)]);
    this.drawn?.[1]?.show([at, column(2), column(3), column(4)]);
    this.drawn?.[2]?.show([at, column(1)]);
  }

  exported(): unknown {
    return this.app.store.figures;
  }
}

function table(title: string, first: string, body: HTMLElement): HTMLElement {
  const heads = [first, "calls", "p50", "p95", "p99", "longest"].map((text, n) => h("th", { scope: "col", class: n ? "numeric" : null }, text));
  return h("table", { class: "figures" }, h("caption", {}, title), h("thead", {}, h("tr", {}, ...heads, h("th", { scope: "col" }, "p50 to p99"))), body);
}

function fill(body: HTMLElement, rows: [string, Percentiles][], longest: number): void {
  const cell = (text: string): HTMLElement => h("td", { class: "numeric mono" }, text);
  body.replaceChildren(
    ...rows.map(([name, each]) =>
      h(
        "tr",
        {},
        h("th", { scope: "row", class: "mono" }, name),
        cell(formatCount(each.n)),
        cell(formatDuration(each.p50)),
        cell(formatDuration(each.p95)),
        cell(formatDuration(each.p99)),
        cell(formatDuration(each.max)),
        h("td", { class: "range-cell" }, range(each, longest)),
      ),
    ),
  );
}

/** From p50 to p99 on a logarithmic scale of four decades, with a tick at p95. */
function range(each: Percentiles, longest: number): HTMLElement {
  const at = (seconds: number): number => Math.max(0, Math.min(100, 100 + 25 * Math.log10(Math.max(seconds, 1e-9) / longest)));
  const bar = h("i", { class: "range" });
  bar.style.left = `${at(each.p50)}%`;
  bar.style.width = `${Math.max(1, at(each.p99) - at(each.p50))}%`;
  const tick = h("i", { class: "tick" });
  tick.style.left = `${at(each.p95)}%`;
  return h("span", { class: "track", "aria-hidden": "true" }, bar, tick);
}
