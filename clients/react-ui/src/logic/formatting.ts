import type { Block } from "./markdown.js";

/** Matches characters and beginnings of lines that may be formatting. */
const FORMATTING = /[*_~`[\\<]|^ {0,3}(>|[-+] |\d{1,9}[.)] )/m;

/** Whether a text may have formatting. Most messages have no formatting and need no parser. */
export const mayBeFormatted = (text: string): boolean => FORMATTING.test(text);

type Parser = (text: string) => readonly Block[];

/** Creates a store of the parser, which is loaded at its first use. Until then texts are shown plainly. */
export function createParserStore(load: () => Promise<{ parseMarkdown: Parser }>) {
  const listeners = new Set<() => void>();
  let parse: Parser | undefined;
  let loading = false;
  return {
    get: () => parse,
    subscribe: (listener: () => void) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    load: () => {
      if (loading) return;
      loading = true;
      load().then(
        ({ parseMarkdown }) => {
          parse = parseMarkdown;
          for (const listener of listeners) listener();
        },
        () => {
          // The next message with formatting loads the parser again.
          loading = false;
        },
      );
    },
  };
}

/** The parser of this page. */
export const parserStore = createParserStore(() => import("./markdown.js"));
