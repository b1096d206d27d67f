// The page's policy allows only style elements that carry the nonce of this load, and xterm.js makes its own:
// each gets the nonce when it is made. Nothing else is changed.
const nonce = document.querySelector<HTMLMetaElement>("meta[name=style-nonce]")?.content ?? "";
const create = document.createElement.bind(document);

document.createElement = ((tag: string, options?: ElementCreationOptions): HTMLElement => {
  const element = create(tag, options);
  if (element instanceof HTMLStyleElement) element.nonce = nonce;
  return element;
}) as typeof document.createElement;

export {};
