// The live tree: nursery, trajectory, turn, call, daemon, slot, remote process; and what each waits for.
import type { App, View } from "../app";
import { formatAge, h, setAttribute, setText } from "../dom";
import { VirtualList } from "../parts/list";
import { drawMark, teach, toneOf } from "../parts/marks";
import { Inspector } from "../parts/inspector";
import type { CallRow, Section, TrajectoryRow } from "../protocol";
import { C, T } from "../store";

export interface Node {
  key: string;
  level: number;
  kind: "nursery" | "trajectory" | "turn" | "call" | "daemon" | "slot" | "process";
  name: string;
  state: string;
  since: number;
  limit_s: number | null;
  waits: string;
  open: boolean | null;
  trajectory: string;
  call: number | null;
}

const STUCK_S = 10;

export class TreeView implements View {
  readonly title = "Live tree";
  readonly sections: Section[] = ["trajectories"];
  readonly element: HTMLElement;
  private readonly list: VirtualList<Node>;
  private readonly inspector: Inspector;
  private readonly filter: HTMLInputElement;
  private readonly order: HTMLSelectElement;
  private readonly count: HTMLElement;
  /** What was opened or closed by hand; nurseries are open, trajectories closed. */
  private readonly toggled = new Map<string, boolean>();
  private wanted: string | null = null;

  constructor(private readonly app: App) {
    this.filter = h("input", {
      type: "search",
      placeholder: "Filter: trajectory, tool, state, slot…",
      "aria-label": "Filter the tree",
      oninput: () => this.note(),
    });
    this.order = h(
      "select",
      { "aria-label": "Order of trajectories", onchange: () => this.note() },
      h("option", { value: "arrival" }, "in order of arrival"),
      h("option", { value: "oldest" }, "longest wait first"),
      h("option", { value: "stuck" }, `only waits over ${STUCK_S} s`),
    );
    this.count = h("span", { class: "muted count" });
    this.list = new VirtualList<Node>({
      label: "Live tree",
      key: (node) => node.key,
      level: (node) => node.level,
      expanded: (node) => node.open,
      columns: [
        { name: "What", width: "minmax(16rem, 3fr)", text: (node) => `${node.kind}|${node.name}`, draw: drawName },
        { name: "State", width: "8rem", text: (node) => node.state, draw: (cell, _, state) => drawMark(cell, state) },
        { name: "For", width: "6.5rem", numeric: true, text: (node) => (node.since ? formatAge(app.store.now() - node.since) : "") },
        { name: "Limit", width: "5.5rem", numeric: true, text: (node) => (node.limit_s ? `${node.limit_s} s` : "") },
        { name: "Waits for", width: "minmax(10rem, 2fr)", text: (node) => node.waits },
      ],
      tone: (node) => (node.state && app.store.now() - node.since > STUCK_S && toneOf(node.state) === "wait" ? "stuck" : ""),
      onSelect: (node) => this.show(node),
      onOpen: (node) => node.trajectory && app.go("waterfall", node.trajectory),
      onToggle: (node, open) => {
        this.toggled.set(node.key, open);
        this.draw();
      },
      empty: () =>
        teach(
          "Nothing is alive",
          "A trajectory appears here with its first call, and leaves when its slot was given back.",
          h("code", {}, `curl ${location.origin}/execute -d '{"trajectory_id": "t1", "tool": {"name": "bash", "arguments": {"command": "sleep 20"}}}'`),
        ),
    });
    this.inspector = new Inspector(app);
    this.element = h(
      "section",
      { class: "view", "aria-label": this.title },
      h("div", { class: "bar" }, this.filter, this.order, this.count),
      h("div", { class: "split" }, this.list.element, this.inspector.element),
    );
  }

  open(argument: string, query: URLSearchParams): void {
    this.filter.value = query.get("filter") ?? "";
    this.order.value = query.get("order") ?? "arrival";
    if (argument) {
      this.wanted = `trajectory:${argument}`;
      this.toggled.set(this.wanted, true);
    }
  }

  focus(): void {
    this.list.focus();
  }

  draw(): void {
    const nodes = this.nodes();
    this.list.show(nodes);
    if (this.wanted && nodes.some((node) => node.key === this.wanted)) {
      this.list.select(this.wanted, true);
      this.show(this.list.selected);
      this.wanted = null;
    }
    this.inspector.draw();
  }

  exported(): unknown {
    return [...this.app.store.trajectories.values()];
  }

  private note(): void {
    this.app.note({ filter: this.filter.value, order: this.order.value === "arrival" ? "" : this.order.value });
    this.draw();
  }

  private show(node: Node | null): void {
    this.inspector.show(node);
  }

