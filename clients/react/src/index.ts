"use client";

export { useTidings } from "./context.js";
export { TidingsProvider, type TidingsProviderProps } from "./provider.js";
export { useConnection } from "./useConnection.js";
export { type DraftResult, useDraft } from "./useDraft.js";
export { useMe } from "./useMe.js";
export { type MembersResult, useMembers } from "./useMembers.js";
export { type MessagesOptions, type MessagesResult, useMessages } from "./useMessages.js";
export { type OutboxResult, useOutbox } from "./useOutbox.js";
export { type PresenceMap, usePresence } from "./usePresence.js";
export { type ReadResult, useRead } from "./useRead.js";
export { useReceipts } from "./useReceipts.js";
export { type RoomResult, useRoom } from "./useRoom.js";
export { type RoomsResult, useRooms } from "./useRooms.js";
export { useStore } from "./useStore.js";
export { type TypingResult, useTyping } from "./useTyping.js";
