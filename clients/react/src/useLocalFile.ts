import type { Attachment, Files } from "@tidings/client";
import { useEffect, useState } from "react";

/**
 * The address of a file on this device: of an upload that waits, or of a file that this page has sent. Undefined if the
 * device does not have the bytes. A content security policy must permit `blob:` for it.
 */
export function useLocalFile(files: Files | undefined, attachment: Attachment): string | undefined {
  const { upload, file } = attachment;
  const key = upload ?? file ?? "";
  const [local, setLocal] = useState<{ key: string; url: string }>();
  // biome-ignore lint/correctness/useExhaustiveDependencies: `key` stands for the attachment
  useEffect(() => {
    if (files === undefined || key === "") return;
    let ended = false;
    let url: string | undefined;
    files.local(attachment).then(
      (blob) => {
        if (ended || !blob) return;
        url = URL.createObjectURL(blob);
        setLocal({ key, url });
      },
      // The storage failed, so there is no preview.
      () => {},
    );
    return () => {
      ended = true;
      if (url !== undefined) URL.revokeObjectURL(url);
    };
  }, [files, key]);
  return local?.key === key ? local.url : undefined;
}
