import { describe, expect, it } from "vitest";
import { createParserStore, mayBeFormatted } from "../src/logic/formatting.js";
import { type Block, type Inline, parseMarkdown } from "../src/logic/markdown.js";

/** Writes blocks as short text with tags, so that expectations are easy to read. */
const toTags = (blocks: readonly Block[]): string =>
  blocks
    .map((block) => {
      if (block.type === "paragraph") return `<p>${inlineToTags(block.children)}`;
      if (block.type === "code") return `<pre>${block.text}`;
      if (block.type === "quote") return `<quote>${toTags(block.children)}</quote>`;
      return `<list ${block.start}>${block.items.map((item) => `<li>${toTags(item)}`).join("")}</list>`;
    })
    .join("");
const inlineToTags = (parts: readonly Inline[]): string =>
  parts
    .map((part) => {
      if (!("children" in part)) return part.type === "code" ? `<code>${part.text}</code>` : part.text;
      const open = part.type === "link" ? `a ${part.href}` : part.type;
      return `<${open}>${inlineToTags(part.children)}</>`;
    })
    .join("");
const parseToTags = (text: string) => toTags(parseMarkdown(text));

describe("the formatting of messages", () => {
  it("has bold, italic, struck-through text and code", () => {
    expect(parseToTags("**bold** _it_ ~~gone~~ `a < b`")).toBe(
      "<p><strong>bold</> <em>it</> <del>gone</> <code>a < b</code>",
    );
    expect(parseToTags("snake_case_name, 2*3*4 = 24? ~5 min~")).toBe(
      "<p>snake_case_name, 2<em>3</>4 = 24? ~5 min~",
    );
    expect(parseToTags("\\*not bold\\*")).toBe("<p>*not bold*");
  });

  it("has code blocks, quotes and lists", () => {
    expect(parseToTags("```js\nlet x = 1 < 2;\n```")).toBe("<pre>let x = 1 < 2;");
    expect(parseToTags("> two\n> lines\n\nanswer")).toBe("<quote><p>two\nlines</quote><p>answer");
    expect(parseToTags("- one\n- two\n  1. three")).toBe(
      "<list undefined><li><p>one<li><p>two<list 1><li><p>three</list></list>",
    );
    expect(parseToTags("- [x] done\n- [ ] open")).toBe("<list undefined><li><p>☑ done<li><p>☐ open</list>");
  });

  it("keeps each line of a paragraph", () => {
    expect(parseToTags("**one**\ntwo")).toBe("<p><strong>one</>\ntwo");
  });

  it("links only to web pages and mail addresses", () => {
    expect(parseToTags("[x](https://a.example/) www.b.example, https://c.example/d_e_f. m@d.example")).toBe(
      "<p><a https://a.example/>x</> <a http://www.b.example>www.b.example</>, " +
        "<a https://c.example/d_e_f>https://c.example/d_e_f</>. <a mailto:m@d.example>m@d.example</>",
    );
    for (const href of [
      "javascript:alert(1)",
      "JaVaScRiPt:alert(1)",
      "data:text/html,x",
      "vbscript:x",
      "//x",
      "x",
    ]) {
      expect(parseToTags(`[x](${href})`)).toBe(`<p>[x](${href})`);
    }
    expect(parseToTags("![cat](https://a.example/cat.png)")).toBe("<p><a https://a.example/cat.png>cat</>");
  });

  it("leaves HTML, headings, tables and rules as text", () => {
    for (const text of [
      "<script>alert(1)</script> *",
      "<img src=x onerror=alert(1)>",
      "# heading",
      "a &amp; b",
      "|a|b|\n|-|-|\n|1|2|",
      "heading\n===",
      "---",
      "    indented",
    ]) {
      expect(parseToTags(text).replace(/<\/?em>/g, "")).toBe(`<p>${text}`);
    }
  });

  it("keeps deep nesting as text, and parses hostile texts quickly", () => {
    expect(parseToTags(`${">".repeat(40)} deep`)).toContain("deep");
    const startedAt = Date.now();
    for (const hostile of [">", "[", "*a_", "- ", "`", "**", "<a", "![", "~~"])
      parseMarkdown(hostile.repeat(2000));
    expect(Date.now() - startedAt).toBeLessThan(10_000);
  });
});

describe("the parser", () => {
  it("is wanted only for texts that may have formatting", () => {
    const formatted = ["*a*", "`a`", "> a", "hi\n- a", "1. a", "[a](b)"];
    expect(formatted.filter(mayBeFormatted)).toEqual(formatted);
    const plain = ["Hello, world!", "a - b", "1.5 kg > 1 kg", "www.example.org", "well-known"];
    expect(plain.filter(mayBeFormatted)).toEqual([]);
  });

  it("is loaded once, and again after a failed load", async () => {
    let loads = 0;
    const store = createParserStore(async () => {
      loads += 1;
      if (loads === 1) throw new Error("offline");
      return { parseMarkdown };
    });
    let changes = 0;
    store.subscribe(() => {
      changes += 1;
    });
    store.load();
    await new Promise((done) => setTimeout(done));
    expect(store.get()).toBeUndefined();
    store.load();
    store.load();
    await new Promise((done) => setTimeout(done));
    expect(store.get()).toBe(parseMarkdown);
    expect([loads, changes]).toEqual([2, 1]);
  });
});
