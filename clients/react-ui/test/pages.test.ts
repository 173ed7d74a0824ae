import { describe, expect, it, vi } from "vitest";
import { createPager, type Page, type PagedState } from "../src/logic/pages.js";

/** The shown state, and pagers whose pages arrive when the test decides. `tea` already fetches its first page. */
function createState() {
  let now: PagedState<string> = { page: undefined, busy: false, error: undefined };
  const pages = () => {
    const pendingFetches: { answer: (page: Page<string>) => void; fail: (error: Error) => void }[] = [];
    const fetchPage = vi.fn(
      (_cursor: string | undefined) =>
        new Promise<Page<string>>((answer, fail) => pendingFetches.push({ answer, fail })),
    );
    const pager = createPager(fetchPage, (change) => {
      now = change(now);
    });
    const settleNext = async (settle: (one: (typeof pendingFetches)[number] | undefined) => void) => {
      settle(pendingFetches.shift());
      await new Promise((done) => setTimeout(done));
    };
    return {
      ...pager,
      fetchPage,
      answer: (items: string[], next: string | null = null) =>
        settleNext((one) => one?.answer({ items, next })),
      fail: () => settleNext((one) => one?.fail(new Error("no"))),
    };
  };
  const tea = pages();
  void tea.more();
  return { pages, now: () => now, tea };
}

describe("pages", () => {
  it("are appended until the last one", async () => {
    const { now, tea } = createState();
    expect(now()).toMatchObject({ page: undefined, busy: true });
    await tea.answer(["a", "b"], "2");
    expect(now()).toMatchObject({ page: { items: ["a", "b"], next: "2" }, busy: false });
    void tea.more();
    await tea.answer(["c"]);
    expect(now()).toMatchObject({ page: { items: ["a", "b", "c"], next: null }, busy: false });
    void tea.more();
    expect(tea.fetchPage.mock.calls).toEqual([[undefined], ["2"]]);
  });

  it("of a replaced query change nothing when they arrive late", async () => {
    const { pages, now, tea } = createState();
    await tea.answer(["tea"], "2");
    void tea.more();
    tea.cancel();
    const coffee = pages();
    void coffee.more();
    await coffee.answer(["coffee"], "2");
    await tea.answer(["more tea"]);
    expect(now()).toEqual({ page: { items: ["coffee"], next: "2" }, busy: false, error: undefined });
    void coffee.more();
    await coffee.answer(["more coffee"]);
    expect(now().page?.items).toEqual(["coffee", "more coffee"]);
  });

  it("are fetched once when the button is pressed twice", async () => {
    const { now, tea } = createState();
    await tea.answer(["a"], "2");
    void tea.more();
    void tea.more();
    await tea.answer(["b"], "3");
    expect(tea.fetchPage).toHaveBeenCalledTimes(2);
    expect(now().page?.items).toEqual(["a", "b"]);
  });

  it("of a replaced query do not stay when the next query fails", async () => {
    const { pages, now, tea } = createState();
    await tea.answer(["tea"], "2");
    tea.cancel();
    const coffee = pages();
    void coffee.more();
    expect(now().page?.items).toEqual(["tea"]);
    await coffee.fail();
    expect(now()).toEqual({ page: undefined, busy: false, error: expect.any(String) });
  });

  it("stay when a further page of their query fails", async () => {
    const { now, tea } = createState();
    await tea.answer(["tea"], "2");
    void tea.more();
    await tea.fail();
    expect(now()).toMatchObject({ page: { items: ["tea"], next: "2" }, error: expect.any(String) });
  });

  it("show an error when they fail, and can be fetched again", async () => {
    const { now, tea } = createState();
    await tea.fail();
    expect(now()).toMatchObject({ page: undefined, busy: false });
    expect(now().error).toEqual(expect.any(String));
    void tea.more();
    await tea.answer(["a"]);
    expect(now()).toEqual({ page: { items: ["a"], next: null }, busy: false, error: undefined });
  });
});
