import type { Attachment } from "@tidings/client";
import { draft } from "@tidings/client/drafts";
import { useTidings } from "@tidings/react";
import { type ClipboardEvent, type RefObject, useEffect, useState } from "react";
import { attachmentKey, attachmentKind, MAX_ATTACHMENTS } from "../logic/attachments.js";
import { errorText } from "../logic/connection.js";
import { useChatUi } from "../state/chatUi.js";
import { useToast } from "../ui/Toasts.js";

/** The largest picture whose sides the browser measures before the upload, in bytes. */
const MAX_MEASURED_BYTES = 30_000_000;

/** The sides of a picture, so that its message has the right size before the upload is complete. */
async function measure(file: Blob): Promise<{ width: number; height: number } | undefined> {
  if (typeof createImageBitmap !== "function" || file.size > MAX_MEASURED_BYTES) return undefined;
  try {
    const bitmap = await createImageBitmap(file);
    const { width, height } = bitmap;
    bitmap.close();
    return { width, height };
  } catch {
    // The file is not a picture that this browser knows.
    return undefined;
  }
}

/** Adds files to the draft of a room and uploads them, from the button, the clipboard or a drop on the room. */
export function useAttach(room: string, composer: RefObject<HTMLElement | null>, enabled: boolean) {
  const client = useTidings();
  const { files } = useChatUi();
  const toast = useToast();
  const [dropping, setDropping] = useState(false);
  const isEnabled = enabled && files !== undefined;

  const attach = (chosen: readonly File[]): void => {
    if (!files) return;
    const roomDraft = draft(client.room(room));
    for (const file of chosen) {
      const before = roomDraft.get().attachments;
      if (before.length >= MAX_ATTACHMENTS) {
        toast(`A message has at most ${MAX_ATTACHMENTS} files.`);
        return;
      }
      let added: Attachment;
      try {
        added = files.add(room, file);
      } catch (error) {
        toast(errorText(error));
        return;
      }
      roomDraft.set({ attachments: [...before, added] });
      if (attachmentKind(added) !== "picture") continue;
      void measure(file).then((sides) => {
        const now = roomDraft.get().attachments;
        if (!sides || !now.some(({ upload }) => upload === added.upload)) return;
        roomDraft.set({
          attachments: now.map((one) => (one.upload === added.upload ? { ...one, ...sides } : one)),
        });
      });
    }
  };

  const remove = (attachment: Attachment): void => {
    const roomDraft = draft(client.room(room));
    const key = attachmentKey(attachment);
    roomDraft.set({ attachments: roomDraft.get().attachments.filter((one) => attachmentKey(one) !== key) });
  };

  const onPaste = (event: ClipboardEvent): void => {
    const { files: pasted, types } = event.clipboardData;
    // Office programs offer text together with a picture of it.
    if (!isEnabled || pasted.length === 0 || types.includes("text/rtf")) return;
    event.preventDefault();
    attach([...pasted]);
  };

  // The whole room takes drops: the element around the list and the input.
  // biome-ignore lint/correctness/useExhaustiveDependencies: `attach` reads the present draft itself
  useEffect(() => {
    const zone = composer.current?.parentElement;
    if (!zone || !isEnabled) return;
    const hasFiles = (event: DragEvent) => event.dataTransfer?.types.includes("Files") === true;
    const onDragOver = (event: DragEvent) => {
      if (!hasFiles(event)) return;
      event.preventDefault();
      setDropping(true);
    };
    const onDragLeave = (event: DragEvent) => {
      if (!(event.relatedTarget instanceof Node && zone.contains(event.relatedTarget))) setDropping(false);
    };
    const onDrop = (event: DragEvent) => {
      setDropping(false);
      if (!hasFiles(event)) return;
      event.preventDefault();
      attach([...(event.dataTransfer?.files ?? [])]);
    };
    zone.addEventListener("dragover", onDragOver);
    zone.addEventListener("dragleave", onDragLeave);
    zone.addEventListener("drop", onDrop);
    return () => {
      zone.removeEventListener("dragover", onDragOver);
      zone.removeEventListener("dragleave", onDragLeave);
      zone.removeEventListener("drop", onDrop);
    };
  }, [composer, isEnabled, room, client, files]);

  return { attach, remove, onPaste, dropping: dropping && isEnabled, isEnabled };
}
