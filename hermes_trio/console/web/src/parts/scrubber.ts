// The bar under which a recorded state is played: it stands below the views, which show that state as if it were now.
import { downloadText, formatAge, h, setText } from "../dom";
import type { Player } from "../session";

const SPEEDS = [1, 4, 16, 64];

export class Scrubber {
  readonly element: HTMLElement;
  private readonly moment: HTMLInputElement;
  private readonly toggle: HTMLButtonElement;
  private readonly time = h("span", { class: "mono" });
  private drawnAt = performance.now();

  constructor(private readonly player: Player, private readonly app: { changed(): void; leave(): void }) {
    const { from, until } = player;
    this.moment = h("input", { type: "range", min: 0, max: Math.max(until - from, 0.001), step: "any", value: 0, "aria-label": "Moment of the recording", oninput: () => void this.goTo(from + Number(this.moment.value)) });
    this.toggle = h("button", { type: "button", onclick: () => this.run(!player.isRunning) }, "Play");
    const speed = h("select", { "aria-label": "Speed", onchange: () => (player.speed = Number(speed.value)) }, ...SPEEDS.map((each) => h("option", { value: each }, `${each} ×`)));
    const save = h("button", { type: "button", onclick: () => downloadText("hermes-trio-session.json", JSON.stringify(player.session), "application/json") }, "Save the recording");
    const leave = h("button", { type: "button", class: "primary", onclick: () => app.leave() }, "Back to what is live");
    this.element = h("div", { class: "bar scrubber", role: "group", "aria-label": "Recorded state" }, this.toggle, this.moment, this.time, speed, save, leave);
    this.draw();
  }

  /** A quarter of a second has passed, or so. */
  tick(): void {
    const passed = (performance.now() - this.drawnAt) / 1000;
    this.drawnAt = performance.now();
    if (!this.player.isRunning) return;
    if (this.player.at >= this.player.until) this.run(false);
    else void this.goTo(this.player.at + passed * this.player.speed);
  }

  private run(isRunning: boolean): void {
    const { player } = this;
    if (isRunning && player.at >= player.until) void this.goTo(player.from);
    player.isRunning = isRunning;
    this.draw();
  }

  private async goTo(at: number): Promise<void> {
    this.element.setAttribute("aria-busy", "true");
    if (!(await this.player.goTo(at))) return;
    this.app.changed();
    this.draw();
    this.element.setAttribute("aria-busy", "false");
  }

  private draw(): void {
    const { player } = this;
    this.moment.value = String(player.at - player.from);
    this.moment.setAttribute("aria-valuetext", `${formatAge(player.at - player.from)} of ${formatAge(player.until - player.from)}`);
    setText(this.time, `${formatAge(player.at - player.from)} of ${formatAge(player.until - player.from)}`);
    setText(this.toggle, player.isRunning ? "Pause" : "Play");
  }
}
