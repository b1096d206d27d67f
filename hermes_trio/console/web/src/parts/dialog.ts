// Questions to the person: the token, and whether something is really to be done.
import { h } from "../dom";

/** Asks before something that cannot be taken back. */
export function confirmAction(title: string, text: string, verb: string): Promise<boolean> {
  return new Promise((resolve) => {
    const dialog = h(
      "dialog",
      { "aria-labelledby": "confirm-title" },
      h(
        "form",
        { method: "dialog" },
        h("h2", { id: "confirm-title" }, title),
        h("p", {}, text),
        h("p", { class: "muted" }, "It is written to the executor's audit log."),
        h(
          "div",
          { class: "actions" },
          h("button", { value: "no", autofocus: true }, "Keep it"),
          h("button", { value: "yes", class: "danger" }, verb),
        ),
      ),
    );
    dialog.addEventListener("close", () => {
      resolve(dialog.returnValue === "yes");
      dialog.remove();
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}

/** Asks for the executor's token; it goes to `use` and is kept in memory only. */
export function askToken(why: string, use: (token: string) => void): void {
  document.querySelector("dialog.token")?.remove();
  const input = h("input", {
    type: "password",
    name: "token",
    autocomplete: "off",
    spellcheck: "false",
    "aria-describedby": "token-why",
    required: true,
  });
  const form = h(
    "form",
    {
      method: "dialog",
      onsubmit: () => {
        dialog.remove();
        use(input.value);
      },
    },
    h("h2", { id: "token-title" }, "This executor wants a token"),
    h("p", { id: "token-why", class: why ? "wrong" : "muted" }, why || "It is kept in this page's memory only, and asked for again after a reload."),
    h("label", {}, "Token", input),
    h("div", { class: "actions" }, h("button", { class: "primary" }, "Connect")),
  );
  const dialog = h("dialog", { class: "token", "aria-labelledby": "token-title", oncancel: (event: Event) => event.preventDefault() }, form);
  document.body.append(dialog);
  dialog.showModal();
  input.focus();
}

/** Says something for a few seconds, to screen readers too. */
export function tell(text: string, tone: "good" | "bad" = "good"): void {
  const area = document.querySelector(".tellings") ?? document.body.appendChild(h("div", { class: "tellings", role: "status" }));
  const line = h("div", { class: "telling", "data-tone": tone }, text);
  area.append(line);
  setTimeout(() => line.remove(), 6000);
}
