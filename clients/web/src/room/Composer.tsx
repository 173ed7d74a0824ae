import type { RoomSummary } from "@tidings/client";
import { editMessage } from "@tidings/client/changes";
import { useMe, useTidings, useTyping } from "@tidings/react";
import { type KeyboardEvent, useEffect, useLayoutEffect, useRef, useState } from "react";
import { errorText } from "../logic/connection.ts";
import { roomTitle } from "../logic/title.ts";
import { useApp } from "../state/app.ts";
import { IconButton } from "../ui/Button.tsx";
import { Icon } from "../ui/Icon.tsx";
import { useToast } from "../ui/Toasts.tsx";
import { useActions } from "./actions.ts";
import { type ComposerMode, ModeBar, PrivateBar } from "./ComposerBar.tsx";
import { EmojiPicker } from "./EmojiPicker.tsx";
import { PrivatePicker } from "./PrivatePicker.tsx";

/** The counter is shown when fewer characters than this are left. */
const COUNTER_THRESHOLD = 100;

interface ComposerProps {
  readonly room: string;
  readonly summary: RoomSummary | undefined;
  readonly mode: ComposerMode | undefined;
  readonly onModeEnd: () => void;
  /** Called when the user presses the up arrow in an empty input, to edit the user's last message. */
  readonly onEditLast: () => void;
}

/** The input for messages. It keeps the typed text in its own state, so that typing renders no other component. */
export function Composer({ room, summary, mode, onModeEnd, onEditLast }: ComposerProps) {
  const client = useTidings();
  const { drafts, user } = useApp();
  const { nameOf } = useActions();
  const { typed, stop } = useTyping(room);
  const limit = useMe()?.limits.max_message_chars ?? 1000;
  const toast = useToast();
  const input = useRef<HTMLTextAreaElement>(null);
  const [text, setText] = useState(() => drafts.get(room));
  const [editing, setEditing] = useState<{ text: string }>();
  const [privateTo, setPrivateTo] = useState<readonly string[]>([]);
  const [open, setOpen] = useState<{ what: "private" } | { what: "emoji"; anchor: HTMLElement }>();

  const shown = editing?.text ?? text;
  const left = limit - [...shown].length;
  const sendable = shown.trim() !== "" && left >= 0;

  // When the mode changes, the input shows the text of the message to edit, or the draft again.
  const [lastMode, setLastMode] = useState(mode);
  if (mode !== lastMode) {
    setLastMode(mode);
    setEditing(mode?.kind === "edit" ? { text: mode.message.content } : undefined);
  }
  useEffect(() => {
    if (mode) input.current?.focus();
  }, [mode]);

  useEffect(() => () => drafts.publish(), [drafts]);

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
  }, [shown]);

  const change = (next: string) => {
    if (editing) return setEditing({ text: next });
    setText(next);
    drafts.set(room, next);
    if (next.trim() === "") stop();
    else typed();
  };

  const saveEdit = (message: ComposerMode["message"], next: string) => {
    onModeEnd();
    if (message.seq === undefined || next === message.content) return;
    editMessage(client.room(room), message.seq, next).catch((error: unknown) =>
      toast(`Your change was not saved. ${errorText(error)}`),
    );
  };

  const send = () => {
    if (!sendable) return;
    const content = shown.trim();
    if (mode?.kind === "edit") return saveEdit(mode.message, content);
    try {
      client.room(room).send(content, {
        ...(mode?.message.seq === undefined ? {} : { replyTo: mode.message.seq }),
        ...(privateTo.length === 0 ? {} : { visibleTo: { users: [...privateTo], roles: [] } }),
      });
    } catch (error) {
      return toast(errorText(error));
    }
    setText("");
    drafts.set(room, "");
    if (mode) onModeEnd();
    input.current?.focus();
  };

  const onKeyDown = (event: KeyboardEvent) => {
    // While an input method composes a word, Enter confirms the word and must not send the message.
    if (event.nativeEvent.isComposing) return;
    if (event.key === "Enter" && !event.shiftKey) {
      event.preventDefault();
      send();
    } else if (event.key === "Escape" && mode) {
      event.preventDefault();
      onModeEnd();
    } else if (event.key === "ArrowUp" && shown === "" && !mode) {
      event.preventDefault();
      onEditLast();
    }
  };

  const insert = (emoji: string) => {
    const element = input.current;
    const from = element?.selectionStart ?? shown.length;
    const to = element?.selectionEnd ?? shown.length;
    change(shown.slice(0, from) + emoji + shown.slice(to));
    requestAnimationFrame(() => {
      element?.focus();
      element?.setSelectionRange(from + emoji.length, from + emoji.length);
    });
  };

  return (
    <div className="composer">
      {mode && (
        <ModeBar
          mode={mode}
          name={mode.message.mine ? "yourself" : (mode.message.sender.name ?? nameOf(mode.message.sender.id))}
          onCancel={() => {
            onModeEnd();
            input.current?.focus();
          }}
        />
      )}
      {privateTo.length > 0 && mode?.kind !== "edit" && (
        <PrivateBar names={privateTo.map(nameOf)} onCancel={() => setPrivateTo([])} />
      )}
      <div className="composer-line" data-private={privateTo.length > 0 || undefined}>
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
        <textarea
          ref={input}
          data-testid="composer"
          rows={1}
          aria-label={`Message to ${roomTitle(summary)}`}
          placeholder="Write a message"
          value={shown}
          dir="auto"
          enterKeyHint="send"
          autoComplete="off"
          onChange={(event) => change(event.target.value)}
          onKeyDown={onKeyDown}
          onBlur={stop}
        />
        {left < COUNTER_THRESHOLD && (
          <span className="composer-count" data-over={left < 0 || undefined} aria-live="polite">
            {left}
          </span>
        )}
        <button
          type="button"
          className="icon-button send-button"
          aria-label={mode?.kind === "edit" ? "Save" : "Send"}
          title={mode?.kind === "edit" ? "Save" : "Send"}
          disabled={!sendable}
          onPointerDown={(event) => event.preventDefault()}
          onClick={send}
        >
          <Icon name={mode?.kind === "edit" ? "check" : "send"} />
        </button>
      </div>
      {open?.what === "emoji" && (
        <EmojiPicker anchor={open.anchor} label="Emoji" onPick={insert} onClose={() => setOpen(undefined)} />
      )}
      {open?.what === "private" && (
        <PrivatePicker
          room={room}
          me={user}
          chosen={privateTo}
          onChoose={setPrivateTo}
          onClose={() => setOpen(undefined)}
        />
      )}
    </div>
  );
}
