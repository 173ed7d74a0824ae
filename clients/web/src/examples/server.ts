import { browserLifecycle, type ClientOptions } from "@tidings/client";
import { type Answer, type Json, type ScriptedServer, TestNetwork } from "@tidings/client/testing";

/** How long Bob thinks about an answer, in ms. */
const ANSWER_DELAY_MS = 1500;

const ANSWERS = ["I see.", "Tell me **more** about it.", "Is there tea left?", "🎉"];

/** The options of a client of the user `alice`, with a server of its own in the memory of the page. */
export function exampleOptions(): ClientOptions {
  const network = new TestNetwork({ realTime: true });
  const { server } = network;
  server.addRoom("kitchen", ["bob", "carol-ann"]);
  server.addRoom("garden", ["bob"]);
  server.addRoom("workshop", ["carol-ann"]).createdAt = new Date(server.now()).toISOString();
  server.presence.set("bob", "online").set("carol-ann", "away").set("alice", "online");
  server.say("garden", "bob", "The beans need water. Can you do it *today*?");
  server.say("kitchen", "carol-ann", "Shall we bake on Sunday?");
  server.say("kitchen", "bob", "Yes! I bring:\n- flour\n- eggs\n- `butter`");
  server.say("kitchen", "alice", "And I bring the tea.");
  server.append("kitchen", {
    type: "reaction:added",
    target: 3,
    target_id: "m3-kitchen",
    by: "bob",
    emoji: "🎉",
  });
  server.http = (method, path) => extraAnswer(server, method, path);
  server.hook = (frame) => {
    if (frame.type === "message:send") answerLater(server, frame);
    return undefined;
  };
  return network.options({ transport: "websocket", lifecycle: browserLifecycle() });
}

function answerLater(server: ScriptedServer, { room, content }: Json): void {
  const answer = ANSWERS[String(content).length % ANSWERS.length] ?? "";
  setTimeout(() => server.say(String(room), "bob", answer), ANSWER_DELAY_MS);
}

/** The answers of the HTTP interface that the scripted server does not have: a search, and the public rooms. */
function extraAnswer(server: ScriptedServer, method: string, path: string): Answer | undefined {
  if (method !== "GET") return undefined;
  if (path === "/search") {
    const event = server.room("kitchen").log[0] ?? {};
    const message = { ...event, last_seq: 1, reactions: [], deleted: false };
    const snippet = [
      { text: "Shall we ", hit: false },
      { text: "bake", hit: true },
      { text: " on Sunday?", hit: false },
    ];
    return { status: 200, body: { results: [{ message, snippet }], next: null } };
  }
  if (path === "/rooms") {
    const at = new Date(server.now()).toISOString();
    const room = { kind: "public", created_by: "bob", created_at: at, updated_at: at, metadata: null };
    const head = { epoch: "1", seq: 0 };
    const rooms = ["choir", "football"].map((name, index) => ({
      ...room,
      room: name,
      name,
      members: 12 + index,
      archived: false,
      head,
    }));
    return { status: 200, body: { rooms, next: null } };
  }
  return undefined;
}
