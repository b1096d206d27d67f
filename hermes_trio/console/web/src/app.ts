// What a view is given, and what it has to be.
import type { Connection } from "./connection";
import type { Section } from "./protocol";
import type { Session } from "./session";
import type { Store } from "./store";

export interface App {
  store: Store;
  connection: Connection;
  /** Goes to a place that has an address of its own. */
  go(view: string, argument?: string, query?: Record<string, string>): void;
  /** Changes the address without going anywhere: what is seen now can be linked to. */
  note(query: Record<string, string>): void;
  cancelCall(number: number, what: string): Promise<void>;
  cancelTrajectory(id: string): Promise<void>;
  drain(daemon: string): Promise<void>;
  /** Shows a recorded state in place of what is live. */
  play(session: Session): void;
}

export interface View {
  /** The tab's word. */
  readonly title: string;
  readonly element: HTMLElement;
  /** Which parts of the state the view needs from the server while it is open. */
  readonly sections: Section[];
  /** The trajectory whose calls it needs. */
  trajectory?(): string | null;
  /** It has come into view, with what its address says. */
  open?(argument: string, query: URLSearchParams): void;
  close?(): void;
  /** Something has changed, or a quarter of a second has passed. */
  draw(): void;
  /** What "Export" saves. */
  exported(): unknown;
  focus?(): void;
}
