// @vitest-environment jsdom
import { act, cleanup, render, screen, waitFor, within } from "@testing-library/react";
import { afterEach, expect, test, vi } from "vitest";
import { Examples } from "../src/examples/Examples.tsx";
import { examples } from "../src/examples/list.ts";

/** An observer that observes nothing, because the pages of jsdom have no layout. */
class IdleObserver {
  observe(): void {}
  unobserve(): void {}
  disconnect(): void {}
}

vi.stubGlobal("ResizeObserver", IdleObserver);
vi.stubGlobal("IntersectionObserver", IdleObserver);
window.matchMedia = (query) =>
  ({ matches: false, media: query, addEventListener() {}, removeEventListener() {} }) as never;

afterEach(cleanup);

/** Opens the example in the page. */
function open(id: string): HTMLElement {
  window.location.hash = id;
  render(<Examples />);
  return screen.getByRole("region", { name: examples.find((example) => example.id === id)?.title ?? id });
}

test.each(examples.map(({ id }) => id))("the example %s is live and shows its code", async (id) => {
  const example = open(id);
  expect(within(example).queryByText("Something went wrong here.")).toBeNull();
  expect(example.querySelector("pre")?.textContent).toContain(`export default function ${id}()`);
  await waitFor(() => expect(example.querySelector(".example-live")?.textContent).not.toBe(""));
});

test("an example has a server of its own in the page", async () => {
  const example = open("Room");
  await within(example).findByText("Shall we bake on Sunday?", {}, { timeout: 5_000 });
  act(() => {
    window.location.hash = "Members";
  });
  const members = await screen.findByRole("complementary", { name: "Members" });
  await waitFor(() => expect(within(members).getByText("Carol Ann")).toBeDefined());
});

test("rooms without messages have the time of their creation", async () => {
  const example = open("Rooms");
  const room = await within(example).findByRole("link", { name: /workshop/ }, { timeout: 5_000 });
  const createdAt = Date.parse(room.querySelector("time")?.dateTime ?? "");
  expect(Math.abs(Date.now() - createdAt)).toBeLessThan(60_000);
});
