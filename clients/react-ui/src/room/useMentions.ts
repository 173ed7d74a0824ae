import type { Member, VisibleTo } from "@tidings/client";
import { people } from "@tidings/client/http";
import { useTidings } from "@tidings/react";
import { useEffect, useState } from "react";
import {
  type Candidate,
  findMembers,
  keepMentions,
  MAX_MENTIONS,
  mentionAt,
  mentionLabels,
} from "../logic/mentions.js";
import { namesOf } from "../state/names.js";
import { TYPING_DELAY_MS } from "../state/usePeopleField.js";
import { type OptionsState, useOptions } from "../ui/useOptions.js";
import { useAllMembers, useIsSmall, useNamesIn } from "./useRoomMembers.js";

/** The text that the input shows, and its mentions. */
interface MentionedText {
  readonly room: string;
  readonly text: string;
  readonly mentions: readonly string[];
  /** Who sees the message; undefined for everyone. */
  readonly audience: VisibleTo | undefined;
  readonly me: string | undefined;
  /** Replaces the text between two positions, and the mentions. */
  readonly insert: (part: string, from: number, to: number, mentions: readonly string[]) => void;
}

/** The people picker of the input: the members whom the typed `@` may mean. */
export function useMentions({ room, text, mentions, audience, me, insert }: MentionedText): {
  readonly options: OptionsState<Candidate>;
  /** Whether the typed `@` matches a member, but the text already has the maximum number of mentions. */
  readonly isFull: boolean;
  /** Takes the position of the cursor; undefined while the input has no focus. */
  readonly setCursor: (cursor: number | undefined) => void;
  /** The mentions that are left after a change of the text. */
  readonly kept: (next: string) => readonly string[];
} {
  const members = useAllMembers(room);
  const named = useNamesIn(room, mentions);
  const [cursor, setCursor] = useState<number>();
  const [closedAt, setClosedAt] = useState<number>();
  const typed = cursor === undefined ? undefined : mentionAt(text, cursor);
  const query = typed?.query.toLocaleLowerCase();
  // Enter after a finished mention sends the message.
  const isFinished = mentionLabels(mentions, named).some(({ texts }) =>
    texts.some((label) => label.toLocaleLowerCase() === query),
  );
  const isOpen = typed !== undefined && !isFinished && typed.from !== closedAt;
  const { query: askedQuery, found: foundPeople } = usePeople(room, isOpen ? typed.query : undefined);
  // While the answer for the present text is missing, those of the last answer that still match are offered.
  const candidates = members ?? foundPeople;
  const localQuery = members === undefined && typed?.query === askedQuery ? "" : (typed?.query ?? "");
  const found = isOpen ? findMembers(localQuery, candidates, audience, me) : [];
  const isFull = found.length > 0 && mentions.length >= MAX_MENTIONS;
  const options = useOptions<Candidate>({
    options: isFull ? [] : found,
    onChoose: ({ user, name }) => {
      if (typed === undefined || cursor === undefined) return;
      insert(`@${name} `, typed.from, cursor, mentions.includes(user) ? mentions : [...mentions, user]);
      // The browser reports the earlier position of the cursor once more before it moves.
      setClosedAt(typed.from);
    },
    onClose: () => setClosedAt(typed?.from),
  });
  return {
    options,
    isFull,
    setCursor: (next) => {
      setCursor(next);
      if (next === undefined || mentionAt(text, next) === undefined) setClosedAt(undefined);
    },
    kept: (next) => keepMentions(text, next, mentions, named),
  };
}

/** The people of a larger room whom the server finds by a query; undefined ends the search. In a small room, nobody. */
function usePeople(
  room: string,
  query: string | undefined,
): { readonly query: string | undefined; readonly found: readonly Member[] } {
  const client = useTidings();
  const isSmall = useIsSmall(room);
  const [answer, setAnswer] = useState<{ query: string; found: readonly Member[] }>();
  useEffect(() => {
    if (isSmall || query === undefined) return;
    const abort = new AbortController();
    const timer = setTimeout(() => {
      people(client, query, { room, signal: abort.signal }).then(
        (all) => {
          namesOf(client).learn(all);
          setAnswer({ query, found: all.map((person) => ({ ...person, role: "" })) });
        },
        // A failed search offers nobody; the next key starts another one.
        () => {},
      );
    }, TYPING_DELAY_MS);
    return () => {
      clearTimeout(timer);
      abort.abort();
    };
  }, [client, room, isSmall, query]);
  return { query: answer?.query, found: answer?.found ?? [] };
}
