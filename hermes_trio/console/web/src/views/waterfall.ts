// The calls of one trajectory as bars over time, divided by phase.
import type { App, View } from "../app";
import { formatDuration, h, setAttribute } from "../dom";
import { VirtualList } from "../parts/list";
import { drawMark, teach } from "../parts/marks";
import type { CallDetails, Section } from "../protocol";

const PHASES: Record<string, string> = {
  queued: "waits for its turn, a slot, the link",
  packed: "is being written to the link",
  on_the_wire: "is on its way",
  running: "runs in its slot",
  result: "the answer is on its way back",
};

export class WaterfallView implements View {
  readonly title = "Waterfall";
  readonly sections: Section[] = ["trajectories"];
  readonly element: HTMLElement;
  private readonly chooser: HTMLInputElement;
  private readonly names = h("datalist", { id: "trajectories" });
  private readonly list: VirtualList<CallDetails>;
  private readonly scale = h("span", { class: "scale", "aria-label": "Phases, over time" });
  private readonly zoom: HTMLSelectElement;
  private readonly note = h("span", { class: "muted count" });
  private chosen = "";
  /** The call that the address names, until it was shown. */
  private wanted = "";
  private call = "";
  private from = 0;
  private to = 1;
  private namesAt = 0;

  constructor(private readonly app: App) {
    this.chooser = h("input", {
      list: "trajectories",
      placeholder: "Trajectory…",
      "aria-label": "Trajectory",
      onchange: () => app.go("waterfall", this.chooser.value),
    });
    this.zoom = h(
      "select",
      { "aria-label": "Time shown", onchange: () => this.noteAddress() },
      h("option", { value: "0" }, "all of it"),
      h("option", { value: "60" }, "the last minute"),
      h("option", { value: "10" }, "the last 10 s"),
      h("option", { value: "1" }, "the last second"),
    );
    const legend = h("span", { class: "phases" });
    for (const [phase, what] of Object.entries(PHASES)) {
      legend.append(h("span", { class: "phase-key", title: what }, h("i", { class: `phase phase-${phase}` }), phase.replaceAll("_", " ")));
    }
    this.list = new VirtualList<CallDetails>({
      label: "Calls by phase",
      key: (call) => String(call.number),
      columns: [
        { name: "Call", width: "4.5rem", numeric: true, text: (call) => String(call.number) },
        { name: "Turn", width: "3.5rem", numeric: true, text: (call) => (call.turn ? String(call.turn) : "") },
        { name: "Tool and command", width: "minmax(10rem, 1.2fr)", text: (call) => `${call.tool} ${call.summary}`, draw: (cell, call) => cell.replaceChildren(h("span", { class: "name mono" }, `${call.tool} ${call.summary}`)) },
        { name: "Ended", width: "8.5rem", text: (call) => call.provenance || "running", draw: (cell, call) => drawMark(cell, call.provenance || "running", call.provenance ? undefined : "under way") },
        { name: "Took", width: "5.5rem", numeric: true, text: (call) => formatDuration(this.end(call) - call.entered) },
        { name: "Phases", width: "minmax(14rem, 3fr)", text: (call) => this.barText(call), draw: (cell, call) => this.drawBar(cell, call) },
      ],
      onSelect: (call) => {
        this.call = call ? String(call.number) : "";
        this.noteAddress();
      },
      empty: () =>
        this.chosen
          ? teach(`No calls of ${this.chosen} are known`, "They are kept for the trajectories that were used last, from the moment somebody opens the console.")
          : teach("Choose a trajectory", "Its calls are drawn by phase: where the time went, call by call. In the tree, Enter on a row comes here."),
    });
    this.list.head(5).replaceChildren(this.scale);
    this.element = h(
      "section",
      { class: "view", "aria-label": this.title },
      h("div", { class: "bar" }, this.chooser, this.names, this.zoom, legend, this.note),
      this.list.element,
    );
  }

