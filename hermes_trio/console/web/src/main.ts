// The page: a bar, the views, and the address that says which of them is open.
import type { App, View } from "./app";
import { Connection, type LinkState } from "./connection";
import { download, formatBytes, formatCount, h, isTyping, setAttribute, setText } from "./dom";
import { askToken, confirmAction, tell } from "./parts/dialog";
import "./parts/nonce";
import { Scrubber } from "./parts/scrubber";
import type { Welcome } from "./protocol";
import { Player, RECORDED, Recorder, type Session } from "./session";
import { D, Store } from "./store";
import "./style.css";
import { EventsView } from "./views/events";
import { LatencyView } from "./views/latency";
import { ReplayView } from "./views/replay";
import { SlotsView } from "./views/slots";
import { TerminalView } from "./views/terminal";
import { TreeView } from "./views/tree";
import { WaterfallView } from "./views/waterfall";
import { WireView } from "./views/wire";

const DRAW_MS = 250;
const THEMES = ["auto", "dark", "light"] as const;
const PREFERS_LIGHT = matchMedia("(prefers-color-scheme: light)");

class Page implements App {
  private readonly live = new Store();
  /** Of a recording that is shown instead. What is live goes on meanwhile. */
  private played: Store | null = null;
  readonly connection: Connection;
  private readonly views = new Map<string, View>();
  private readonly tabs = new Map<string, HTMLAnchorElement>();
  private readonly link = h("span", { class: "mark", role: "status" });
  private readonly figures = h("span", { class: "figures-bar mono" });
  private readonly traffic = h("span", { class: "muted mono traffic", title: "What this page receives" });
  private readonly area = h("main");
  private readonly bar = h("div", { class: "replay-bar" });
  private readonly record = h("button", { type: "button", class: "quiet", title: "Key r", "aria-pressed": "false", onclick: () => this.toggleRecording() }, "Record");
  private recorder: Recorder | null = null;
  private scrubber: Scrubber | null = null;
  private welcome: Welcome | null = null;
  private current: View | null = null;
  private theme: (typeof THEMES)[number] = "auto";
  private isDirty = false;
  private bytesBefore = 0;
  private measuredAt = performance.now();

  constructor() {
    this.connection = new Connection({
      onState: (state, why) => this.showLink(state, why),
      onWelcome: (welcome) => {
        this.stopRecording(); // another executor's clock may be another
        this.welcome = welcome;
        this.live.welcome(welcome);
        document.title = `${welcome.name} · hermes-trio console`;
        this.route();
      },
      onTick: (tick, chars) => {
        this.live.apply(tick);
        this.recorder?.take(tick, chars);
        this.isDirty = !this.played;
      },
    });
    const make: [string, View][] = [
      ["tree", new TreeView(this)],
      ["slots", new SlotsView(this)],
      ["waterfall", new WaterfallView(this)],
      ["latency", new LatencyView(this)],
      ["wire", new WireView(this)],
      ["terminal", new TerminalView(this)],
      ["events", new EventsView(this)],
      ["replay", new ReplayView(this)],
    ];
    for (const [name, view] of make) this.views.set(name, view);
    this.showTheme();
    PREFERS_LIGHT.addEventListener("change", () => this.showTheme());
    document.body.append(this.header(), this.area, this.bar);
    addEventListener("hashchange", () => this.route());
    addEventListener("keydown", (event) => this.onKey(event));
    setInterval(() => this.tick(), DRAW_MS);
    this.route();
    this.connection.open();
  }

  get store(): Store {
    return this.played ?? this.live;
  }

  go(view: string, argument = "", query: Record<string, string> = {}): void {
    location.hash = address(view, argument, query);
  }

  note(query: Record<string, string>): void {
    const { view, argument } = parse(location.hash);
    history.replaceState(null, "", `#${address(view, argument, query)}`);
  }

  async cancelCall(number: number, what: string): Promise<void> {
    if (await confirmAction(`Cancel ${what}?`, "Everything it started is killed, and its caller is told that it was cancelled.", "Cancel the call"))
      await this.act("cancel_call", { call: number }, `${what} is being cancelled`);
  }

