import type { Attachment, Message } from "@tidings/client";
import { react, unreact } from "@tidings/client/changes";
import { draft } from "@tidings/client/drafts";
import { messagesAround } from "@tidings/client/http";
import { members } from "@tidings/client/live";
import { useRoom, useTidings } from "@tidings/react";
import { type ReactNode, useCallback, useEffect, useMemo, useState } from "react";
import { openLink } from "../files/openLink.js";
import { attachmentKind } from "../logic/attachments.js";
import { errorText } from "../logic/connection.js";
import { displayName } from "../logic/names.js";
import { useChatPlace, useChatUi } from "../state/chatUi.js";
import { namesOf } from "../state/names.js";
import { useToast } from "../ui/Toasts.js";
import { ActionsProvider, type MessageActions } from "./actions.js";
import type { ComposerMode } from "./ComposerBar.js";
import { MessageOverlay, type Overlay } from "./MessageOverlay.js";
import { mayChange, mayWrite } from "./permissions.js";
import { createQuotes } from "./quotes.js";
import { type RoomContext, RoomContextProvider } from "./roomContext.js";
import { useRemoval } from "./useRemoval.js";

/** The properties of a room. */
export interface RoomProps {
  /** The id of the room. For another room, give the component another `key`. */
  readonly room: string;
}

/**
 * A room for the components inside: {@link RoomHeader}, {@link MessageList}, {@link TypingLine} and {@link Composer}. It
 * keeps the room open, and shows the menus and dialogs of its messages.
 */
export function RoomScope({ room, children }: RoomProps & { readonly children?: ReactNode }): ReactNode {
  const client = useTidings();
  const handle = client.room(room);
  const { summary, phase, error } = useRoom(room);
  const toast = useToast();
  const { files } = useChatUi();
  const [mode, setMode] = useState<ComposerMode>();
  const [overlay, setOverlay] = useState<Overlay>();
  const { target: place } = useChatPlace();
  const target = place?.room === room ? place.jump : undefined;
  const [jump, setJump] = useState(target);
  const close = useCallback(() => setOverlay(undefined), []);
  const endMode = useCallback(() => setMode(undefined), []);
  const quotes = useMemo(
    () =>
      createQuotes(handle, async (seq) =>
        (await messagesAround(client, room, seq, 1)).find((message) => message.seq === seq),
      ),
    [client, room, handle],
  );

  // Keeps the room open even while the page shows a notice instead of its messages.
  useEffect(() => handle.open(), [handle]);

  useEffect(() => {
    if (target) setJump(target);
  }, [target]);

  useEffect(() => client.on("event", quotes.applyEvent), [client, quotes]);

  // The client may have missed events before the room became live, so loaded quotes may be out of date.
  useEffect(() => {
    if (phase === "live") quotes.clear();
  }, [phase, quotes]);

  const openFile = useCallback(
    (message: Message, attachment: Attachment) => {
      if (!files) return;
      openLink(files, message, attachment).then(
        (notice) => notice && toast(notice),
        (failure: unknown) => toast(errorText(failure)),
      );
    },
    [files, toast],
  );

  const actions = useMemo<MessageActions>(() => {
    const loadedMessages = () => handle.messages.get().items;
    const currentSummary = () => handle.state.get().summary;
    const rowOf = (anchor: HTMLElement) => anchor.closest<HTMLElement>("[data-key]") ?? undefined;
    return {
      reply: (message) => {
        if (mayWrite(currentSummary()) && message.seq !== undefined && !message.deleted) {
          setMode(undefined);
          draft(handle).reply(message);
        }
      },
      edit: (message) => {
        if (message.mine && mayChange(currentSummary(), message)) setMode({ message });
      },
      askDelete: (message) => {
        if (mayChange(currentSummary(), message)) setOverlay({ what: "delete", message });
      },
      toggleReaction: (message, emoji) => {
        if (message.seq === undefined) return;
        // The server gives all spellings of an emoji one form, which differs only in variation selectors.
        const plain = (text: string) => text.replace(/[\ufe0e\ufe0f]/g, "");
        const mine = message.reactions.some((one) => one.mine && plain(one.emoji) === plain(emoji));
        const change = mine ? unreact(handle, message.seq, emoji) : react(handle, message.seq, emoji);
        change.catch((failure: unknown) => toast(errorText(failure)));
      },
      openPicker: (message, anchor) => setOverlay({ what: "picker", message, anchor, row: rowOf(anchor) }),
      openMenu: (message, anchor, at) =>
        setOverlay({ what: "menu", message, anchor, row: rowOf(anchor), at }),
      openDetails: (message) => setOverlay({ what: "details", message }),
      openFile: (message, attachment) => {
        if (attachmentKind(attachment) === "picture") setOverlay({ what: "pictures", message, attachment });
        else openFile(message, attachment);
      },
      jumpTo: (seq) => setJump({ seq }),
      retry: (message) => client.outbox.retry(message.clientId),
      discard: (message) => client.outbox.discard(message.clientId),
      quotes,
      nameOf: (user) => {
        const member = members(handle)
          .get()
          ?.find((one) => one.user === user);
        const sender = member?.name
          ? undefined
          : loadedMessages().findLast((message) => message.sender.id === user)?.sender;
        return displayName(user, member?.name ?? sender?.name ?? namesOf(client).nameOf(user));
      },
    };
  }, [client, handle, quotes, toast, openFile]);

  const removal = useRemoval(room, actions.nameOf);

  const editLast = useCallback(() => {
    const lastOwn = handle.messages
      .get()
      .items.findLast((one) => one.mine && !one.deleted && one.seq !== undefined);
    if (lastOwn) actions.edit(lastOwn);
  }, [handle, actions]);

  const value = useMemo<RoomContext>(
    () => ({ room, summary, phase, error, removal, mode, endMode, editLast, jump }),
    [room, summary, phase, error, removal, mode, endMode, editLast, jump],
  );
  const isAvailable = phase !== "removed" && phase !== "failed";
  return (
    <ActionsProvider value={actions}>
      <RoomContextProvider value={value}>{children}</RoomContextProvider>
      {isAvailable && overlay && (
        <MessageOverlay
          room={room}
          summary={summary}
          overlay={overlay}
          actions={actions}
          onDetails={() => actions.openDetails(overlay.message)}
          onOpenFile={openFile}
          onClose={close}
        />
      )}
    </ActionsProvider>
  );
}
