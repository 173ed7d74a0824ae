/** Tokens as an identity provider creates them, with a shared secret (HS256). */
import { createHmac } from "node:crypto";

/** The claims of a token beside the user id. */
export interface Claims {
  /** Seconds until it expires (default 3,600); a negative value makes an expired token. */
  readonly ttl?: number;
  readonly name?: string;
  /** Words separated by blanks, such as `tidings.admin`. */
  readonly scope?: string;
}

/** Creates a token of this user. */
export function sign(user: string, secret: string, claims: Claims = {}): string {
  const now = Math.floor(Date.now() / 1000);
  const { ttl = 3600, ...claimFields } = claims;
  const part = (value: object) => Buffer.from(JSON.stringify(value)).toString("base64url");
  const text = `${part({ alg: "HS256", typ: "JWT" })}.${part({ sub: user, iat: now, exp: now + ttl, ...claimFields })}`;
  return `${text}.${createHmac("sha256", secret).update(text).digest("base64url")}`;
}
