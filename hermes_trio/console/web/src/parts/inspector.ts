// What is known of the selected node, and what can be done about it.
import type { App } from "../app";
import { formatAge, h, setText } from "../dom";
import type { TrajectoryRow } from "../protocol";
import { C, T } from "../store";
import type { Node } from "../views/tree";
import { mark, teach } from "./marks";

export class Inspector {
  readonly element: HTMLElement;
  private readonly content = h("div", { class: "inspector-content" });
  private node: Node | null = null;
  private facts = new Map<string, HTMLElement>();
  private drawnFor = "";

  constructor(private readonly app: App) {
    this.element = h("aside", { class: "inspector", "aria-label": "Details", tabindex: 0 }, this.content);
    this.drawnFor = "-";
    this.draw();
  }

  show(node: Node | null): void {
    this.node = node;
    this.draw();
  }

  draw(): void {
    const row = this.node ? this.app.store.trajectories.get(this.node.trajectory) : undefined;
    const call = this.node?.call ?? (row?.[T.live].length === 1 ? row[T.live][0]![C.number] : null);
    const key = this.node ? `${this.node.key}|${Boolean(row)}|${call}|${row?.[T.slot]}` : "";
    if (key !== this.drawnFor) {
      this.drawnFor = key;
      this.build(row, call);
    }
    if (row) this.refresh(row, call);
  }

  private build(row: TrajectoryRow | undefined, call: number | null): void {
    this.facts.clear();
    const { node } = this;
    if (!node || node.kind === "nursery") {
      this.content.replaceChildren(
        node
          ? h("h2", { class: "mono" }, node.name)
          : teach("Details", "Choose a row with the mouse or the arrow keys. → opens it, ← closes it, Enter shows its calls by phase."),
      );
      return;
    }
    if (!row) {
      this.content.replaceChildren(h("h2", { class: "mono" }, node.trajectory), h("p", { class: "muted" }, "It is over."), this.buttons(node, false, null));
      return;
    }
    const names = ["State", "Waits for", "In this state", "Alive for", "Turn", "Calls so far", "Daemon", "Slot", "Nursery"];
    if (call !== null) names.push("Call", "Command", "Phase", "Under way for", "Limit", "Process");
    const list = h("dl");
    for (const name of names) {
      const value = h("dd", { class: "mono" });
      this.facts.set(name, value);
      list.append(h("dt", {}, name), value);
    }
    const stack = h("pre", { class: "stack", tabindex: 0, hidden: true, "aria-label": "Stack" });
    this.content.replaceChildren(h("h2", { class: "mono" }, row[T.id]), this.buttons(node, Boolean(row[T.slot]), call, stack), list, stack);
  }

  private buttons(node: Node, hasSlot: boolean, call: number | null, stack?: HTMLElement): HTMLElement {
    const { app } = this;
    const can = (feature: string): boolean => app.store.features.includes(feature);
    const button = (text: string, act: () => unknown, danger = false): HTMLElement =>
      h("button", { type: "button", class: danger ? "danger" : null, onclick: () => void act() }, text);
    return h(
      "div",
      { class: "actions" },
      button("Waterfall", () => app.go("waterfall", node.trajectory)),
      hasSlot && can("terminal") && button("Terminal", () => app.go("terminal", node.trajectory)),
      stack && can("stack") && button("Stack", () => this.showStack(node.trajectory, call, stack)),
      call !== null && button("Cancel call", () => app.cancelCall(call, `call ${call} of ${node.trajectory}`), true),
      hasSlot && button("Cancel trajectory", () => app.cancelTrajectory(node.trajectory), true),
    );
  }

  private async showStack(trajectory: string, call: number | null, stack: HTMLElement): Promise<void> {
    stack.hidden = false;
    stack.textContent = "…";
    try {
      stack.textContent = await this.app.connection.command<string>("stack", { trajectory, call });
    } catch (error) {
      stack.textContent = (error as Error).message;
    }
    stack.scrollTop = stack.scrollHeight;
  }

  private refresh(row: TrajectoryRow, number: number | null): void {
    const now = this.app.store.now();
    const set = (name: string, text: string): void => {
      const value = this.facts.get(name);
      if (value) setText(value, text || "–");
    };
    const state = this.facts.get("State");
    if (state && state.dataset.state !== row[T.state]) {
      state.dataset.state = row[T.state];
      state.replaceChildren(mark(row[T.state]));
    }
    set("Waits for", row[T.waits]);
    set("In this state", formatAge(now - row[T.since]));
    set("Alive for", formatAge(now - row[T.started]));
    set("Turn", row[T.turn] ? String(row[T.turn]) : "");
    set("Calls so far", `${row[T.calls]}${row[T.errors] ? `, ${row[T.errors]} of them failed` : ""}`);
    set("Daemon", row[T.daemon]);
    set("Slot", row[T.slot]);
    set("Nursery", row[T.nursery]);
    const call = number === null ? undefined : this.app.store.call(row[T.id], number);
    if (!call) return;
    set("Call", `${call[C.number]} · ${call[C.tool]}`);
    set("Command", call[C.summary]);
    set("Phase", call[C.phase].replaceAll("_", " "));
    set("Under way for", formatAge(now - call[C.entered]));
    set("Limit", call[C.limit_s] ? `${call[C.limit_s]} s` : "");
    set("Process", call[C.pid] ? `pid ${call[C.pid]}` : "");
  }
}
