import { files } from "@tidings/client/files";
import type { ChatUiProviderProps } from "@tidings/react-ui";
import type { DemoConfig } from "./server.ts";

/** The files of the chat; undefined if the servers have none, and then the page is as without files. */
export const demoFiles = (config: DemoConfig | undefined): ChatUiProviderProps["files"] =>
  config?.files ? files : undefined;
