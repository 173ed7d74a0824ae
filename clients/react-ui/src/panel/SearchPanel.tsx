import { useRoom } from "@tidings/react";
import { type ReactNode, useDeferredValue, useEffect, useRef, useState } from "react";
import { roomTitle } from "../logic/title.js";
import { useChatUi } from "../state/chatUi.js";
import { SearchField } from "../ui/SearchField.js";
import { Panel } from "./Panel.js";
import { SearchResults } from "./SearchResults.js";

/** The search in one room or in all rooms. */
export function SearchPanel({ room }: { readonly room: string }): ReactNode {
  const { summary } = useRoom(room);
  const { go } = useChatUi();
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
      <fieldset className="tidings-segments">
        <legend className="tidings-visually-hidden">Where to search</legend>
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
        <p className="tidings-hint tidings-panel-hint">
          Finds messages with all these words. The last word can be incomplete.
        </p>
      ) : (
        <SearchResults query={deferredQuery} room={everywhere ? undefined : room} />
      )}
    </Panel>
  );
}
