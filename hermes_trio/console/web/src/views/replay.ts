// Recorded terminal sessions, played with a scrubber.
import type { App, View } from "../app";
import { downloadText, formatBytes, formatDuration, h } from "../dom";
import { VirtualList } from "../parts/list";
import { load } from "../parts/lazy";
import { drawMark, teach } from "../parts/marks";
import type { Replay } from "../parts/player";
import type { Section } from "../protocol";
import { readSession } from "../session";

interface Recording {
  id: string;
  trajectory: string;
  /** "console": what was seen in an attached terminal; else the name of the slot's own terminal. */
  origin: string;
  live: boolean;
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
  private readonly save: HTMLButtonElement;
  private replay: Replay | null = null;
  private cast: { name: string; text: string } | null = null;
  private askedAt = 0;

  constructor(private readonly app: App) {
    this.list = new VirtualList<Recording>({
      label: "Recordings",
      key: (each) => each.id,
      columns: [
        { name: "Trajectory", width: "minmax(7rem, 1fr)", text: (each) => each.trajectory },
        { name: "Terminal", width: "6.5rem", text: (each) => `${each.origin}|${each.live}`, draw: (cell, each) => drawMark(cell, each.live ? "open" : "done", each.origin) },
        { name: "Began", width: "4.5rem", text: (each) => app.store.clock(each.began).slice(0, 8) },
        { name: "Lasts", width: "4.5rem", numeric: true, text: (each) => formatDuration(each.duration_s) },
        { name: "Size", width: "6.5rem", numeric: true, text: (each) => formatBytes(each.bytes) + (each.cut ? ", cut" : "") },
      ],
      onSelect: (each) => each && app.go("replay", each.id),
      empty: () => teach("Nothing is recorded yet", "The terminals of slots are listed here from their start on, whoever uses them, and what was seen in a terminal that was attached to from a console. A file of your own can be opened above: an asciicast, or what “Record” at the top has made of the whole console."),
    });
    this.save = h("button", { type: "button", disabled: true, onclick: () => this.cast && downloadText(`${this.cast.name}.cast`, this.cast.text, "application/x-asciicast") }, "Save as .cast");
    const file = h("input", { type: "file", accept: ".cast,.json", onchange: () => void this.openFile(file) });
    this.element = h(
      "section",
      { class: "view", "aria-label": this.title },
      h("div", { class: "bar" }, h("label", { class: "file" }, "Open a recording", file), this.save, this.status),
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

  private async openFile(input: HTMLInputElement): Promise<void> {
    const file = input.files?.[0];
    if (!file) return;
    const text = await file.text();
    input.value = ""; // the same file can be chosen again
    if (!file.name.endsWith(".json")) return this.play(text, file.name);
    try {
      this.app.play(readSession(text));
    } catch (error) {
      this.status.textContent = `${file.name}: ${(error as Error).message}`;
    }
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
    this.cast = { name, text };
    this.save.disabled = false;
    this.status.textContent = `Space plays and pauses, ← and → go 5 s, [ and ] a frame, < and > change the speed · ${name}`;
    this.replay = makeReplay(text, this.holder);
  }
}
