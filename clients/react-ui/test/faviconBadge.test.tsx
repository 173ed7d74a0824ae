// @vitest-environment jsdom
import { waitFor } from "@testing-library/react";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { FaviconBadge } from "../src/index.js";
import { show } from "./support.js";

/** An image that is loaded at once, because jsdom loads no images. */
class LoadedImage {
  onload: () => void = () => {};
  set src(_: string) {
    queueMicrotask(() => this.onload());
  }
}

/** The texts that were drawn. */
let drawn: string[] = [];
const pen = {
  drawImage() {},
  beginPath() {},
  arc() {},
  fill() {},
  fillText: (text: string) => void drawn.push(text),
};

const icon = () => document.head.querySelector("link") as HTMLLinkElement;

beforeEach(() => {
  drawn = [];
  document.head.innerHTML = '<link rel="icon" href="/icon.svg" type="image/svg+xml" />';
  vi.stubGlobal("Image", LoadedImage);
  // jsdom does not draw, so the address of the drawn icon is its text.
  vi.spyOn(HTMLCanvasElement.prototype, "getContext").mockReturnValue(pen as never);
  vi.spyOn(HTMLCanvasElement.prototype, "toDataURL").mockImplementation(() => `data:,${drawn.at(-1)}`);
});

afterEach(() => {
  document.head.replaceChildren();
  vi.unstubAllGlobals();
  vi.restoreAllMocks();
});

/** Waits until the page has the icon that was drawn with the text, or its own icon. */
const waitForBadge = (text: string | undefined) =>
  waitFor(() => {
    const own = { href: new URL("/icon.svg", document.baseURI).href, type: "image/svg+xml" };
    const { href, type } = icon();
    expect({ href, type }).toEqual(text === undefined ? own : { href: `data:,${text}`, type: "image/png" });
  });

test("the icon shows the number of unread messages, and is the page's own again when all are read", async () => {
  const { server, client } = show(<FaviconBadge />);
  await waitForBadge("1");
  server.say("garden", "bob", "rain today");
  await waitForBadge("2");
  for (let count = 3; count <= 10; count++) server.say("garden", "bob", `message ${count}`);
  await waitForBadge("9+");
  client.room("garden").markRead(9, { acrossGaps: true });
  await waitForBadge("1");
  client.room("kitchen").markRead(1, { acrossGaps: true });
  await waitForBadge(undefined);
});

test("a component that unmounts leaves the page's own icon", async () => {
  const { unmount } = show(<FaviconBadge />);
  await waitForBadge("1");
  unmount();
  await waitForBadge(undefined);
});

test("a browser that cannot draw keeps the page's own icon", async () => {
  const getContext = vi.spyOn(HTMLCanvasElement.prototype, "getContext").mockReturnValue(null);
  show(<FaviconBadge />);
  await waitFor(() => expect(getContext).toHaveBeenCalled());
  await waitForBadge(undefined);
});
