import { createHmac } from "node:crypto";

/** How long a token of the demo is good, in seconds. */
export const TOKEN_SECONDS = 3600;

/** @param {object} value */
const part = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");

/**
 * A JSON Web Token signed with HS256. There is no password: the demo believes whoever gives a name, which is why its
 * server listens on this machine only.
 * @param {string} secret
 * @param {{sub: string, name: string}} who
 * @param {number} nowMs
 * @returns {string}
 */
export function signToken(secret, who, nowMs) {
  const iat = Math.floor(nowMs / 1000);
  const claims = { sub: who.sub, name: who.name, iat, exp: iat + TOKEN_SECONDS };
  const signed = `${part({ alg: "HS256", typ: "JWT" })}.${part(claims)}`;
  return `${signed}.${createHmac("sha256", secret).update(signed).digest("base64url")}`;
}
