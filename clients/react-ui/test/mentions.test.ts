import { expect, test } from "vitest";
import {
  allowedMentions,
  findMembers,
  isMentioned,
  keepMentions,
  mentionAt,
  mentionLabels,
  splitMentions,
} from "../src/logic/mentions.js";
import { message } from "./message.js";

const MEMBERS = [
  { user: "ada", name: "Ada Lovelace", role: "owner" },
  { user: "al", name: "Ada", role: "member" },
  { user: "zoe-k", name: "Zoë König", role: "member" },
  { user: "bo", role: "guest" },
];

const partsOf = (text: string, users: readonly string[]) =>
  splitMentions(text, mentionLabels(users, MEMBERS)).map(({ text: part, mention }) =>
    mention ? `[${mention.user}:${part}]` : part,
  );

test("a mention is typed after an @ that begins a word, before the cursor", () => {
  expect(mentionAt("hi @ad", 6)).toEqual({ from: 3, query: "ad" });
  expect(mentionAt("@", 1)).toEqual({ from: 0, query: "" });
  expect(mentionAt("(@Ada Lo", 8)).toEqual({ from: 1, query: "Ada Lo" });
  expect(mentionAt("hi @ad there", 6)).toEqual({ from: 3, query: "ad" });
  for (const text of ["ada@example", "hi", "@Ada is here", "@Ada ", "@a@b"])
    expect(mentionAt(text, text.length), text).toBeUndefined();
});

test("members are found by words of their names and by their ids, without accents and without oneself", () => {
  const found = (query: string) => findMembers(query, MEMBERS, undefined, "bo").map(({ user }) => user);
  expect(found("")).toEqual(["al", "ada", "zoe-k"]);
  expect(found("love")).toEqual(["ada"]);
  expect(found("KONIG")).toEqual(["zoe-k"]);
  expect(found("zoe-k")).toEqual(["zoe-k"]);
  expect(found("ove")).toEqual([]);
  expect(found("bo")).toEqual([]);
});

test("in a private message only its audience is found and kept", () => {
  const audience = { users: ["ada"], roles: ["guest"] };
  expect(findMembers("", MEMBERS, audience, "me").map(({ user }) => user)).toEqual(["ada", "bo"]);
  expect(allowedMentions(["al", "ada", "me", "bo"], MEMBERS, audience, "me")).toEqual(["ada", "me", "bo"]);
  expect(allowedMentions(["al"], MEMBERS, undefined, "me")).toEqual(["al"]);
});

test("a text is split at its mentions, with the longest name first", () => {
  expect(partsOf("hi @Ada Lovelace, @ada!", ["ada", "al"])).toEqual([
    "hi ",
    "[ada:@Ada Lovelace]",
    ", ",
    "[al:@ada]",
    "!",
  ]);
  expect(partsOf("x@Ada.org and @Adam", ["al"])).toEqual(["x@Ada.org and @Adam"]);
  expect(partsOf("@bo @Bo @someone", ["bo"])).toEqual(["[bo:@bo]", " ", "[bo:@Bo]", " @someone"]);
});

test("a mention goes with its text, and stays when its text was never found", () => {
  expect(keepMentions("hi @Bo and @Ada", "hi @Bo and @Ad", ["bo", "al"], MEMBERS)).toEqual(["bo"]);
  expect(keepMentions("hi @Oldname", "hi", ["zoe-k"], MEMBERS)).toEqual(["zoe-k"]);
});

test("a deleted message and an own message mention nobody", () => {
  expect(isMentioned(message(1, { mentions: ["me"] }), "me")).toBe(true);
  expect(isMentioned(message(1, { mentions: ["bo"] }), "me")).toBe(false);
  expect(isMentioned(message(1, { mentions: ["me"], deleted: true }), "me")).toBe(false);
  expect(isMentioned(message(1, { mentions: ["me"], sender: { id: "me" } }), "me")).toBe(false);
});
