import { TestNetwork } from "@tidings/client/testing";
import { TidingsProvider } from "@tidings/react";
import { renderToString } from "react-dom/server";
import { expect, test } from "vitest";
import { ChatApp, useHashNavigation } from "../src/index.js";

test("a server renders a chat with an open room", () => {
  const client = new TestNetwork({ rooms: ["kitchen"] }).client();
  const navigation = { route: { room: "kitchen", panel: "members" }, go: () => {} } as const;
  const html = renderToString(
    <TidingsProvider client={client}>
      <ChatApp navigation={navigation} />
    </TidingsProvider>,
  );
  expect(html).toContain("Skip to the conversation");
  client.close();
});

const HashChat = () => <ChatApp navigation={useHashNavigation()} />;

test("a server renders a chat with hash navigation without a room", () => {
  const client = new TestNetwork().client();
  const html = renderToString(
    <TidingsProvider client={client}>
      <HashChat />
    </TidingsProvider>,
  );
  expect(html).toContain("Your conversations");
  client.close();
});
