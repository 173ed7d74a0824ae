import type { Attachment } from "@tidings/client";
import { useLocalFile, useUpload } from "@tidings/react";
import { attachmentKind } from "../logic/attachments.js";
import { useChatUi } from "../state/chatUi.js";
import { IconButton } from "../ui/Button.js";
import { Icon } from "../ui/Icon.js";
import { MediaBox } from "./MediaBox.js";
import { UploadProgress, uploadText } from "./UploadProgress.js";

/** A file of a message that waits for it, with its progress. */
export function PendingFile({ attachment }: { attachment: Attachment }) {
  const { files } = useChatUi();
  const state = useUpload(files, attachment.upload);
  const isPicture = attachmentKind(attachment) === "picture";
  const local = useLocalFile(isPicture ? files : undefined, attachment);
  return (
    <div className="tidings-upload tidings-column">
      {local && (
        <MediaBox attachment={attachment}>
          <img src={local} alt={attachment.name} />
        </MediaBox>
      )}
      <UploadLine attachment={attachment} />
      <UploadProgress attachment={attachment} state={state} />
    </div>
  );
}

/** The name of an upload, what it is doing, and the buttons to try it again and to remove it. */
export function UploadLine({ attachment, onRemove }: { attachment: Attachment; onRemove?: () => void }) {
  const { files } = useChatUi();
  const { upload = "", name } = attachment;
  const state = useUpload(files, attachment.upload);
  const isFailed = state?.phase === "failed";
  return (
    <div className="tidings-upload-line tidings-line">
      <Icon name={isFailed ? "warning" : "file"} size={18} />
      <span className="tidings-upload-text tidings-two-lines">
        <strong dir="auto">{name}</strong>
        <span role={isFailed ? "alert" : undefined}>{uploadText(attachment, state)}</span>
      </span>
      {isFailed && (
        <IconButton
          icon="retry"
          label={`Upload ${name} again`}
          size={18}
          onClick={() => files?.retry(upload)}
        />
      )}
      <IconButton
        icon="close"
        label={`Remove ${name}`}
        size={18}
        onClick={() => {
          if (upload !== "") files?.cancel(upload);
          onRemove?.();
        }}
      />
    </div>
  );
}
