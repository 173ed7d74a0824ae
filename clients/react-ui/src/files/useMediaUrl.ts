import type { Attachment, Message } from "@tidings/client";
import { useFileUrl, useLocalFile } from "@tidings/react";
import { useRef, useState } from "react";
import { useChatUi } from "../state/chatUi.js";

/** How often an element may ask for a new address after an error, without loading anything in between. */
const MAX_RENEWALS = 3;

/**
 * The address of a file, or of its preview, for an element that loads it. Prefers the bytes of this device.
 */
export function useMediaUrl(message: Message, attachment: Attachment, preview = false) {
  const { files } = useChatUi();
  const [loaded, setLoaded] = useState(false);
  const local = useLocalFile(files, attachment);
  const { url, held, error, renew } = useFileUrl(files, message, attachment, !loaded, preview);
  const renewals = useRef(0);
  const [broken, setBroken] = useState(false);
  const notice = held ? "Being checked…" : error || broken ? "Not available" : undefined;
  return {
    src: local ?? url,
    notice,
    loaded,
    onLoaded: () => {
      renewals.current = 0;
      setBroken(false);
      setLoaded(true);
    },
    /** Asks for a new address, because the present one may have ended. */
    onError: () => {
      if (renewals.current >= MAX_RENEWALS) return setBroken(true);
      renewals.current += 1;
      renew();
    },
  };
}
