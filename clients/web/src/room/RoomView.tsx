import type { Message } from "@tidings/client";
import { deleteMessage, react, unreact } from "@tidings/client/changes";
import { messagesAround } from "@tidings/client/http";
import { members } from "@tidings/client/live";
import { useRoom, useTidings } from "@tidings/react";
import { useCallback, useEffect, useMemo, useState } from "react";
import { ContextDialog } from "../dialogs/ContextDialog.tsx";
import { DetailsDialog } from "../dialogs/DetailsDialog.tsx";
import { errorText } from "../logic/connection.ts";
import { displayName } from "../logic/names.ts";
import type { Panel } from "../state/route.ts";
import { ConfirmDialog } from "../ui/ConfirmDialog.tsx";
import { Menu } from "../ui/Menu.tsx";
import { useToast } from "../ui/Toasts.tsx";
import { ActionsProvider, type MessageActions } from "./actions.ts";
import { Composer } from "./Composer.tsx";
import type { ComposerMode } from "./ComposerBar.tsx";
import { EmojiPicker } from "./EmojiPicker.tsx";
import { MessagePane } from "./MessagePane.tsx";
import { messageMenu } from "./messageMenu.ts";
import { mayChange, mayWrite } from "./permissions.ts";
import { createQuotes } from "./quotes.ts";
import { RoomHeader } from "./RoomHeader.tsx";
import { RoomNotice, RoomUnavailable } from "./RoomUnavailable.tsx";
import { TypingLine } from "./TypingLine.tsx";
import type { JumpTarget } from "./useJump.ts";

type Overlay =
  | { what: "picker" | "menu"; message: Message; anchor: HTMLElement; row: HTMLElement | undefined }
  | { what: "delete" | "details"; message: Message }
  | { what: "context"; seq: number };

interface RoomViewProps {
  readonly room: string;
  readonly panel: Panel | undefined;
  readonly target: JumpTarget | undefined;
}

/** A room: its header, its messages and the input. */
export function RoomView({ room, panel, target }: RoomViewProps) {
  const client = useTidings();
  const handle = client.room(room);
  const { summary, phase, error } = useRoom(room);
  const toast = useToast();
  const [mode, setMode] = useState<ComposerMode>();
  const [overlay, setOverlay] = useState<Overlay>();
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

  const actions = useMemo<MessageActions>(() => {
    const loadedMessages = () => handle.messages.get().items;
    const currentSummary = () => handle.state.get().summary;
    const rowOf = (anchor: HTMLElement) => anchor.closest<HTMLElement>("[data-key]") ?? undefined;
    return {
      reply: (message) => {
        if (mayWrite(currentSummary()) && message.seq !== undefined && !message.deleted)
          setMode({ kind: "reply", message });
      },
      edit: (message) => {
        if (message.mine && mayChange(currentSummary(), message)) setMode({ kind: "edit", message });
      },
      askDelete: (message) => {
        if (mayChange(currentSummary(), message)) setOverlay({ what: "delete", message });
      },
      toggleReaction: (message, emoji) => {
        if (message.seq === undefined) return;
        const mine = message.reactions.some((one) => one.emoji === emoji && one.mine);
        const change = mine ? unreact(handle, message.seq, emoji) : react(handle, message.seq, emoji);
        change.catch((failure: unknown) => toast(errorText(failure)));
      },
      openPicker: (message, anchor) => setOverlay({ what: "picker", message, anchor, row: rowOf(anchor) }),
      openMenu: (message, anchor) => setOverlay({ what: "menu", message, anchor, row: rowOf(anchor) }),
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
        return displayName(user, member?.name ?? sender?.name);
      },
    };
  }, [client, handle, quotes, toast]);

  const editLast = useCallback(() => {
    const last = handle.messages
      .get()
      .items.findLast((one) => one.mine && !one.deleted && one.seq !== undefined);
    if (last) actions.edit(last);
  }, [handle, actions]);

  const onFar = useCallback((seq: number) => setOverlay({ what: "context", seq }), []);

  if (phase === "removed" || phase === "failed") return <RoomUnavailable phase={phase} error={error} />;
  const message = overlay && "message" in overlay ? overlay.message : undefined;
  return (
    <ActionsProvider value={actions}>
      <main className="room column">
        <RoomHeader room={room} summary={summary} panel={panel} />
        <MessagePane room={room} target={jump} onFar={onFar} />
        <TypingLine room={room} />
        {summary && !mayWrite(summary) ? (
          <RoomNotice summary={summary} />
        ) : (
          <Composer room={room} summary={summary} mode={mode} onModeEnd={endMode} onEditLast={editLast} />
        )}
      </main>
      {overlay?.what === "picker" && (
        <EmojiPicker
          anchor={overlay.anchor}
          returnTo={overlay.row}
          align="end"
          label="React with"
          onPick={(emoji) => actions.toggleReaction(overlay.message, emoji)}
          onClose={close}
        />
      )}
      {overlay?.what === "menu" && (
        <Menu
          anchor={overlay.anchor}
          returnTo={overlay.row}
          align={overlay.message.mine ? "end" : "start"}
          label="Message"
          items={messageMenu(overlay.message, summary, actions, {
            openDetails: () => setOverlay({ what: "details", message: overlay.message }),
            openPicker: () => actions.openPicker(overlay.message, overlay.row ?? overlay.anchor),
            copied: () => toast("Copied"),
          })}
          onClose={close}
        />
      )}
      {overlay?.what === "delete" && message?.seq !== undefined && (
        <ConfirmDialog
          title="Delete message?"
          text="The message will be deleted for everyone. You cannot undo this."
          action="Delete"
          onConfirm={() => deleteMessage(handle, message.seq as number)}
          onClose={close}
        />
      )}
      {overlay?.what === "details" && message && (
        <DetailsDialog room={room} message={message} onClose={close} />
      )}
      {overlay?.what === "context" && <ContextDialog room={room} seq={overlay.seq} onClose={close} />}
    </ActionsProvider>
  );
}
