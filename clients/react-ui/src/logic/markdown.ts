/**
 * Reads the formatting of messages: a safe subset of CommonMark with bold, italic, struck-through text, code, lists,
 * quotes and links. HTML, headings and tables are shown as plain text, and images as links. This module and its library
 * are loaded only when a message has formatting.
 */
import { Marked, type Token, type Tokens } from "marked";

/** A part of a line. A line break is the text "\n". */
export type Inline =
  | { readonly type: "text" | "code"; readonly text: string }
  | { readonly type: "strong" | "em" | "del"; readonly children: readonly Inline[] }
  | { readonly type: "link"; readonly href: string; readonly children: readonly Inline[] };

/** A paragraph, a code block, a quote or a list. */
export type Block =
  | { readonly type: "paragraph"; readonly children: readonly Inline[] }
  | { readonly type: "code"; readonly text: string }
  | { readonly type: "quote"; readonly children: readonly Block[] }
  | {
      readonly type: "list";
      readonly start: number | undefined;
      readonly items: readonly (readonly Block[])[];
    };

/** The most levels of nested quotes and lists. Deeper levels are shown as text. */
const MAX_DEPTH = 6;
/** The protocols of links. A link with another protocol, such as `javascript:`, is shown as text. */
const SAFE_PROTOCOLS = ["http:", "https:", "mailto:"];

const DISABLED_TOKENIZERS = [
  "heading",
  "lheading",
  "table",
  "html",
  "tag",
  "hr",
  "def",
  "code",
  "reflink",
] as const;
/** A tokenizer that recognizes nothing. */
const noToken = () => undefined;
const marked = new Marked({
  gfm: true,
  breaks: true,
  tokenizer: Object.fromEntries(DISABLED_TOKENIZERS.map((name) => [name, noToken])),
});

/** Parses the text of a message. */
export function parseMarkdown(text: string): readonly Block[] {
  try {
    return toBlocks(marked.lexer(text), 0);
  } catch {
    // The library calls itself for each level, so thousands of nested quotes exhaust the stack.
    return [{ type: "paragraph", children: [{ type: "text", text }] }];
  }
}

function toBlocks(tokens: readonly Token[], depth: number): Block[] {
  return tokens.flatMap((token): Block[] => {
    const paragraph = (children: readonly Inline[]): Block[] => [{ type: "paragraph", children }];
    if (token.type === "space" || token.type === "checkbox") return [];
    if (depth < MAX_DEPTH) {
      if (token.type === "blockquote") {
        return [{ type: "quote", children: toBlocks((token as Tokens.Blockquote).tokens, depth + 1) }];
      }
      if (token.type === "list") {
        const { ordered, start, items } = token as Tokens.List;
        return [
          {
            type: "list",
            start: ordered ? Number(start) : undefined,
            items: items.map((item) => itemBlocks(item, depth + 1)),
          },
        ];
      }
    }
    if (token.type === "code") return [{ type: "code", text: (token as Tokens.Code).text }];
    const { tokens: inner } = token as Tokens.Paragraph;
    if (inner === undefined || token.type === "blockquote") return paragraph([toPlainText(token)]);
    return paragraph(toInlines(inner));
  });
}

function itemBlocks(item: Tokens.ListItem, depth: number): Block[] {
  const blocks = toBlocks(item.tokens, depth);
  const [first] = blocks;
  if (!item.task || first?.type !== "paragraph") return blocks;
  const box: Inline = { type: "text", text: item.checked ? "\u2611 " : "\u2610 " };
  return [{ ...first, children: [box, ...first.children] }, ...blocks.slice(1)];
}

const toPlainText = (token: Token): Inline => ({ type: "text", text: token.raw });

function toInlines(tokens: readonly Token[]): Inline[] {
  return tokens.map((token): Inline => {
    switch (token.type) {
      case "strong":
      case "em":
        return { type: token.type, children: toInlines(token.tokens ?? []) };
      case "del":
        // One tilde means "about", as in "~5 minutes".
        if (!token.raw.startsWith("~~")) return toPlainText(token);
        return { type: "del", children: toInlines(token.tokens ?? []) };
      case "codespan":
        return { type: "code", text: token.text };
      case "escape":
        return { type: "text", text: token.text };
      case "br":
        return { type: "text", text: "\n" };
      case "link":
        if (!isSafe(token.href)) return toPlainText(token);
        return { type: "link", href: token.href, children: toInlines(token.tokens ?? []) };
      case "image":
        // Shows only a link, because loading an image would tell the other site who reads the message.
        if (!isSafe(token.href)) return toPlainText(token);
        return {
          type: "link",
          href: token.href,
          children: [{ type: "text", text: token.text || token.href }],
        };
      case "text":
        return token.tokens ? { type: "text", text: token.raw } : { type: "text", text: token.text };
      default:
        return toPlainText(token);
    }
  });
}

function isSafe(href: string): boolean {
  return URL.canParse(href) && SAFE_PROTOCOLS.includes(new URL(href).protocol);
}
