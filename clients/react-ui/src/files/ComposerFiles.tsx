import type { Attachment } from "@tidings/client";
import { useLocalFile, useUpload } from "@tidings/react";
import { useRef } from "react";
import { attachmentKey, attachmentKind } from "../logic/attachments.js";
import { useChatUi } from "../state/chatUi.js";
import { IconButton } from "../ui/Button.js";
import { UploadLine } from "./PendingFile.js";
import { UploadProgress } from "./UploadProgress.js";

/** The button that lets the user choose files. */
export function AttachButton({ onFiles }: { onFiles: (files: readonly File[]) => void }) {
  const input = useRef<HTMLInputElement>(null);
  return (
    <>
      <IconButton icon="attach" label="Attach files" onClick={() => input.current?.click()} />
      <input
        ref={input}
        type="file"
        multiple
        hidden
        aria-label="Files to attach"
        onChange={({ target }) => {
          onFiles([...(target.files ?? [])]);
          // The user may choose the same file again.
          target.value = "";
        }}
      />
    </>
  );
}

interface ComposerFilesProps {
  readonly attachments: readonly Attachment[];
  readonly onRemove: (attachment: Attachment) => void;
}

/** The files of the draft, with their progress. */
export function ComposerFiles({ attachments, onRemove }: ComposerFilesProps) {
  if (attachments.length === 0) return null;
  return (
    <ul className="tidings-composer-files" aria-label="Attached files">
      {attachments.map((attachment) => (
        <li key={attachmentKey(attachment)} className="tidings-composer-file">
          <ComposerFile attachment={attachment} onRemove={onRemove} />
        </li>
      ))}
    </ul>
  );
}

function ComposerFile({
  attachment,
  onRemove,
}: {
  attachment: Attachment;
  onRemove: (attachment: Attachment) => void;
}) {
  const { files } = useChatUi();
  const state = useUpload(files, attachment.upload);
  const isPicture = attachmentKind(attachment) === "picture";
  const local = useLocalFile(isPicture ? files : undefined, attachment);
  return (
    <>
      {local && <img className="tidings-composer-preview" src={local} alt="" />}
      <div className="tidings-column">
        <UploadLine attachment={attachment} onRemove={() => onRemove(attachment)} />
        {attachment.upload !== undefined && <UploadProgress attachment={attachment} state={state} />}
      </div>
    </>
  );
}
