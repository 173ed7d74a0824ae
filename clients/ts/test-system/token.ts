/** Tokens as an identity provider would mint them, with a shared secret (HS256). */
import { createHmac } from "node:crypto";

/** What a token tells of its user beside the id. */
export interface Claims {
  /** Seconds until it expires (3,600 unless told); below zero it did that long ago. */
  readonly ttl?: number;
  readonly name?: string;
  /** Words split by blanks, such as `tidings.admin`. */
  readonly scope?: string;
}

/** A token of this user. */
export function sign(user: string, secret: string, claims: Claims = {}): string {
  const now = Math.floor(Date.now() / 1000);
  const { ttl = 3600, ...told } = claims;
  const part = (value: object) => Buffer.from(JSON.stringify(value)).toString("base64url");
  const text = `${part({ alg: "HS256", typ: "JWT" })}.${part({ sub: user, iat: now, exp: now + ttl, ...told })}`;
  return `${text}.${createHmac("sha256", secret).update(text).digest("base64url")}`;
}