  async cancelTrajectory(id: string): Promise<void> {
    if (await confirmAction(`Cancel trajectory ${id}?`, "Its calls are killed and its slot is wiped and given back. What the agent made there is lost.", "Cancel the trajectory"))
      await this.act("cancel_trajectory", { trajectory: id }, `${id} was cancelled`);
  }

  async drain(daemon: string): Promise<void> {
    const leased = this.store.daemons.get(daemon)?.[D.leased] ?? 0;
    if (await confirmAction(`Drain daemon ${daemon}?`, `It gets no new trajectories from this executor. The ${leased} slots that are leased there stay until they are given back.`, "Drain the daemon"))
      await this.act("drain", { daemon }, `${daemon} is draining`);
  }

  play(session: Session): void {
    this.stopRecording();
    this.played = new Store();
    const player = new Player(session, this.played);
    this.scrubber = new Scrubber(player, { changed: () => this.current?.draw(), leave: () => this.showLive() });
    this.bar.replaceChildren(this.scrubber.element);
    document.body.classList.add("replaying");
    this.go("tree");
    void player.goTo(player.from).then(() => this.current?.draw());
  }

  private showLive(): void {
    this.scrubber = this.played = null;
    this.bar.replaceChildren();
    document.body.classList.remove("replaying");
    this.current?.draw();
  }

  private toggleRecording(): void {
    if (this.recorder) this.play(this.recorder.session());
    else if (this.welcome && !this.played) {
      this.recorder = new Recorder(this.welcome, this.live.present());
      setText(this.record, "Stop recording");
      this.record.setAttribute("aria-pressed", "true");
      this.subscribe();
    }
  }

  private stopRecording(): void {
    if (!this.recorder) return;
    this.recorder = null;
    setText(this.record, "Record");
    this.record.setAttribute("aria-pressed", "false");
    this.subscribe();
  }

  private subscribe(): void {
    const view = this.current!;
    const sections = this.recorder ? [...new Set([...view.sections, ...RECORDED])] : view.sections;
    this.connection.subscribe({ sections, trajectory: view.trajectory?.() ?? null });
  }

  private async act(name: string, args: Record<string, unknown>, done: string): Promise<void> {
    try {
      if (this.played) throw new Error("This is a recording: nothing can be done in it.");
      await this.connection.command(name, args);
      tell(done);
    } catch (error) {
      tell((error as Error).message, "bad");
    }
  }

  private header(): HTMLElement {
    const nav = h("nav", { "aria-label": "Views" });
    let n = 0;
    for (const [name, view] of this.views) {
      const tab = h("a", { href: `#/${name}`, title: `Key ${++n}`, "data-title": view.title }, view.title);
      this.tabs.set(name, tab);
      nav.append(tab);
    }
    const theme = h("button", { type: "button", class: "quiet", title: "Key t", onclick: () => this.nextTheme(theme) }, "Theme: auto");
    const save = h("button", { type: "button", class: "quiet", title: "Key e", onclick: () => this.export() }, "Export JSON");
    const keys = h("button", { type: "button", class: "quiet", title: "Key ?", onclick: () => this.showKeys() }, "Keys");
    return h(
      "header",
      { class: "top" },
      h("div", { class: "top-line" }, h("h1", {}, "hermes-trio"), this.link, this.figures, this.traffic, h("span", { class: "top-actions" }, this.record, save, theme, keys)),
      nav,
    );
  }

  private route(): void {
    const { view: name, argument, query } = parse(location.hash);
    const view = this.views.get(name) ?? this.views.get("tree")!;
    if (view !== this.current) {
      this.current?.close?.();
      this.current = view;
      this.area.replaceChildren(view.element);
    }
    for (const [other, tab] of this.tabs) setAttribute(tab, "aria-current", this.views.get(other) === view ? "page" : null);
    view.open?.(argument, query);
    this.subscribe();
    view.draw();
  }

  private tick(): void {
    this.scrubber?.tick();
    this.current?.draw();
    if (this.isDirty || this.played) this.drawFigures();
    this.isDirty = false;
    const now = performance.now();
    if (now - this.measuredAt < 2000) return;
    const received = this.connection.bytesReceived;
    const rate = ((received - this.bytesBefore) / (now - this.measuredAt)) * 1000;
    this.bytesBefore = received;
    this.measuredAt = now;
    setText(this.traffic, rate >= 0 ? `${formatBytes(rate)}/s` : "");
  }