  private nodes(): Node[] {
    const { store } = this.app;
    const needle = this.filter.value.trim().toLowerCase();
    const now = store.now();
    const chosen: TrajectoryRow[] = [];
    for (const row of store.trajectories.values()) {
      if (this.order.value === "stuck" && (row[T.state] === "idle" || now - row[T.since] <= STUCK_S)) continue;
      if (!needle || haystack(row).includes(needle)) chosen.push(row);
    }
    if (this.order.value !== "arrival") chosen.sort((a, b) => a[T.since] - b[T.since]);
    this.count.textContent = `${chosen.length} of ${store.trajectories.size} trajectories`;
    const byNursery = new Map<string, TrajectoryRow[]>();
    for (const row of chosen) {
      const rows = byNursery.get(row[T.nursery]);
      if (rows) rows.push(row);
      else byNursery.set(row[T.nursery], [row]);
    }
    const unseen = byNursery.get("");
    byNursery.delete("");
    if (unseen) byNursery.set("", unseen); // last: those in it are found out one by one
    const nodes: Node[] = [];
    for (const [nursery, rows] of byNursery) this.addNursery(nodes, nursery, rows);
    return nodes;
  }

  private isOpen(key: string, usually: boolean): boolean {
    return this.toggled.get(key) ?? usually;
  }

  private addNursery(nodes: Node[], nursery: string, rows: TrajectoryRow[]): void {
    const key = `nursery:${nursery}`;
    const open = this.isOpen(key, true);
    nodes.push({
      key, level: 0, kind: "nursery", name: nursery || "(their tasks were not seen yet)", state: "", since: 0,
      limit_s: null, waits: `${rows.length} ${rows.length === 1 ? "trajectory" : "trajectories"}`, open, trajectory: "", call: null,
    });
    if (open) for (const row of rows) this.addTrajectory(nodes, row);
  }

  private addTrajectory(nodes: Node[], row: TrajectoryRow): void {
    const key = `trajectory:${row[T.id]}`;
    const call = this.app.store.oldestCall(row);
    const hasInside = row[T.live].length > 0 || row[T.slot] !== "";
    const open = hasInside ? this.isOpen(key, false) : null;
    nodes.push({
      key, level: 1, kind: "trajectory", name: row[T.id], state: row[T.state], since: row[T.since],
      limit_s: call?.[C.limit_s] ?? null, waits: call ? `${row[T.waits]} · ${call[C.tool]} ${call[C.summary]}` : row[T.waits],
      open, trajectory: row[T.id], call: null,
    });
    if (!open) return;
    const byTurn = new Map<number, CallRow[]>();
    for (const each of row[T.live]) byTurn.set(each[C.turn], [...(byTurn.get(each[C.turn]) ?? []), each]);
    for (const [turn, calls] of byTurn) {
      const first = calls[0]!;
      nodes.push({
        ...leaf(row, `${key}/turn${turn}`, 2, "turn", turn ? `turn ${turn}` : "outside of an agent's turns"),
        since: first[C.entered], waits: `${calls.length} ${calls.length === 1 ? "call" : "calls"}`,
      });
      for (const each of calls) addCall(nodes, row, each);
    }
    if (!row[T.live].length) addPlace(nodes, row, 2);
  }
}

function addCall(nodes: Node[], row: TrajectoryRow, call: CallRow): void {
  nodes.push({
    ...leaf(row, `call:${call[C.number]}`, 3, "call", `${call[C.tool]} ${call[C.summary]}`),
    state: call[C.phase], since: call[C.entered], limit_s: call[C.limit_s], call: call[C.number], waits: row[T.waits],
  });
  addPlace(nodes, row, 4, call);
}

function addPlace(nodes: Node[], row: TrajectoryRow, level: number, call?: CallRow): void {
  const key = call ? `call:${call[C.number]}` : `trajectory:${row[T.id]}`;
  if (!row[T.daemon]) return;
  nodes.push(leaf(row, `${key}/daemon`, level, "daemon", row[T.daemon]));
  if (row[T.slot]) nodes.push(leaf(row, `${key}/slot`, level + 1, "slot", row[T.slot]));
  if (call?.[C.pid]) nodes.push({ ...leaf(row, `${key}/pid`, level + 2, "process", `pid ${call[C.pid]}`), since: call[C.since] });
}

function leaf(row: TrajectoryRow, key: string, level: number, kind: Node["kind"], name: string): Node {
  return { key, level, kind, name, state: "", since: 0, limit_s: null, waits: "", open: null, trajectory: row[T.id], call: null };
}

function haystack(row: TrajectoryRow): string {
  const calls = row[T.live].map((call) => `${call[C.tool]} ${call[C.phase]} ${call[C.summary]}`).join(" ");
  return `${row[T.id]} ${row[T.state]} ${row[T.daemon]} ${row[T.slot]} ${row[T.waits]} ${calls}`.toLowerCase();
}

function drawName(cell: HTMLElement, node: Node): void {
  if (!cell.firstChild) cell.append(h("span", { class: "twisty", "aria-hidden": "true" }), h("span"), h("span"));
  const [, kind, name] = cell.children as unknown as [Element, Element, Element];
  setAttribute(kind, "class", `kind kind-${node.kind}`);
  setText(kind, node.kind);
  setAttribute(name, "class", node.kind === "turn" ? "name" : "name mono");
  setText(name, node.name);
}
