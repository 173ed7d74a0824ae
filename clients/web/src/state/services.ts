import { files } from "@tidings/client/files";
import { mutes } from "@tidings/client/push";
import type { ChatUiProviderProps } from "@tidings/react-ui";
import type { DemoConfig } from "./server.ts";

/** What the chat gets from the servers. A feature whose service the servers lack is undefined. */
export const demoServices = (
  config: DemoConfig | undefined,
): Pick<ChatUiProviderProps, "files" | "mutes" | "pictureOrigins"> => ({
  files: config?.files ? files : undefined,
  mutes: config?.push ? mutes : undefined,
  pictureOrigins: config?.pictures,
});
