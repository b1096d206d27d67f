// What happens, line by line.
import type { App, View } from "../app";
import { h } from "../dom";
import { VirtualList } from "../parts/list";
import { drawMark, teach } from "../parts/marks";
import type { EventRow, Section } from "../protocol";

const enum E {
  seq,
  at,
  kind,
  trajectory,
  call,
  text,
  level,
}

export class EventsView implements View {
  readonly title = "Events";
  readonly sections: Section[] = ["events"];
  readonly element: HTMLElement;
  private readonly list: VirtualList<EventRow>;
  private readonly filter: HTMLInputElement;
  private readonly level: HTMLSelectElement;
  private readonly follow = h("input", { type: "checkbox", checked: true, onchange: () => this.draw() });
  private readonly count = h("span", { class: "muted count" });

  constructor(private readonly app: App) {
    this.filter = h("input", { type: "search", placeholder: "Filter: kind, trajectory, text…", "aria-label": "Filter events", oninput: () => this.note() });
    this.level = h(
      "select",
      { "aria-label": "Which events", onchange: () => this.note() },
      h("option", { value: "all" }, "everything"),
      h("option", { value: "warning" }, "what went wrong"),
    );
    this.list = new VirtualList<EventRow>({
      label: "Events",
      key: (row) => String(row[E.seq]),
      columns: [
        { name: "Time", width: "7.5rem", text: (row) => app.store.clock(row[E.at]) },
        { name: "Event", width: "11rem", text: (row) => row[E.kind], draw: (cell, row) => drawMark(cell, row[E.level] === "info" ? row[E.kind] : row[E.level], row[E.kind].replaceAll("_", " ")) },
        { name: "Trajectory", width: "minmax(8rem, 1fr)", text: (row) => row[E.trajectory] },
        { name: "Call", width: "5rem", numeric: true, text: (row) => (row[E.call] === null ? "" : String(row[E.call])) },
        { name: "What", width: "minmax(14rem, 3fr)", text: (row) => row[E.text] },
      ],
      onOpen: (row) => row[E.trajectory] && app.go("waterfall", row[E.trajectory]),
      empty: () => teach("Nothing has happened", "Events are sent while this view is open. What is too much for the connection is dropped and counted: the runtime never waits for its debugger."),
    });
    this.element = h(
      "section",
      { class: "view", "aria-label": this.title },
      h("div", { class: "bar" }, this.filter, this.level, h("label", { class: "check" }, this.follow, "follow"), this.count),
      this.list.element,
    );
  }

  open(_: string, query: URLSearchParams): void {
    this.filter.value = query.get("filter") ?? "";
    this.level.value = query.get("level") ?? "all";
  }

  focus(): void {
    this.list.focus();
  }

  draw(): void {
    const { store } = this.app;
    const needle = this.filter.value.trim().toLowerCase();
    const rows = store.events.filter(
      (row) =>
        (this.level.value === "all" || row[E.level] !== "info") &&
        (!needle || `${row[E.kind]} ${row[E.trajectory]} ${row[E.call] ?? ""} ${row[E.text]}`.toLowerCase().includes(needle)),
    );
    this.count.textContent = `${rows.length} events${store.eventsDropped ? `, ${store.eventsDropped} more were not sent here` : ""}`;
    this.list.following = this.follow.checked;
    this.list.show(rows);
  }

  exported(): unknown {
    return this.app.store.events;
  }

  private note(): void {
    this.app.note({ filter: this.filter.value, level: this.level.value === "all" ? "" : this.level.value });
    this.draw();
  }
}
