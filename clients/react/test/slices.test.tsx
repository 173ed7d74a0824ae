// @vitest-environment jsdom
import { startTransition, useLayoutEffect, useState } from "react";
import { createRoot } from "react-dom/client";
import { afterEach, beforeEach, expect, test } from "vitest";
import { useMessages } from "../src/index.js";
import { clientOf, live, startServer, until } from "./support.js";

// These tests do not use `act`, because it makes React render everything at once.
beforeEach(() => Reflect.set(globalThis, "IS_REACT_ACT_ENVIRONMENT", false));
afterEach(() => Reflect.set(globalThis, "IS_REACT_ACT_ENVIRONMENT", true));

/** Takes longer than one time slice of React, so that React yields to the page between two instances. */
function Slow({ rendered }: { rendered: (count: number) => void }) {
  const count = useMessages("kitchen").items.length;
  rendered(count);
  for (const end = performance.now() + 15; performance.now() < end; );
  return <b>{count}</b>;
}

interface PageProps {
  rendered: (count: number) => void;
  committed: () => void;
  ready: (show: () => void) => void;
}

function Page({ rendered, committed, ready }: PageProps) {
  const [shown, setShown] = useState(false);
  useLayoutEffect(() => {
    ready(() => startTransition(() => setShown(true)));
  }, [ready]);
  useLayoutEffect(() => {
    committed();
  });
  return shown ? Array.from({ length: 10 }, (_, at) => <Slow key={String(at)} rendered={rendered} />) : null;
}

test("a tree that React renders in slices shows one state of the messages, although they change meanwhile", async () => {
  const { network, server } = startServer();
  server.addRoom("kitchen");
  const { client, wrapper: Wrapper } = clientOf(network);
  const room = client.room("kitchen");
  const release = room.open();
  await client.connect();
  await live(room);

  const counts = new Set<number>();
  const commits: string[][] = [];
  const container = document.createElement("div");
  const root = createRoot(container);
  const show = await new Promise<() => void>((ready) => {
    const committed = () =>
      commits.push([...container.querySelectorAll("b")].map((b) => b.textContent ?? ""));
    root.render(
      <Wrapper>
        <Page rendered={(count) => counts.add(count)} committed={committed} ready={ready} />
      </Wrapper>,
    );
  });
  const sending = setInterval(() => server.say("kitchen", "bob", "more"), 5);
  await until(room.messages, ({ items }) => items.length > 0);
  show();
  await until(room.messages, () => commits.some((commit) => commit.length === 10));
  clearInterval(sending);
  root.unmount();
  release();
  // If the messages did not change between two slices, the test would prove nothing.
  expect(counts.size).toBeGreaterThan(1);
  const inconsistent = commits.filter((commit) => new Set(commit).size > 1);
  expect(inconsistent).toEqual([]);
});
