// The frames on the links to the daemons, as a browser's developer tools show a network's.
import type { App, View } from "../app";
import { formatBytes, h } from "../dom";
import { VirtualList } from "../parts/list";
import { drawMark, teach } from "../parts/marks";
import type { Section, WireRow } from "../protocol";

const enum W {
  seq,
  at,
  daemon,
  direction,
  type,
  bytes,
  call,
  decoded,
}

export class WireView implements View {
  readonly title = "Wire";
  readonly sections: Section[] = ["wire"];
  readonly element: HTMLElement;
  private readonly list: VirtualList<WireRow>;
  private readonly filter: HTMLInputElement;
  private readonly heartbeats = h("input", { type: "checkbox", onchange: () => this.draw() });
  private readonly pause: HTMLButtonElement;
  private readonly count = h("span", { class: "muted count" });
  private readonly decoded = h("pre", { class: "decoded", tabindex: 0, "aria-label": "Decoded frame" }, "Choose a frame to see it decoded. Secrets are masked.");

  constructor(private readonly app: App) {
    this.filter = h("input", { type: "search", placeholder: "Filter: type, daemon, call, text…", "aria-label": "Filter frames", oninput: () => this.noteFilter() });
    this.pause = h("button", { type: "button", "aria-pressed": "false", onclick: () => this.togglePause() }, "Pause");
    this.list = new VirtualList<WireRow>({
      label: "Frames",
      key: (row) => String(row[W.seq]),
      columns: [
        { name: "Time", width: "7.5rem", text: (row) => app.store.clock(row[W.at]) },
        { name: "Way", width: "4.5rem", text: (row) => row[W.direction], draw: (cell, row) => cell.replaceChildren(h("span", { class: `way way-${row[W.direction]}` }, row[W.direction] === "out" ? "↑ out" : "↓ in")) },
        { name: "Type", width: "8rem", text: (row) => row[W.type], draw: (cell, row) => drawMark(cell, row[W.type]) },
        { name: "Size", width: "5.5rem", numeric: true, text: (row) => formatBytes(row[W.bytes]) },
        { name: "Call", width: "5rem", numeric: true, text: (row) => (row[W.call] === null ? "" : String(row[W.call])) },
        { name: "Daemon", width: "8rem", text: (row) => row[W.daemon] },
        { name: "Decoded", width: "minmax(12rem, 1fr)", text: (row) => row[W.decoded], draw: (cell, row) => cell.replaceChildren(h("span", { class: "name mono" }, row[W.decoded].slice(0, 300))) },
      ],
      onSelect: (row) => row && this.show(row),
      empty: () => teach("No frame has been seen", "Frames are captured while this view is open: what this executor and its daemons say to each other, decoded."),
    });
    this.list.following = true;
    this.element = h(
      "section",
      { class: "view", "aria-label": this.title },
      h("div", { class: "bar" }, this.filter, this.pause, h("button", { type: "button", onclick: () => this.clear() }, "Clear"), h("label", { class: "check" }, this.heartbeats, "heartbeats and acks"), this.count),
      h("div", { class: "split down" }, this.list.element, this.decoded),
    );
  }

  open(_: string, query: URLSearchParams): void {
    this.filter.value = query.get("filter") ?? "";
  }

  focus(): void {
    this.list.focus();
  }

  draw(): void {
    const { store } = this.app;
    const needle = this.filter.value.trim().toLowerCase();
    const rows = store.frames.filter((row) => {
      if (!this.heartbeats.checked && (row[W.type] === "heartbeat" || row[W.type] === "ack")) return false;
      return !needle || `${row[W.type]} ${row[W.direction]} ${row[W.daemon]} ${row[W.call] ?? ""} ${row[W.decoded]}`.toLowerCase().includes(needle);
    });
    this.count.textContent = `${rows.length} frames${store.framesDropped ? `, ${store.framesDropped} more were not sent here` : ""}`;
    this.list.show(rows);
  }

  exported(): unknown {
    return this.app.store.frames;
  }

  private noteFilter(): void {
    this.app.note({ filter: this.filter.value });
    this.draw();
  }

  private togglePause(): void {
    const { store } = this.app;
    store.framesPaused = !store.framesPaused;
    this.pause.textContent = store.framesPaused ? "Go on" : "Pause";
    this.pause.setAttribute("aria-pressed", String(store.framesPaused));
    this.list.following = !store.framesPaused;
  }

  private clear(): void {
    this.app.store.frames = [];
    this.draw();
  }

  private show(row: WireRow): void {
    this.list.following = false;
    try {
      this.decoded.textContent = JSON.stringify(JSON.parse(row[W.decoded]), null, 2);
    } catch {
      this.decoded.textContent = row[W.decoded];
    }
  }
}
