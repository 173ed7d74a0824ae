import type { Message, Room } from "@tidings/client";

/**
 * The largest distance, in seqs, over which messages are loaded for a jump. A
 * message further away is shown in a dialog.
 */
const MAX_DISTANCE_SEQS = 2000;
const PAGE_SIZE = 200;

/**
 * Loads older messages until the list contains the message with this seq.
 *
 * @param isWanted whether to continue; called before each page
 * @returns the message; `far` when it is too far away, `missing` when the user can see no message there, `failed` when
 *   older messages could not be loaded
 */
export async function seek(
  room: Pick<Room, "messages" | "loadOlder">,
  seq: number,
  isWanted: () => boolean,
): Promise<Message | "far" | "missing" | "failed"> {
  while (isWanted()) {
    const { items, hasOlder } = room.messages.get();
    const found = items.find((message) => message.seq === seq);
    if (found) return found;
    const oldest = items.find((message) => message.seq !== undefined)?.seq;
    if (oldest === undefined || seq > oldest || !hasOlder) return "missing";
    if (oldest - seq > MAX_DISTANCE_SEQS) return "far";
    try {
      await room.loadOlder(Math.min(PAGE_SIZE, Math.max(50, oldest - seq + 10)));
    } catch {
      return "failed";
    }
  }
  return "missing";
}
