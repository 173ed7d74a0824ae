import { omitNullish } from "../omit-nullish.js";
import type { ChangeEvent, LogEvent } from "../protocol/frames.js";
import type { Message, Reaction } from "../types.js";

/** The most users that a reaction names; its `count` includes all users. */
const MAX_NAMED_USERS = 20;

/** Whether an event changes an existing message. */
export const isChange = (event: LogEvent): event is ChangeEvent =>
  /^(message:(edit|delet)ed|reaction:.+)$/.test(event.type);

/**
 * Applies a change to a message. Returns the same object when nothing changes, and undefined when `message` lacks the
 * data for the change. The caller must then read the message again.
 */
export function applyChange(
  message: Message,
  event: ChangeEvent,
  me: string | undefined,
): Message | undefined {
  const lastSeq = event.seq;
  if (lastSeq <= message.lastSeq || event.target_id !== message.id) return message;
  // HTTP may return a deleted message without the seq of its deletion. Then the event of the deletion supplies it.
  if (message.deleted && (event.type !== "message:deleted" || message.lastSeq !== message.seq))
    return message;
  switch (event.type) {
    case "message:edited":
      return {
        ...message,
        content: event.content,
        // An edit without metadata or mentions keeps those of the message.
        ...omitNullish({ metadata: event.metadata, mentions: event.mentions }),
        editedAt: Date.parse(event.at) || message.at,
        lastSeq,
      };
    case "message:deleted": {
      const { metadata: _, mentions: __, ...rest } = message;
      return {
        ...rest,
        content: "",
        attachments: [],
        reactions: [],
        deleted: true,
        deletedBy: event.by,
        lastSeq,
      };
    }
    default: {
      const reactions = applyReaction(
        message.reactions,
        event.emoji,
        event.by,
        event.type === "reaction:added",
        me,
      );
      if (!reactions) return undefined;
      return reactions === message.reactions ? message : { ...message, reactions, lastSeq };
    }
  }
}

/** Removes variation selectors. The server gives all spellings of an emoji one form, which differs only in these. */
const plainEmoji = (emoji: string) => emoji.replace(/[\ufe0e\ufe0f]/g, "");

/**
 * Adds or removes the reaction of the user `by`. Returns undefined if it is unknown whether `by` has reacted, because
 * `reactions` names only the first users.
 */
export function applyReaction(
  reactions: readonly Reaction[],
  emoji: string,
  by: string,
  added: boolean,
  me: string | undefined,
): readonly Reaction[] | undefined {
  const plain = plainEmoji(emoji);
  const old = reactions.find((reaction) => plainEmoji(reaction.emoji) === plain);
  const mine = by === me;
  if (!old) return added ? [...reactions, { emoji, count: 1, mine, users: [by] }] : reactions;
  const isNamed = old.users.includes(by);
  // The server always reports whether the current user has reacted, but it names only the first 20 users.
  if (!isNamed && !mine && old.count > old.users.length) return undefined;
  const hasReacted = isNamed || (mine && old.mine);
  if (hasReacted === added) return reactions;
  const count = old.count + (added ? 1 : -1);
  if (count <= 0) return reactions.filter((reaction) => reaction !== old);
  const users = added
    ? [...old.users, by].slice(0, MAX_NAMED_USERS)
    : old.users.filter((user) => user !== by);
  const updated = { emoji: old.emoji, count, mine: mine ? added : old.mine, users };
  return reactions.map((reaction) => (reaction === old ? updated : reaction));
}
