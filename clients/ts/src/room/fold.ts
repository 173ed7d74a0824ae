import type { ChangeEvent, LogEvent } from "../protocol/frames.js";
import type { Message, Reaction } from "../types.js";

/** So many of those who reacted are named. */
const NAMED = 20;

/** Whether an event changes a message. */
export const isChange = (event: LogEvent): event is ChangeEvent =>
  /^(message:(edit|delet)ed|reaction:.+)$/.test(event.type);

/**
 * The message after a change, the same object where nothing changes; `undefined` where what is held
 * cannot tell, and the message is to be read again.
 */
export function fold(message: Message, event: ChangeEvent, me: string | undefined): Message | undefined {
  const lastSeq = event.seq;
  if (lastSeq <= message.lastSeq || event.target_id !== message.id) return message;
  if (message.deleted) {
    // Read over HTTP it is deleted already where it stands; this is where that happened.
    return event.type === "message:deleted" && message.lastSeq === message.seq
      ? { ...message, lastSeq }
      : message;
  }
  switch (event.type) {
    case "message:edited":
      return {
        ...message,
        content: event.content,
        ...(event.metadata && { metadata: event.metadata }),
        editedAt: Date.parse(event.at) || message.at,
        lastSeq,
      };
    case "message:deleted": {
      const { metadata: _, ...rest } = message;
      return { ...rest, content: "", attachments: [], reactions: [], deleted: true, lastSeq };
    }
    default: {
      const reactions = react(message.reactions, event.emoji, event.by, event.type === "reaction:added", me);
      if (!reactions) return undefined;
      return reactions === message.reactions ? message : { ...message, reactions, lastSeq };
    }
  }
}

/** The set of reactions after one was given or taken; `undefined` where it takes more than is known. */
export function react(
  reactions: readonly Reaction[],
  emoji: string,
  by: string,
  give: boolean,
  me: string | undefined,
): readonly Reaction[] | undefined {
  const old = reactions.find((reaction) => reaction.emoji === emoji);
  const mine = by === me;
  if (!old) return give ? [...reactions, { emoji, count: 1, mine, users: [by] }] : reactions;
  const named = old.users.includes(by);
  // Of oneself it is always told; of others only the first are.
  if (!named && !mine && old.count > old.users.length) return undefined;
  const given = named || (mine && old.mine);
  if (given === give) return reactions;
  const count = old.count + (give ? 1 : -1);
  if (count <= 0) return reactions.filter((reaction) => reaction !== old);
  const users = give ? [...old.users, by].slice(0, NAMED) : old.users.filter((user) => user !== by);
  const now = { emoji, count, mine: mine ? give : old.mine, users };
  return reactions.map((reaction) => (reaction === old ? now : reaction));
}