  private drawFigures(): void {
    const { counters, history } = this.store.figures;
    const last = history.at(-1);
    let slots = 0;
    let leased = 0;
    for (const daemon of this.store.daemons.values()) {
      slots += daemon[D.state] === "down" ? 0 : daemon[D.slots];
      leased += daemon[D.leased];
    }
    const parts = [`${formatCount(counters.trajectories ?? 0)} trajectories`, `${formatCount(counters.calls_under_way ?? 0)} calls under way`];
    if (last) parts.push(`${formatCount(Math.round(last[1]!))} calls/s`);
    if (slots) parts.push(`${leased}/${slots} slots leased`);
    setText(this.figures, parts.join("  ·  "));
  }

  private showLink(state: LinkState, why: string): void {
    const tones: Record<LinkState, string> = { connecting: "wait", "needs token": "wait", live: "good", lost: "bad" };
    this.link.dataset.tone = tones[state];
    setText(this.link, state === "lost" ? `lost, trying again${why ? `: ${why}` : ""}` : state);
    document.body.classList.toggle("stale", state !== "live");
    if (state === "needs token") askToken(why, (token) => this.connection.useToken(token));
  }

  private nextTheme(button: HTMLElement): void {
    this.theme = THEMES[(THEMES.indexOf(this.theme) + 1) % THEMES.length]!;
    this.showTheme();
    setText(button, `Theme: ${this.theme}`);
  }

  private showTheme(): void {
    const auto = PREFERS_LIGHT.matches ? "light" : "dark";
    document.documentElement.dataset.theme = this.theme === "auto" ? auto : this.theme;
  }

  private export(): void {
    const name = parse(location.hash).view || "tree";
    download(`hermes-trio-${name}-${new Date().toISOString().replaceAll(":", "-")}.json`, {
      exported_at: new Date().toISOString(),
      address: location.href,
      view: name,
      data: this.current?.exported(),
    });
  }

  private showKeys(): void {
    const rows: [string, string][] = [
      ["1 to 8", "go to a view"],
      ["/", "filter"],
      ["↑ ↓ Page Home End", "move in a list"],
      ["→ ←", "open, close a row of the tree"],
      ["Enter", "show the calls of the row's trajectory by phase"],
      ["e", "export what is shown as JSON"],
      ["r", "record what is alive; once more: stop, and play it"],
      ["t", "dark, light, or as the system"],
      ["?", "these keys"],
    ];
    const list = h("dl", { class: "keys" });
    for (const [key, what] of rows) list.append(h("dt", {}, h("kbd", {}, key)), h("dd", {}, what));
    const dialog = h("dialog", { "aria-label": "Keys", onclose: () => dialog.remove() }, h("form", { method: "dialog" }, h("h2", {}, "Keys"), list, h("div", { class: "actions" }, h("button", { autofocus: true }, "Close"))));
    document.body.append(dialog);
    dialog.showModal();
  }

  private onKey(event: KeyboardEvent): void {
    if (event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target)) return;
    const names = [...this.views.keys()];
    const number = Number(event.key);
    if (number >= 1 && number <= names.length) {
      this.go(names[number - 1]!);
      requestAnimationFrame(() => this.current?.focus?.());
    } else if (event.key === "/") this.current?.element.querySelector<HTMLInputElement>("input")?.focus();
    else if (event.key === "e") this.export();
    else if (event.key === "r") this.toggleRecording();
    else if (event.key === "t") document.querySelector<HTMLElement>("[title='Key t']")?.click();
    else if (event.key === "?") this.showKeys();
    else return;
    event.preventDefault();
  }
}

function parse(hash: string): { view: string; argument: string; query: URLSearchParams } {
  const [path = "", query = ""] = hash.replace(/^#\/?/, "").split("?");
  const [view = "", argument = ""] = path.split("/");
  return { view: view || "tree", argument: decodeURIComponent(argument), query: new URLSearchParams(query) };
}

function address(view: string, argument: string, query: Record<string, string>): string {
  const told = new URLSearchParams(Object.entries(query).filter(([, value]) => value));
  return `/${view}${argument ? `/${encodeURIComponent(argument)}` : ""}${told.size ? `?${told}` : ""}`;
}

new Page();
