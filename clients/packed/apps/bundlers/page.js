// @ts-check
// A page with the kit, the hooks and a chat, for bundlers. It prints the HTML of the first state, whether the chat was
// rendered, and the version of React.
import { TidingsClient } from "@tidings/client";
import { presence } from "@tidings/client/live";
import { memoryStorage } from "@tidings/client/storage";
import { TidingsProvider, useConnection, useMessages } from "@tidings/react";
import { ChatApp } from "@tidings/react-ui";
import { createElement, version } from "react";
import { renderToString } from "react-dom/server";

function Room() {
  const { state } = useConnection();
  const { items, phase } = useMessages("kitchen");
  return createElement("p", null, `${state} ${phase} ${items.length}`);
}

const client = new TidingsClient({
  url: "https://chat.example.com",
  token: () => "none",
  storage: memoryStorage(),
});
presence(client);
const html = renderToString(createElement(TidingsProvider, { client }, createElement(Room)));
const chat = renderToString(createElement(TidingsProvider, { client }, createElement(ChatApp)));
client.close();
// biome-ignore lint/suspicious/noConsole: the test reads this output
console.log(JSON.stringify({ html, chat: chat.includes("Your conversations"), version }));
