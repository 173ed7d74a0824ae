import type { ScriptedServer } from "../../src/testing.js";

/** The parts of the scripted server that are in its source and in its build. */
interface HttpServer extends Pick<ScriptedServer, "http"> {
  readonly rooms: ReadonlyMap<string, unknown>;
  readonly now: () => number;
}

/** The API of muted rooms, as `tidings-push` answers. Returns the rooms of the server with the times of their ends. */
export function serveMutes(server: HttpServer): Map<string, string | null> {
  const mutes = new Map<string, string | null>();
  const notFound = { status: 404, body: { code: "not_found" } };
  server.http = (method, path, body) => {
    const [, , what, id] = path.split("/");
    if (what !== "mutes") return undefined;
    const room = decodeURIComponent(id ?? "");
    const until = (body?.until as string | undefined) ?? null;
    if (method === "GET") {
      const now = server.now();
      const present = [...mutes].filter(([, end]) => end === null || Date.parse(end) > now);
      return { status: 200, body: { mutes: present.map(([room, until]) => ({ room, until })) } };
    }
    if (method === "DELETE") return mutes.delete(room) ? { status: 204 } : notFound;
    if (!server.rooms.has(room)) return notFound;
    mutes.set(room, until);
    return { status: 200, body: { room, until } };
  };
  return mutes;
}
