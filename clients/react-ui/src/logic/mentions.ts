import type { Member, Message, VisibleTo } from "@tidings/client";
import { fold } from "./fold.js";
import { displayName } from "./names.js";

/** The most people whom a message can mention. */
export const MAX_MENTIONS = 20;
/** The most people whom a picker offers. */
export const MAX_OFFERED = 8;

/** A user whom one can mention, find or add. */
export interface Candidate {
  readonly user: string;
  readonly name: string;
}

/** A user in a message, and the texts after an `@` that mean this user. */
export interface MentionLabel {
  readonly user: string;
  readonly name: string;
  readonly texts: readonly string[];
}

/** A part of a text. A part with `mention` is the mention of a user. */
interface MentionPart {
  readonly text: string;
  readonly mention?: MentionLabel;
}

const isWordPart = (character: string | undefined): boolean => /[\p{L}\p{N}_]/u.test(character ?? "");

/** Finds the mention that is being typed before the cursor: the position of its `@`, and the text after the `@`. */
export function mentionAt(text: string, cursor: number): { from: number; query: string } | undefined {
  const found = /(?:^|[\s([{"'])@([^\s@]{0,40}(?: [^\s@]{1,40})?)$/u.exec(text.slice(0, cursor));
  const query = found?.[1];
  return query === undefined ? undefined : { from: cursor - query.length - 1, query };
}

/** The labels of users with their current names. */
export function mentionLabels(
  users: readonly string[],
  members: readonly Pick<Member, "user" | "name">[] | undefined,
): readonly MentionLabel[] {
  return users.map((user) => {
    const name = displayName(user, members?.find((member) => member.user === user)?.name);
    // A text from before the user had a name, or of another client, has the id.
    return { user, name, texts: [...new Set([name, displayName(user), user])] };
  });
}

/** Splits a text at its mentions. A label inside a longer word, as in an e-mail address, is no mention. */
export function splitMentions(text: string, labels: readonly MentionLabel[]): readonly MentionPart[] {
  const lower = text.toLocaleLowerCase();
  // The longest text first, so that "@Ada Lovelace" is not taken for "@Ada", and names before ids. Lower case may change
  // the length of a text, and then its positions are unknown.
  const choices = labels
    .flatMap((mention) =>
      mention.texts.map((label, rank) => ({ mention, rank, label: `@${label}`.toLocaleLowerCase() })),
    )
    .sort((a, b) => b.label.length - a.label.length || a.rank - b.rank);
  if (choices.length === 0 || lower.length !== text.length) return [{ text }];
  const parts: MentionPart[] = [];
  let done = 0;
  for (let at = text.indexOf("@"); at !== -1; at = text.indexOf("@", at + 1)) {
    if (at < done || isWordPart(text[at - 1])) continue;
    const choice = choices.find(
      ({ label }) => lower.startsWith(label, at) && !isWordPart(text[at + label.length]),
    );
    if (choice === undefined) continue;
    if (at > done) parts.push({ text: text.slice(done, at) });
    done = at + choice.label.length;
    parts.push({ text: text.slice(at, done), mention: choice.mention });
  }
  if (done < text.length || parts.length === 0) parts.push({ text: text.slice(done) });
  return parts;
}

/**
 * The mentions of a changed text: a mention goes when the change removed its text. A mention whose text is not found,
 * because the user has another name now, stays.
 */
export function keepMentions(
  before: string,
  after: string,
  mentions: readonly string[],
  members: readonly Pick<Member, "user" | "name">[] | undefined,
): readonly string[] {
  if (mentions.length === 0) return mentions;
  const labels = mentionLabels(mentions, members);
  const usersIn = (text: string) => new Set(splitMentions(text, labels).map((part) => part.mention?.user));
  const [was, is] = [usersIn(before), usersIn(after)];
  return mentions.filter((user) => is.has(user) || !was.has(user));
}

/** Whether a message of another user mentions this user. */
export function isMentioned(message: Message, user: string | undefined): boolean {
  return user !== undefined && !message.mine && !message.deleted && message.mentions?.includes(user) === true;
}

/** Whether a member may see a message with this audience; undefined means everyone. */
function maySee(member: Pick<Member, "user" | "role">, audience: VisibleTo | undefined): boolean {
  const { users = [], roles = [] } = audience ?? {};
  return audience === undefined || users.includes(member.user) || roles.includes(member.role);
}

/** The mentions that the server accepts with this audience, as far as the members are known. */
export function allowedMentions(
  mentions: readonly string[],
  members: readonly Member[] | undefined,
  audience: VisibleTo | undefined,
  me: string | undefined,
): readonly string[] {
  return mentions.filter((user) => {
    const member = members?.find((one) => one.user === user);
    return user === me || maySee({ user, role: member?.role ?? "" }, audience);
  });
}

/** The members of the audience whose names or ids have a word that begins with the query, the first ones by name. */
export function findMembers(
  query: string,
  members: readonly Member[],
  audience: VisibleTo | undefined,
  me: string | undefined,
): readonly Candidate[] {
  const words = fold(query);
  const matches = (text: string) => {
    const folded = fold(text);
    return folded.startsWith(words) || folded.split(/[\s\-_.]+/).some((word) => word.startsWith(words));
  };
  return members
    .filter((member) => member.user !== me && maySee(member, audience))
    .map(({ user, name }) => ({ user, name: displayName(user, name) }))
    .filter(({ user, name }) => matches(name) || matches(user))
    .sort((a, b) => a.name.localeCompare(b.name))
    .slice(0, MAX_OFFERED);
}