  open(argument: string, query: URLSearchParams): void {
    this.chosen = argument;
    this.wanted = this.call = query.get("call") ?? "";
    this.zoom.value = query.get("last") ?? "0";
    if (this.zoom.selectedIndex < 0) this.zoom.value = "0";
    this.chooser.value = argument;
    this.app.store.detail = null;
    this.list.show([]);
  }

  trajectory(): string | null {
    return this.chosen || null;
  }

  focus(): void {
    (this.chosen ? this.list : this.chooser).focus();
  }

  draw(): void {
    this.drawNames();
    const detail = this.app.store.detail;
    const all = detail && detail.id === this.chosen ? detail.calls : [];
    const now = all.some((call) => !call.provenance) ? this.app.store.now() : Math.max(0, ...all.map((call) => this.end(call)));
    const span = Number(this.zoom.value);
    this.from = span ? now - span : Math.min(now, ...all.map((call) => call.entered));
    this.to = Math.max(now, this.from + 0.001);
    const calls = all.filter((call) => this.end(call) >= this.from);
    this.note.textContent = detail?.forgotten ? `${detail.forgotten} earlier calls were forgotten` : "";
    this.drawScale(calls.length > 0);
    this.list.show(calls);
    if (this.wanted && calls.some((call) => String(call.number) === this.wanted)) {
      this.list.select(this.wanted, true);
      this.wanted = "";
    }
  }

  private noteAddress(): void {
    this.app.note({ call: this.call, last: this.zoom.value === "0" ? "" : this.zoom.value });
    this.draw();
  }

  exported(): unknown {
    return this.app.store.detail;
  }

  private drawNames(): void {
    if (performance.now() - this.namesAt < 2000) return;
    this.namesAt = performance.now();
    const ids = [...this.app.store.trajectories.keys()].slice(0, 200);
    if (this.names.childElementCount === ids.length && (this.names.lastElementChild as HTMLOptionElement | null)?.value === ids.at(-1)) return;
    this.names.replaceChildren(...ids.map((id) => h("option", { value: id })));
  }

  private end(call: CallDetails): number {
    return call.phases.at(-1)?.[1] ?? this.app.store.now();
  }

  private barText(call: CallDetails): string {
    // Changes when the bar has to be drawn anew: as text it is only compared.
    const moving = !call.provenance || this.zoom.value !== "0";
    return `${call.number} ${call.phases.length} ${this.from} ${moving ? this.app.store.now() : this.to}`;
  }

  private drawBar(cell: HTMLElement, call: CallDetails): void {
    const span = this.to - this.from;
    const at = (seconds: number): number => Math.min(100, Math.max(0, ((seconds - this.from) / span) * 100));
    let began = call.entered;
    const words: string[] = [];
    const bars = call.phases.map(([phase, until]) => {
      const ended = until ?? this.app.store.now();
      const bar = h("i", { class: `phase phase-${phase}` });
      bar.style.left = `${at(began)}%`;
      bar.style.width = `${Math.max(at(ended) - at(began), 0.05)}%`;
      words.push(`${phase.replaceAll("_", " ")} ${formatDuration(ended - began)}`);
      began = ended;
      return bar;
    });
    const track = h("span", { class: "track", role: "img" }, ...bars);
    setAttribute(track, "aria-label", words.join(", "));
    setAttribute(track, "title", [...words, call.error].filter(Boolean).join("\n"));
    cell.replaceChildren(track);
  }

  private drawScale(isShown: boolean): void {
    const span = this.to - this.from;
    if (!isShown) {
      this.scale.textContent = "Phases";
      return;
    }
    const marks = [0, 0.25, 0.5, 0.75, 1].map((share) => h("span", {}, formatDuration(span * share)));
    if (this.scale.textContent !== marks.map((each) => each.textContent).join("")) this.scale.replaceChildren(...marks);
  }
}
