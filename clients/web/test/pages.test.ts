import { describe, expect, it, vi } from "vitest";
import { type Page, type Paged, pager } from "../src/logic/pages.ts";

/** What is shown, and pages that come when they are told to. */
function shown() {
  let now: Paged<string> = { page: undefined, busy: false, error: undefined };
  const pages = () => {
    const waiting: { answer: (page: Page<string>) => void; fail: (error: Error) => void }[] = [];
    const ask = vi.fn(
      (_cursor: string | undefined) =>
        new Promise<Page<string>>((answer, fail) => waiting.push({ answer, fail })),
    );
    const made = pager(ask, (change) => {
      now = change(now);
    });
    const settled = async (settle: (one: (typeof waiting)[number] | undefined) => void) => {
      settle(waiting.shift());
      await new Promise((done) => setTimeout(done));
    };
    return {
      ...made,
      ask,
      answer: (items: string[], next: string | null = null) => settled((one) => one?.answer({ items, next })),
      fail: () => settled((one) => one?.fail(new Error("no"))),
    };
  };
  return { pages, now: () => now };
}

describe("pages", () => {
  it("are shown one behind the other, up to the last", async () => {
    const { pages, now } = shown();
    const tea = pages();
    void tea.more();
    expect(now()).toMatchObject({ page: undefined, busy: true });
    await tea.answer(["a", "b"], "2");
    expect(now()).toMatchObject({ page: { items: ["a", "b"], next: "2" }, busy: false });
    void tea.more();
    await tea.answer(["c"]);
    expect(now()).toMatchObject({ page: { items: ["a", "b", "c"], next: null }, busy: false });
    void tea.more();
    expect(tea.ask.mock.calls).toEqual([[undefined], ["2"]]);
  });

  it("of what is not sought any more change nothing, however late they come", async () => {
    const { pages, now } = shown();
    const tea = pages();
    void tea.more();
    await tea.answer(["tea"], "2");
    void tea.more();
    tea.end();
    const coffee = pages();
    void coffee.more();
    await coffee.answer(["coffee"], "2");
    await tea.answer(["more tea"]);
    expect(now()).toEqual({ page: { items: ["coffee"], next: "2" }, busy: false, error: undefined });
    void coffee.more();
    await coffee.answer(["more coffee"]);
    expect(now().page?.items).toEqual(["coffee", "more coffee"]);
  });

  it("are asked for once where the button is pressed twice", async () => {
    const { pages, now } = shown();
    const tea = pages();
    void tea.more();
    await tea.answer(["a"], "2");
    void tea.more();
    void tea.more();
    await tea.answer(["b"], "3");
    expect(tea.ask).toHaveBeenCalledTimes(2);
    expect(now().page?.items).toEqual(["a", "b"]);
  });

  it("that fail are said, and may be asked for again", async () => {
    const { pages, now } = shown();
    const tea = pages();
    void tea.more();
    await tea.fail();
    expect(now()).toMatchObject({ page: undefined, busy: false });
    expect(now().error).toEqual(expect.any(String));
    void tea.more();
    await tea.answer(["a"]);
    expect(now()).toEqual({ page: { items: ["a"], next: null }, busy: false, error: undefined });
  });
});
