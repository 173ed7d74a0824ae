import type { Person } from "@tidings/client";
import { people } from "@tidings/client/http";
import { useTidings } from "@tidings/react";
import { useEffect, useRef, useState } from "react";
import { type Candidate, MAX_OFFERED } from "../logic/mentions.js";
import { displayName, isSimilar, listNames, parsePeople } from "../logic/names.js";
import { type OptionsState, useOptions } from "../ui/useOptions.js";
import { useChatUi } from "./chatUi.js";

/** How long a field waits after the last key before it asks the server for people, in milliseconds. */
export const TYPING_DELAY_MS = 200;

/** The state of a field for the names of people. */
export interface PeopleFieldState {
  readonly value: string;
  readonly change: (value: string) => void;
  readonly options: OptionsState<Candidate>;
  /** The people in the field, with the ids as far as they are known. */
  readonly typed: readonly Candidate[];
  /** The question whether to add people whom nobody knows, after `resolve` has found such people. */
  readonly question: string | undefined;
  /**
   * Finds the ids of the people in the field. Returns undefined when it asks a question; a second call with the same
   * text is the answer yes. Rejects when the server cannot be asked, or when a name is that of several people.
   */
  readonly resolve: () => Promise<readonly Candidate[] | undefined>;
}

/**
 * A field for the names of people, or with `single` of one person: offers people who share a room with the user, and
 * asks before a name that nobody has becomes a user.
 */
export function usePeopleField({ single = false, me }: { single?: boolean; me?: string | undefined } = {}) {
  const client = useTidings();
  const { userIdOf } = useChatUi();
  const [value, setValue] = useState("");
  const [found, setFound] = useState<{ query: string; people: readonly Candidate[] }>();
  const [asked, setAsked] = useState<{
    readonly value: string;
    readonly names: readonly string[];
    /** The names of known people that are like the typed ones. */
    readonly similar: readonly string[];
  }>();
  /** Maps the names that the user chose in the list to their ids. */
  const chosen = useRef(new Map<string, string>());

  const idOf = (name: string) => chosen.current.get(name) ?? userIdOf(name);
  const parts = single ? [value] : value.split(/[,;\n]/);
  const query = (parts.at(-1) ?? "").trim().replace(/^@/, "");
  const isChosen = chosen.current.has(query);

  useEffect(() => {
    if (query === "" || isChosen) return;
    const abort = new AbortController();
    const timer = setTimeout(() => {
      people(client, query, { signal: abort.signal }).then(
        (all) => setFound({ query, people: all.slice(0, MAX_OFFERED).map(toCandidate) }),
        // Without an answer the field offers nobody. Only `resolve` needs the server.
        () => {},
      );
    }, TYPING_DELAY_MS);
    return () => {
      clearTimeout(timer);
      abort.abort();
    };
  }, [client, query, isChosen]);

  const isOpen = query !== "" && found?.query === query && !isChosen;
  const options = useOptions<Candidate>({
    options: isOpen ? found.people.filter(({ user }) => user !== me) : [],
    onChoose: ({ user, name }) => {
      // Separators in a name would split it.
      const text = name
        .replace(/[,;\n]+/g, " ")
        .replace(/\s+/g, " ")
        .trim();
      chosen.current.set(text, user);
      setValue(single ? text : [...parts.slice(0, -1).map((part) => part.trim()), text, ""].join(", "));
    },
    onClose: () => setFound(undefined),
  });

  const resolve = async (): Promise<readonly Candidate[] | undefined> => {
    const known = new Map<string, Candidate>();
    const unknown: Candidate[] = [];
    for (const person of parsePeople(value, idOf, me)) {
      const match = chosen.current.has(person.name)
        ? person
        : exactMatch(person, await people(client, person.name));
      if (match === undefined) unknown.push(person);
      else if (match.user !== me) known.set(match.user, match);
    }
    const isAnswered = asked?.value === value;
    if (unknown.length === 0 || isAnswered) return [...known.values(), ...unknown];
    const similar = new Set<string>();
    for (const { name } of unknown) {
      // The beginning of a mistyped name is mostly right.
      for (const person of await people(client, [...name].slice(0, 2).join(""))) {
        const candidate = toCandidate(person);
        if (isSimilar(name, candidate.name) || isSimilar(name, candidate.user)) similar.add(candidate.name);
      }
    }
    setAsked({ value, names: unknown.map(({ user }) => user), similar: [...similar] });
    return undefined;
  };

  const isAsking = asked?.value === value;
  const hint = asked?.similar.length ? ` Did you mean ${listNames(asked.similar, 5)}?` : "";
  const state: PeopleFieldState = {
    value,
    change: setValue,
    options,
    typed: parsePeople(value, idOf, me),
    question: isAsking
      ? `Nobody you share a room with is called ${listNames(asked.names, 5)}.${hint} Add ${asked.names.length > 1 ? "these ids" : "this id"} anyway?`
      : undefined,
    resolve,
  };
  return state;
}

const toCandidate = ({ user, name }: Person): Candidate => ({ user, name: displayName(user, name) });

/** The person whose id or whole name was typed. Throws an error if several people have the name. */
function exactMatch(typed: Candidate, all: readonly Person[]): Candidate | undefined {
  const candidates = all.map(toCandidate);
  const sameId = candidates.find(({ user }) => user === typed.user || user === typed.name);
  if (sameId) return sameId;
  const name = typed.name.toLocaleLowerCase();
  const sameName = candidates.filter((one) => one.name.toLocaleLowerCase() === name);
  if (sameName.length > 1)
    throw new Error(
      `More than one person is called ${typed.name}. Choose one from the list, or type the id.`,
    );
  return sameName[0];
}
