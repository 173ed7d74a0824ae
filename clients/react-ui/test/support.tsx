import { cleanup, configure, render } from "@testing-library/react";
import type { TidingsClientLike } from "@tidings/client";
import { type ScriptedServer, TestNetwork } from "@tidings/client/testing";
import { TidingsProvider } from "@tidings/react";
import { type ReactElement, type ReactNode, StrictMode } from "react";
import { afterEach, vi } from "vitest";

configure({ asyncUtilTimeout: 5_000 });

/** Longer than the delay of the test network in both directions, in milliseconds. */
const ANSWER_MS = 30;

/** An observer that observes nothing, because the pages of jsdom have no layout. */
class IdleObserver {
  observe(): void {}
  unobserve(): void {}
  disconnect(): void {}
}

vi.stubGlobal("ResizeObserver", IdleObserver);
vi.stubGlobal("IntersectionObserver", IdleObserver);
vi.stubGlobal("CSS", { escape: (text: string) => text });
window.matchMedia = (query) =>
  ({ matches: false, media: query, addEventListener() {}, removeEventListener() {} }) as never;
HTMLDialogElement.prototype.showModal = function () {
  this.open = true;
};
HTMLDialogElement.prototype.close = function () {
  this.open = false;
};

const cleanups: (() => unknown)[] = [];

afterEach(async () => {
  cleanup();
  for (const end of cleanups.splice(0).reverse()) await end();
  window.localStorage.clear();
  window.history.replaceState(null, "", "#");
  // Answers on their way arrive while the page still exists.
  await new Promise((done) => setTimeout(done, ANSWER_MS));
});

/** A connected client of the user `alice`, and its server with the rooms `kitchen` and `garden`. */
export function connect(): { server: ScriptedServer; client: TidingsClientLike } {
  const network = new TestNetwork({ rooms: ["kitchen", "garden"], realTime: true });
  const { server } = network;
  server.say("kitchen", "bob", "tea?");
  const client = network.client();
  client.connect().catch(() => {});
  cleanups.push(() => client.close());
  return { server, client };
}

/** Shows a page for the user `alice`. */
export function show(page: ReactElement) {
  const { server, client } = connect();
  const wrapper = ({ children }: { children: ReactNode }) => (
    <StrictMode>
      <TidingsProvider client={client}>{children}</TidingsProvider>
    </StrictMode>
  );
  return { server, client, ...render(page, { wrapper }) };
}
