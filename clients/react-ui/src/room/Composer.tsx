import { editMessage } from "@tidings/client/changes";
import { useDraft, useMe, useTidings, useTyping } from "@tidings/react";
import {
  type KeyboardEvent,
  type ReactNode,
  useEffect,
  useId,
  useLayoutEffect,
  useRef,
  useState,
  useSyncExternalStore,
} from "react";
import { AttachButton, ComposerFiles } from "../files/ComposerFiles.js";
import { useAttach } from "../files/useAttach.js";
import { errorText } from "../logic/connection.js";
import { allowedMentions } from "../logic/mentions.js";
import { audienceNames } from "../logic/private.js";
import { roomTitle } from "../logic/title.js";
import { useChatUi } from "../state/chatUi.js";
import { IconButton } from "../ui/Button.js";
import { Icon } from "../ui/Icon.js";
import { PersonOptions } from "../ui/PersonOptions.js";
import { useToast } from "../ui/Toasts.js";
import { useActions } from "./actions.js";
import { type ComposerMode, LimitLine, ModeBar, PrivateBar } from "./ComposerBar.js";
import { EmojiPicker } from "./EmojiPicker.js";
import { PrivatePicker } from "./PrivatePicker.js";
import { mayWrite } from "./permissions.js";
import { RoomNotice } from "./RoomUnavailable.js";
import { useRoomContext } from "./roomContext.js";
import { SlowModeLine } from "./SlowMode.js";
import { hasTouchKeyboard, useComposerFocus } from "./useComposerFocus.js";
import { useEmojiNames } from "./useEmojiNames.js";
import { useMentions } from "./useMentions.js";
import { useAllMembers } from "./useRoomMembers.js";

/**
 * The input for messages, or a notice when the user may only read. What the user types is the room's draft, which all
 * tabs share.
 */
export function Composer(): ReactNode {
  const { summary } = useRoomContext();
  return summary && !mayWrite(summary) ? <RoomNotice summary={summary} /> : <MessageInput />;
}

