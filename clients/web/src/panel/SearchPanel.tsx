import { useRoom } from "@tidings/react";
import { useDeferredValue, useEffect, useRef, useState } from "react";
import { roomTitle } from "../logic/title.ts";
import { useApp } from "../state/app.ts";
import { SearchField } from "../ui/SearchField.tsx";
import { Panel } from "./Panel.tsx";
import { SearchResults } from "./SearchResults.tsx";

/** Search in a room, or in all of them. */
export function SearchPanel({ room }: { room: string }) {
  const { summary } = useRoom(room);
  const { go } = useApp();
  const input = useRef<HTMLInputElement>(null);
  const [query, setQuery] = useState("");
  const [everywhere, setEverywhere] = useState(false);
  const sought = useDeferredValue(query.trim());
  useEffect(() => input.current?.focus(), []);
  return (
    <Panel title="Search" onClose={() => go({ room })}>
      <SearchField
        ref={input}
        label="Search messages"
        placeholder="Words to find"
        value={query}
        onChange={setQuery}
      />
      <fieldset className="segments">
        <legend className="visually-hidden">Where to search</legend>
        <label>
          <input type="radio" name="scope" checked={!everywhere} onChange={() => setEverywhere(false)} />
          <span>{summary ? roomTitle(summary) : "This room"}</span>
        </label>
        <label>
          <input type="radio" name="scope" checked={everywhere} onChange={() => setEverywhere(true)} />
          <span>All rooms</span>
        </label>
      </fieldset>
      {sought === "" ? (
        <p className="hint panel-hint">All words must occur. The last one may be just its beginning.</p>
      ) : (
        <SearchResults query={sought} room={everywhere ? undefined : room} />
      )}
    </Panel>
  );
}
