// Recorded terminal sessions, played with a scrubber.
import type { App, View } from "../app";
import { formatBytes, formatDuration, h } from "../dom";
import { VirtualList } from "../parts/list";
import { load } from "../parts/lazy";
import { teach } from "../parts/marks";
import type { Replay } from "../parts/player";
import type { Section } from "../protocol";

interface Recording {
  id: string;
  trajectory: string;
  began: number;
  duration_s: number;
  bytes: number;
  cut: boolean;
}

export class ReplayView implements View {
  readonly title = "Replay";
  readonly sections: Section[] = [];
  readonly element: HTMLElement;
  private readonly list: VirtualList<Recording>;
  private readonly holder = h("div", { class: "player" });
  private readonly status = h("span", { class: "muted count", role: "status" });
  private recordings: Recording[] = [];
  private replay: Replay | null = null;
  private askedAt = 0;

  constructor(private readonly app: App) {
    this.list = new VirtualList<Recording>({
      label: "Recordings",
      key: (each) => each.id,
      columns: [
        { name: "Trajectory", width: "minmax(10rem, 1fr)", text: (each) => each.trajectory },
        { name: "Began", width: "6.5rem", text: (each) => app.store.clock(each.began).slice(0, 8) },
        { name: "Lasts", width: "5.5rem", numeric: true, text: (each) => formatDuration(each.duration_s) },
        { name: "Size", width: "5.5rem", numeric: true, text: (each) => formatBytes(each.bytes) + (each.cut ? ", cut" : "") },
      ],
      onSelect: (each) => each && app.go("replay", each.id),
      empty: () => teach("Nothing is recorded yet", "A terminal session that was attached to from a console is recorded while it is watched. An asciicast file of your own can be opened above."),
    });
    const file = h("input", { type: "file", accept: ".cast", onchange: () => void file.files?.[0]?.text().then((text) => this.play(text, file.files![0]!.name)) });
    this.element = h(
      "section",
      { class: "view", "aria-label": this.title },
      h("div", { class: "bar" }, h("label", { class: "file" }, "Open a .cast file", file), this.status),
      h("div", { class: "split wide" }, this.list.element, this.holder),
    );
  }

  open(argument: string): void {
    void this.ask().then(() => (argument ? this.fetch(argument) : undefined));
  }

  close(): void {
    this.replay?.dispose();
    this.replay = null;
    this.holder.replaceChildren();
  }

  draw(): void {
    if (performance.now() - this.askedAt > 3000) void this.ask();
  }

  focus(): void {
    this.list.focus();
  }

  exported(): unknown {
    return this.recordings;
  }

  private async ask(): Promise<void> {
    this.askedAt = performance.now();
    this.recordings = await this.app.connection.command<Recording[]>("recordings").catch(() => this.recordings);
    this.list.show(this.recordings);
  }

  private async fetch(id: string): Promise<void> {
    this.list.select(id, true);
    try {
      await this.play(await this.app.connection.command<string>("recording", { id }), this.recordings.find((each) => each.id === id)?.trajectory ?? id);
    } catch (error) {
      this.status.textContent = (error as Error).message;
    }
  }

  private async play(text: string, name: string): Promise<void> {
    const { makeReplay } = await load("player");
    this.close();
    this.status.textContent = `Space plays and pauses, ← and → go 5 s, [ and ] a frame, < and > change the speed · ${name}`;
    this.replay = makeReplay(text, this.holder);
  }
}