function MessageInput() {
  const client = useTidings();
  const { room, summary, mode, endMode, editLast } = useRoomContext();
  const { user, slots } = useChatUi();
  const { nameOf, quotes } = useActions();
  const draft = useDraft(room);
  const text = draft.content;
  const { replyTo, visibleTo } = draft;
  const privateTo = audienceNames(visibleTo, nameOf);
  const { typed, stop } = useTyping(room);
  const limit = useMe()?.limits.maxMessageChars ?? 1000;
  const toast = useToast();
  const limitId = useId();
  const input = useRef<HTMLTextAreaElement>(null);
  const composer = useRef<HTMLDivElement>(null);
  const { attach, remove, onPaste, dropping, isEnabled } = useAttach(room, composer, mode === undefined);
  const [editing, setEditing] = useState<{ text: string; mentions: readonly string[] }>();
  const members = useAllMembers(room);
  const [open, setOpen] = useState<{ what: "private" } | { what: "emoji"; anchor: HTMLElement }>();

  const shownText = editing?.text ?? text;
  const shownMentions = editing?.mentions ?? draft.mentions ?? [];
  const audience = mode ? mode.message.visibleTo : visibleTo;
  const remainingChars = limit - [...shownText].length;
  const hasContent = shownText.trim() !== "" || (!mode && draft.attachments.length > 0);
  const isSendable = hasContent && remainingChars >= 0;

  const repliedMessage = useSyncExternalStore(
    quotes.subscribe,
    () => (replyTo === undefined ? undefined : quotes.get(replyTo)),
    () => undefined,
  );
  useEffect(() => {
    if (replyTo !== undefined && repliedMessage === undefined) quotes.load(replyTo);
  }, [replyTo, repliedMessage, quotes]);
  const cancelReply = () => draft.set({ replyTo: undefined });

  // When the mode changes, the input shows the text of the message to edit, or the draft again.
  const [lastMode, setLastMode] = useState(mode);
  if (mode !== lastMode) {
    setLastMode(mode);
    setEditing(mode && { text: mode.message.content, mentions: mode.message.mentions ?? [] });
  }
  // A reply that the draft has kept does not open the keyboard of a phone when the room opens.
  const lastReply = useRef(replyTo);
  useEffect(() => {
    const replyChosen = replyTo !== undefined && replyTo !== lastReply.current;
    lastReply.current = replyTo;
    if (mode || replyChosen) input.current?.focus();
  }, [mode, replyTo]);

  useComposerFocus(input);

  // biome-ignore lint/correctness/useExhaustiveDependencies: the height follows what is shown
  useLayoutEffect(() => {
    const element = input.current;
    if (!element) return;
    const line = element.parentElement as HTMLElement;
    // Keeps the height of the parent while the text is measured, so that nothing around the input moves.
    line.style.minHeight = `${line.offsetHeight}px`;
    element.style.height = "auto";
    element.style.height = `${element.scrollHeight}px`;
    line.style.minHeight = "";
  }, [shownText]);

  const change = (next: string, mentions = picker.kept(next)) => {
    if (editing) return setEditing({ text: next, mentions });
    draft.set({ content: next, mentions: mentions.length > 0 ? mentions : undefined });
    if (next.trim() === "") stop();
    else typed();
  };

  const saveEdit = (message: ComposerMode["message"], next: string) => {
    endMode();
    const mentionsChanged = shownMentions.join() !== (message.mentions ?? []).join();
    if (message.seq === undefined || (next === message.content && !mentionsChanged)) return;
    // Mentions that did not change are left out, because a mentioned user may have left.
    const mentions = mentionsChanged ? shownMentions : undefined;
    editMessage(client.room(room), message.seq, next, undefined, mentions).catch((error: unknown) =>
      toast(`Your change was not saved. ${errorText(error)}`),
    );
  };

  const send = () => {
    if (!isSendable) return;
    const content = shownText.trim();
    if (mode) return saveEdit(mode.message, content);
    try {
      // The audience may have changed after the mention, and the server refuses mentions outside of it.
      const mentions = allowedMentions(shownMentions, members, visibleTo, user);
      draft.send({ mentions: mentions.length > 0 ? mentions : undefined });
    } catch (error) {
      return toast(errorText(error));
    }
    input.current?.focus();
  };

  const onKeyDown = (event: KeyboardEvent) => {
    // While an input method composes a word, Enter confirms the word and must not send the message.
    if (event.nativeEvent.isComposing || picker.options.onKeyDown(event)) return;
    // The keyboards of phones have no Shift+Enter, so there Enter begins a line.
    if (event.key === "Enter" && !event.shiftKey && !hasTouchKeyboard()) {
      event.preventDefault();
      send();
    } else if (event.key === "Escape" && (mode || replyTo !== undefined)) {
      event.preventDefault();
      if (mode) endMode();
      else cancelReply();
    } else if (
      event.key === "ArrowUp" &&
      !event.altKey &&
      shownText === "" &&
      !mode &&
      replyTo === undefined
    ) {
      event.preventDefault();
      editLast();
    }
  };

  const insert = (
    part: string,
    from = input.current?.selectionStart ?? shownText.length,
    to = input.current?.selectionEnd ?? shownText.length,
    mentions?: readonly string[],
  ) => {
    const element = input.current;
    change(shownText.slice(0, from) + part + shownText.slice(to), mentions);
    picker.setCursor(undefined);
    requestAnimationFrame(() => {
      element?.focus();
      element?.setSelectionRange(from + part.length, from + part.length);
    });
  };
  const picker = useMentions({
    room,
    text: shownText,
    mentions: shownMentions,
    audience,
    me: user,
    insert: (part, from, to, mentions) => insert(part, from, to, mentions),
  });

  useEmojiNames(input, shownText, insert);

  return (
    <div ref={composer} className="tidings-composer" data-dropping={dropping || undefined}>
      {(mode || replyTo !== undefined) && (
        <ModeBar
          editing={mode !== undefined}
          message={mode?.message ?? (repliedMessage === "missing" ? undefined : repliedMessage)}
          nameOf={nameOf}
          onCancel={() => {
            if (mode) endMode();
            else cancelReply();
            input.current?.focus();
          }}
        />
      )}
      {privateTo.length > 0 && !mode && (
        <PrivateBar names={privateTo} onCancel={() => draft.set({ visibleTo: undefined })} />
      )}
      {!mode && <ComposerFiles attachments={draft.attachments} onRemove={remove} />}
      {dropping && <p className="tidings-drop-notice">Drop the files to attach them</p>}
      <PersonOptions label="People to mention" state={picker.options} above />
      <div className="tidings-composer-line" data-private={privateTo.length > 0 || undefined}>
        <IconButton
          icon="smile"
          label="Insert emoji"
          aria-haspopup="dialog"
          onClick={(event) => setOpen({ what: "emoji", anchor: event.currentTarget })}
        />
        {summary?.kind !== "direct" && (
          <IconButton
            icon="lock"
            label="Send privately"
            aria-pressed={privateTo.length > 0}
            onClick={() => setOpen({ what: "private" })}
          />
        )}
        {isEnabled && <AttachButton onFiles={attach} />}
        {slots.ComposerButtons && <slots.ComposerButtons room={room} insert={(part) => insert(part)} />}
        <textarea
          ref={input}
          data-testid="composer"
          rows={1}
          aria-label={`Message to ${roomTitle(summary)}`}
          placeholder="Write a message"
          value={shownText}
          dir="auto"
          enterKeyHint={hasTouchKeyboard() ? "enter" : "send"}
          aria-invalid={remainingChars < 0 || undefined}
          aria-describedby={limitId}
          autoComplete="off"
          {...picker.options.fieldProps}
          onChange={(event) => {
            change(event.target.value);
            picker.setCursor(event.target.selectionEnd);
          }}
          onSelect={(event) => picker.setCursor(event.currentTarget.selectionEnd)}
          onKeyDown={onKeyDown}
          onPaste={onPaste}
          onBlur={() => {
            picker.setCursor(undefined);
            stop();
          }}
        />
        <button
          type="button"
          className="tidings-icon-button tidings-send-button"
          aria-label={mode ? "Save" : "Send"}
          title={mode ? "Save" : "Send"}
          disabled={!isSendable}
          onPointerDown={(event) => event.preventDefault()}
          onClick={send}
        >
          <Icon name={mode ? "check" : "send"} />
        </button>
      </div>
      {!mode && <SlowModeLine />}
      <LimitLine id={limitId} left={remainingChars} limit={limit} mentionsFull={picker.isFull} />
      {open?.what === "emoji" && (
        <EmojiPicker
          anchor={open.anchor}
          label="Emoji"
          onPick={(emoji) => insert(emoji)}
          onClose={() => setOpen(undefined)}
        />
      )}
      {open?.what === "private" && (
        <PrivatePicker
          room={room}
          me={user}
          chosen={visibleTo?.users ?? []}
          onChoose={(users) =>
            draft.set({ visibleTo: users.length ? { users: [...users], roles: [] } : undefined })
          }
          onClose={() => setOpen(undefined)}
        />
      )}
    </div>
  );
}
