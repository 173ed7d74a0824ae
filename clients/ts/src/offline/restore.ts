import { MembersFeature } from "../live/members.js";
import type { RoomImpl } from "../room/room.js";
import { type RoomRecord, toMessageObject, toRoomObject } from "./record.js";

/** Shows the list entry of a record in a room that the client has not read yet. */
export function restoreSummary(room: RoomImpl, record: RoomRecord): void {
  const { summary, sentRead } = record;
  const { listing } = room;
  listing.summary.applyAnswer(toRoomObject(record));
  if (summary.peer) listing.summary.setPeer(summary.peer);
  // The user has read further without a connection. The kit sends the mark when it is connected.
  if (summary.readSeq > sentRead) listing.markRead(summary.readSeq);
  room.update();
}

/**
 * Shows the page and the members of a record in a room that is open and has no messages. The next join continues from
 * the cursor of the page. Does nothing while connected, because the log of the room may already be followed.
 */
export function showPage(room: RoomImpl, { page, members }: RoomRecord): void {
  const { core, timeline, log, error } = room;
  if (!page || error || !room.opened || timeline.loaded || core.connection.up) return;
  const { target } = log;
  const { seq: firstSeq = 0 } = page.items[0] ?? {};
  if (typeof target === "number" && target < firstSeq) return;
  // An entry in the outbox may not be stored yet, so the page must end before its message.
  const unstored = new Set(core.outbox.entriesOf(room.id).map(({ clientId }) => clientId));
  const unstoredAt = page.items.findIndex(({ mine, clientId }) => mine && unstored.has(clientId));
  const items = unstoredAt < 0 ? page.items : page.items.slice(0, unstoredAt);
  const unstoredSeq = page.items[unstoredAt]?.seq;
  const head = unstoredSeq === undefined ? page.cursor : { ...page.cursor, seq: unstoredSeq - 1 };
  log.cursor = head;
  timeline.load({
    messages: items.map(toMessageObject),
    head,
    has_before: page.hasOlder,
    has_after: false,
    system_events: page.systemEvents ?? [],
  });
  if (members) room.features.of(MembersFeature).restore(members);
  room.update();
}
