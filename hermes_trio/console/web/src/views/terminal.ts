// A terminal in a trajectory's slot: watched first, written to only when asked.
import type { App, View } from "../app";
import { h } from "../dom";
import { load } from "../parts/lazy";
import { teach } from "../parts/marks";
import type { Screen } from "../parts/terminal";
import type { Section } from "../protocol";
import { T } from "../store";

interface Attached {
  channel: number;
  columns: number;
  rows: number;
}

export class TerminalView implements View {
  readonly title = "Terminal";
  readonly sections: Section[] = ["trajectories"];
  readonly element: HTMLElement;
  private readonly chooser: HTMLInputElement;
  private readonly names = h("datalist", { id: "holders" });
  private readonly write: HTMLInputElement;
  private readonly status = h("span", { class: "muted count", role: "status" });
  private readonly leave: HTMLButtonElement;
  private readonly holder = h("div", { class: "screen" });
  private readonly none = h("div", { class: "list-empty" });
  private screen: Screen | null = null;
  private attached: Attached | null = null;
  private chosen = "";
  private attempt = 0;

  constructor(private readonly app: App) {
    this.chooser = h("input", { list: "holders", placeholder: "Trajectory with a slot…", "aria-label": "Trajectory", onchange: () => app.go("terminal", this.chooser.value) });
    this.write = h("input", { type: "checkbox", disabled: true, onchange: () => void this.setWritable() });
    this.leave = h("button", { type: "button", disabled: true, onclick: () => this.detach("left") }, "Detach");
    this.none.append(
      teach(
        "Attach to a slot",
        "Choose a trajectory that holds a slot: its terminal session opens here, as the agent would see it. You only watch, until you tick “type here”.",
        "What is seen here is recorded, and can be replayed under Replay.",
      ),
    );
    this.element = h(
      "section",
      { class: "view", "aria-label": this.title },
      h("div", { class: "bar" }, this.chooser, this.names, h("label", { class: "check" }, this.write, "type here"), this.leave, this.status),
      h("div", { class: "terminal-area" }, this.holder, this.none),
    );
    this.holder.hidden = true;
  }

  open(argument: string): void {
    this.chooser.value = argument;
    if (argument && (argument !== this.chosen || !this.attached)) void this.attach(argument);
    this.drawNames();
  }

  draw(): void {
    this.drawNames();
  }

  focus(): void {
    if (this.attached) this.screen?.focus();
    else this.chooser.focus();
  }

  exported(): unknown {
    return { trajectory: this.chosen, attached: this.attached };
  }

  private drawNames(): void {
    if (document.activeElement !== this.chooser || this.names.childElementCount) return;
    const ids = [...this.app.store.trajectories.values()].filter((row) => row[T.slot]).slice(0, 200);
    this.names.replaceChildren(...ids.map((row) => h("option", { value: row[T.id] })));
  }

  private async attach(trajectory: string): Promise<void> {
    this.detach("");
    const attempt = ++this.attempt;
    this.chosen = trajectory;
    this.none.hidden = true;
    this.holder.hidden = false;
    this.status.textContent = "opening…";
    const { makeScreen } = await load("terminal");
    if (attempt !== this.attempt) return;
    this.holder.replaceChildren();
    const screen = (this.screen = makeScreen(this.holder));
    const size = screen.fit();
    try {
      const attached = await this.app.connection.command<Attached>("attach", { trajectory, ...size });
      this.attached = attached;
      screen.takeSize(attached.columns, attached.rows);
      this.app.connection.listen(attached.channel, (data, reason) => (data ? screen.write(data) : this.over(attached, reason)));
      const encoder = new TextEncoder();
      screen.onKeys((keys) => this.write.checked && this.app.connection.sendBytes(attached.channel, encoder.encode(keys)));
      screen.onResize((columns, rows) => void this.app.connection.command("resize", { channel: attached.channel, columns, rows }).catch(() => undefined));
      this.write.disabled = this.leave.disabled = false;
      this.status.textContent = `watching ${trajectory}`;
    } catch (error) {
      this.status.textContent = (error as Error).message;
    }
  }

  private async setWritable(): Promise<void> {
    if (!this.attached) return;
    const writable = this.write.checked;
    try {
      await this.app.connection.command("write", { channel: this.attached.channel, writable });
      this.screen?.setWritable(writable);
      this.status.textContent = `${writable ? "typing into" : "watching"} ${this.chosen}`;
      if (writable) this.screen?.focus();
    } catch (error) {
      this.write.checked = false;
      this.status.textContent = (error as Error).message;
    }
  }

  private detach(why: string): void {
    if (!this.attached) return;
    this.app.connection.close(this.attached.channel);
    this.over(this.attached, why);
  }

  private over(attached: Attached, why: string): void {
    if (this.attached !== attached) return;
    this.attached = null;
    this.screen?.setWritable(false);
    this.write.checked = false;
    this.write.disabled = this.leave.disabled = true;
    this.status.textContent = `The session of ${this.chosen} is over${why ? `: ${why}` : ""}. Choose it again to attach anew.`;
  }
}
