import type { Message, Room } from "@tidings/client";

/** Positions that are loaded at once to get to a message; one that is further away is shown on its own. */
const NEAR = 2000;
const PAGE = 200;

/**
 * Loads older messages until the one at a position is held.
 *
 * @param wanted whether it is still wanted; asked before each page
 * @returns the message; `far` when too much lies between, `missing` when nothing to be seen stands there, `failed`
 *   when what is older could not be loaded
 */
export async function seek(
  room: Pick<Room, "messages" | "loadOlder">,
  seq: number,
  wanted: () => boolean,
): Promise<Message | "far" | "missing" | "failed"> {
  while (wanted()) {
    const { items, hasOlder } = room.messages.get();
    const found = items.find((message) => message.seq === seq);
    if (found) return found;
    const oldest = items.find((message) => message.seq !== undefined)?.seq;
    if (oldest === undefined || seq > oldest || !hasOlder) return "missing";
    if (oldest - seq > NEAR) return "far";
    try {
      await room.loadOlder(Math.min(PAGE, Math.max(50, oldest - seq + 10)));
    } catch {
      return "failed";
    }
  }
  return "missing";
}
