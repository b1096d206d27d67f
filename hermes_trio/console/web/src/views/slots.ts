// Every slot of every daemon as a tile: free, leased, busy, dirty, quarantined, draining; whose, and since when.
import type { App, View } from "../app";
import { formatAge, formatBytes, h, setAttribute, setText } from "../dom";
import { mark, teach, toneOf } from "../parts/marks";
import type { DaemonRow, Section, SlotRow } from "../protocol";
import { C, D, S, T } from "../store";

const STATES = ["busy", "leased", "dirty", "free", "quarantined", "draining"] as const;
const MAX_TILES = 2000;

interface Tile {
  key: string;
  name: string;
  state: string;
  owner: string;
  since: number;
}

interface Panel {
  element: HTMLElement;
  head: HTMLElement;
  facts: HTMLElement;
  grid: HTMLElement;
  tiles: HTMLElement[];
  drain: HTMLButtonElement;
}

export class SlotsView implements View {
  readonly title = "Slots";
  readonly sections: Section[] = ["trajectories", "slots"];
  readonly element: HTMLElement;
  private readonly panels = new Map<string, Panel>();
  private readonly area = h("div", { class: "daemons", tabindex: 0, "aria-label": "Daemons" });
  private readonly none = teach("No daemon is connected", "A daemon appears here when the executor has been welcomed by it.");
  private readonly legend = new Map<string, HTMLElement>();

  constructor(private readonly app: App) {
    const legend = h("div", { class: "bar legend" });
    for (const state of STATES) {
      const count = h("b", {}, "0");
      this.legend.set(state, count);
      legend.append(h("span", { class: "legend-item" }, mark(state), count));
    }
    this.element = h("section", { class: "view", "aria-label": this.title }, legend, this.area);
  }

  draw(): void {
    const { daemons, slots } = this.app.store;
    const totals = new Map<string, number>();
    const byDaemon = new Map<string, SlotRow[]>();
    for (const row of slots.values()) {
      const rows = byDaemon.get(row[S.daemon]);
      if (rows) rows.push(row);
      else byDaemon.set(row[S.daemon], [row]);
    }
    for (const [name, panel] of this.panels) {
      if (!daemons.has(name)) {
        panel.element.remove();
        this.panels.delete(name);
      }
    }
    for (const row of daemons.values()) {
      const tiles = this.tilesOf(row, byDaemon.get(row[D.name]) ?? []);
      for (const tile of tiles) totals.set(tile.state, (totals.get(tile.state) ?? 0) + 1);
      this.drawDaemon(row, tiles);
    }
    for (const [state, count] of this.legend) setText(count, String(totals.get(state) ?? 0));
    if (daemons.size === 0) this.area.replaceChildren(this.none);
    else this.none.remove();
  }

  exported(): unknown {
    return { daemons: [...this.app.store.daemons.values()], slots: [...this.app.store.slots.values()] };
  }

  private tilesOf(daemon: DaemonRow, rows: SlotRow[]): Tile[] {
    const tiles = rows.map((row): Tile => ({ key: row[S.key], name: row[S.slot], state: this.stateOf(daemon, row), owner: row[S.owner], since: row[S.since] }));
    tiles.sort((a, b) => a.name.localeCompare(b.name, undefined, { numeric: true }));
    // A slot is known by name from its first lease on.
    const rest = daemon[D.state] === "down" ? 0 : Math.max(0, Math.min(daemon[D.slots], MAX_TILES) - tiles.length);
    const state = daemon[D.state] === "draining" ? "draining" : "free";
    for (let n = 0; n < rest; n++) tiles.push({ key: `${daemon[D.name]}#${n}`, name: "", state, owner: "", since: 0 });
    return tiles;
  }

  private stateOf(daemon: DaemonRow, row: SlotRow): string {
    if (row[S.state] === "free") return daemon[D.state] === "draining" ? "draining" : "free";
    if (row[S.state] !== "leased") return row[S.state];
    const owner = this.app.store.trajectories.get(row[S.owner]);
    return owner?.[T.live].some((call) => call[C.phase] === "running" || call[C.phase] === "on_the_wire") ? "busy" : "leased";
  }

  private drawDaemon(row: DaemonRow, tiles: Tile[]): void {
    const panel = this.panels.get(row[D.name]) ?? this.newPanel(row[D.name]);
    const state = row[D.state];
    if (panel.head.dataset.state !== state) {
      panel.head.dataset.state = state;
      panel.head.replaceChildren(h("h2", { class: "mono" }, row[D.name]), mark(state), h("span", { class: "muted" }, row[D.reason]));
    }
    panel.drain.disabled = state !== "up";
    setText(
      panel.facts,
      `${row[D.leased]} of ${row[D.slots]} slots leased · ${row[D.under_way]} calls there · ${row[D.queued]} queued for its link · ` +
        `${formatBytes(row[D.bytes_sent])} sent, ${formatBytes(row[D.bytes_received])} received · ${row[D.url]}`,
    );
    tiles.forEach((tile, n) => this.drawTile(panel, tile, n));
    while (panel.tiles.length > tiles.length) panel.tiles.pop()!.remove();
  }

  private drawTile(panel: Panel, tile: Tile, n: number): void {
    let element = panel.tiles[n];
    if (!element) {
      element = h("button", { type: "button", class: "tile", onclick: (event: MouseEvent) => this.choose(event.currentTarget as HTMLElement) }, h("span", { class: "tile-name mono" }), h("span", { class: "tile-age" }));
      panel.tiles.push(element);
      panel.grid.append(element);
    }
    const age = tile.since && tile.state !== "free" ? formatAge(this.app.store.now() - tile.since) : "";
    setAttribute(element, "data-tone", tile.state === "free" ? "free" : toneOf(tile.state));
    setAttribute(element, "data-state", tile.state);
    setAttribute(element, "data-owner", tile.owner);
    setAttribute(element, "title", `${tile.name || "not leased yet"} · ${tile.state}${tile.owner ? ` · ${tile.owner}` : ""}`);
    setText(element.firstChild!, tile.owner || tile.name || "–");
    setText(element.lastChild!, `${tile.state}${age ? ` ${age}` : ""}`);
  }

  private choose(element: HTMLElement): void {
    const owner = element.dataset.owner;
    if (owner) this.app.go("tree", owner);
  }

  private newPanel(name: string): Panel {
    const head = h("div", { class: "daemon-head" });
    const facts = h("p", { class: "muted facts" });
    const grid = h("div", { class: "tiles" });
    const drain = h("button", { type: "button", class: "danger", onclick: () => void this.app.drain(name) }, "Drain");
    const element = h("section", { class: "daemon", "aria-label": `Daemon ${name}` }, h("header", {}, head, drain), facts, grid);
    const panel = { element, head, facts, grid, tiles: [], drain };
    this.panels.set(name, panel);
    this.area.append(element);
    return panel;
  }
}
