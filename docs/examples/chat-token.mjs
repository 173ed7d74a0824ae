// Tokens for whoever is signed in by Auth.js (NextAuth): its own session cookie is encrypted, and nobody else's to read.
// docs/TOKENS.md tells where this goes; it needs Node and nothing else.
import { createHmac } from "node:crypto";

const part = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");

/** A token of this user, good for so many seconds. */
export function mint(user, secret, seconds = 600) {
  const exp = Math.floor(Date.now() / 1000) + seconds;
  const claims = { sub: String(user.id), name: user.name ?? undefined, picture: user.image ?? undefined, exp };
  const signed = `${part({ alg: "HS256", typ: "JWT" })}.${part(claims)}`;
  return `${signed}.${createHmac("sha256", secret).update(signed).digest("base64url")}`;
}

/** A route handler: `auth` is what Auth.js exports, and tells who asks. */
export const chatTokenRoute = (auth, secret) => async () => {
  const session = await auth();
  if (!session?.user?.id) return Response.json({ error: "sign in first" }, { status: 401 });
  return Response.json({ token: mint(session.user, secret) }, { headers: { "cache-control": "no-store" } });
};
