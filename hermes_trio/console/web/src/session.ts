// A recording of the live state itself: the messages as they came, and a player that goes to any moment of them.
import type { Section, Tick, Welcome } from "./protocol";
import type { Store } from "./store";

/** What is recorded, whatever is looked at meanwhile. */
export const RECORDED: Section[] = ["trajectories", "slots", "figures", "events"];
const KIND = "hermes-trio session";
const MAX_CHARS = 48 * 1024 * 1024;
/** Of work at once, when the player goes far. */
const SLICE_MS = 15;

export interface Session {
  kind: typeof KIND;
  version: 1;
  welcome: Welcome;
  ticks: Tick[];
}

export class Recorder {
  /** It is full: what comes now is left out. */
  isFull = false;
  private chars = 0;
  private readonly ticks: Tick[] = [];

  constructor(private readonly welcome: Welcome, present: Tick) {
    this.ticks.push(present);
  }

  take(tick: Tick, chars: number): void {
    this.isFull ||= this.chars + chars > MAX_CHARS;
    if (this.isFull) return;
    this.chars += chars;
    this.ticks.push(tick);
  }

  session(): Session {
    return { kind: KIND, version: 1, welcome: this.welcome, ticks: this.ticks };
  }
}

/** A file of somebody's own. Throws what is wrong with it. */
export function readSession(text: string): Session {
  const session = JSON.parse(text) as Session;
  if (session?.kind !== KIND || session.version !== 1) throw new Error("It is no recording of a console.");
  const areTicks = Array.isArray(session.ticks) && session.ticks.length > 0 && session.ticks.every((tick) => typeof tick?.now === "number");
  if (!areTicks || typeof session.welcome?.now !== "number" || typeof session.welcome.wall !== "number") throw new Error("The recording is damaged.");
  return session;
}

export class Player {
  readonly from: number;
  readonly until: number;
  at: number;
  isRunning = false;
  speed = 1;
  private next = 0;
  private turn = 0;

  constructor(readonly session: Session, private readonly store: Store) {
    this.from = this.at = session.ticks[0]!.now;
    this.until = session.ticks.at(-1)!.now;
    this.begin();
  }

  /** Shows a moment: from what is shown on, or from the beginning when it lies behind. In slices.
   *  False: another moment was asked for meanwhile. */
  async goTo(at: number): Promise<boolean> {
    const turn = ++this.turn;
    if (at < this.at) this.begin();
    this.at = Math.min(Math.max(at, this.from), this.until);
    const { ticks } = this.session;
    let sliceEnds = performance.now() + SLICE_MS;
    while (this.next < ticks.length && ticks[this.next]!.now <= this.at) {
      this.store.apply(ticks[this.next++]!);
      if (performance.now() < sliceEnds) continue;
      await new Promise((resolve) => setTimeout(resolve));
      if (turn !== this.turn) return false;
      sliceEnds = performance.now() + SLICE_MS;
    }
    this.store.standAt(this.at);
    return true;
  }

  private begin(): void {
    this.next = 0;
    // Nothing can be asked of a recording.
    this.store.welcome({ ...this.session.welcome, features: [] });
  }
}
