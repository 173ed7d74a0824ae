import { files } from "@tidings/client/files";
import { mutes } from "@tidings/client/push";
import type { ChatUiProviderProps } from "@tidings/react-ui";
import type { DemoConfig } from "./server.ts";

/** The features of the chat that need services. A feature whose service the servers lack is undefined. */
export const demoServices = (
  config: DemoConfig | undefined,
): Pick<ChatUiProviderProps, "files" | "mutes"> => ({
  files: config?.files ? files : undefined,
  mutes: config?.push ? mutes : undefined,
});
