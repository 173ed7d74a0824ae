import { TidingsProvider } from "@tidings/react";
import { ChatErrorBoundary } from "@tidings/react-ui";
import { useState, useSyncExternalStore } from "react";
import { type Example, examples } from "./list.ts";
import { exampleOptions } from "./server.ts";

const subscribe = (listener: () => void) => {
  window.addEventListener("hashchange", listener);
  return () => window.removeEventListener("hashchange", listener);
};

/** The page of live examples. It shows one at a time, because a page has one chat. */
export function Examples() {
  const hash = useSyncExternalStore(subscribe, () => window.location.hash.slice(1));
  const current = examples.find(({ id }) => id === hash) ?? examples[0];
  return (
    <div className="tidings examples">
      <nav aria-label="Examples">
        <h1>@tidings/react-ui</h1>
        <ul>
          {examples.map(({ id, title }) => (
            <li key={id}>
              <a href={`#${id}`} aria-current={id === current?.id ? "page" : undefined}>
                {title}
              </a>
            </li>
          ))}
        </ul>
        <p>The server of these examples is in the memory of this page. Bob answers.</p>
      </nav>
      {current && <LiveExample key={current.id} example={current} />}
    </div>
  );
}

/** An example with its own server, and its code. */
function LiveExample({ example }: { example: Example }) {
  const { title, Component, source } = example;
  const [options] = useState(exampleOptions);
  return (
    <section className="example" aria-label={title}>
      <h2>{title}</h2>
      <div className="example-live">
        <ChatErrorBoundary>
          <TidingsProvider options={options}>
            <Component />
          </TidingsProvider>
        </ChatErrorBoundary>
      </div>
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: a scrollable area must be reachable by keyboard */}
      <pre tabIndex={0}>
        <code>{source}</code>
      </pre>
    </section>
  );
}
