import { useRoom } from "@tidings/react";
import { useDeferredValue, useEffect, useRef, useState } from "react";
import { roomTitle } from "../logic/title.ts";
import { useApp } from "../state/app.ts";
import { SearchField } from "../ui/SearchField.tsx";
import { Panel } from "./Panel.tsx";
import { SearchResults } from "./SearchResults.tsx";

/** The search in one room or in all rooms. */
export function SearchPanel({ room }: { room: string }) {
  const { summary } = useRoom(room);
  const { go } = useApp();
  const input = useRef<HTMLInputElement>(null);
  const [query, setQuery] = useState("");
  const [everywhere, setEverywhere] = useState(false);
  const deferredQuery = useDeferredValue(query.trim());
  useEffect(() => input.current?.focus(), []);
  return (
    <Panel title="Search" onClose={() => go({ room })}>
      <SearchField
        ref={input}
        label="Search messages"
        placeholder="Search for words"
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
      {deferredQuery === "" ? (
        <p className="hint panel-hint">
          Finds messages with all these words. The last word can be incomplete.
        </p>
      ) : (
        <SearchResults query={deferredQuery} room={everywhere ? undefined : room} />
      )}
    </Panel>
  );
}
