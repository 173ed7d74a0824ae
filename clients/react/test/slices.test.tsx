// @vitest-environment jsdom
import { startTransition, useLayoutEffect, useState } from "react";
import { createRoot } from "react-dom/client";
import { afterEach, beforeEach, expect, test } from "vitest";
import { useMessages } from "../src/index.js";
import { clientOf, live, scripted, until } from "./support.js";

// React is left alone here: under `act` it renders all at once.
beforeEach(() => Reflect.set(globalThis, "IS_REACT_ACT_ENVIRONMENT", false));
afterEach(() => Reflect.set(globalThis, "IS_REACT_ACT_ENVIRONMENT", true));

/** Takes longer than a slice of rendering, so that the page lives on before the next one is rendered. */
function Slow({ rendered }: { rendered: (count: number) => void }) {
  const count = useMessages("kitchen").items.length;
  rendered(count);
  for (const end = performance.now() + 15; performance.now() < end; );
  return <b>{count}</b>;
}

interface Told {
  rendered: (count: number) => void;
  committed: () => void;
  ready: (show: () => void) => void;
}

function Page({ rendered, committed, ready }: Told) {
  const [shown, setShown] = useState(false);
  useLayoutEffect(() => {
    ready(() => startTransition(() => setShown(true)));
  }, [ready]);
  useLayoutEffect(() => {
    committed();
  });
  return shown ? Array.from({ length: 10 }, (_, at) => <Slow key={String(at)} rendered={rendered} />) : null;
}

test("a tree that is rendered in slices shows one state of the messages, though they change in between", async () => {
  const server = await scripted();
  server.addRoom("kitchen");
  const { client, wrapper: Wrapper } = clientOf(server);
  const room = client.room("kitchen");
  const release = room.open();
  await client.connect();
  await live(room);

  const counts = new Set<number>();
  const commits: string[][] = [];
  const place = document.createElement("div");
  const root = createRoot(place);
  const show = await new Promise<() => void>((ready) => {
    const committed = () => commits.push([...place.querySelectorAll("b")].map((b) => b.textContent ?? ""));
    root.render(
      <Wrapper>
        <Page rendered={(count) => counts.add(count)} committed={committed} ready={ready} />
      </Wrapper>,
    );
  });
  const talk = setInterval(() => server.say("kitchen", "bob", "more"), 5);
  await until(room.messages, ({ items }) => items.length > 0);
  show();
  await until(room.messages, () => commits.some((commit) => commit.length === 10));
  clearInterval(talk);
  root.unmount();
  release();
  // Otherwise nothing changed between the slices, and nothing is shown by this.
  expect(counts.size).toBeGreaterThan(1);
  const torn = commits.filter((commit) => new Set(commit).size > 1);
  expect(torn).toEqual([]);
});
