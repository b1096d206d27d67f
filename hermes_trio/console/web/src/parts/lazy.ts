// Parts that are large and seldom looked at: fetched when they are, with their style sheet.
import type * as chart from "./chart";
import type * as player from "./player";
import type * as terminal from "./terminal";
import { h } from "../dom";

interface Parts {
  chart: typeof chart;
  player: typeof player;
  terminal: typeof terminal;
}

const loaders: { [N in keyof Parts]: () => Promise<Parts[N]> } = {
  chart: () => import("./chart"),
  player: () => import("./player"),
  terminal: () => import("./terminal"),
};
const styled = new Set<string>();

export async function load<N extends keyof Parts>(name: N): Promise<Parts[N]> {
  if (!styled.has(name)) {
    styled.add(name);
    const link = h("link", { rel: "stylesheet", href: `console/${name}.css` });
    await new Promise((resolve) => {
      link.addEventListener("load", resolve);
      link.addEventListener("error", resolve);
      document.head.append(link);
    });
  }
  return loaders[name]();
}
