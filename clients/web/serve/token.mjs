import { createHmac } from "node:crypto";

/** How long a token is valid, in seconds. */
export const TOKEN_TTL_SECONDS = 3600;

/** @param {object} value */
const encodePart = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");

/**
 * Makes a JSON Web Token signed with HS256. The demo has no passwords and accepts every name, so its server listens on
 * this machine only.
 * @param {string} secret
 * @param {{sub: string, name: string}} user
 * @param {number} nowMs
 * @returns {string}
 */
export function signToken(secret, user, nowMs) {
  const iat = Math.floor(nowMs / 1000);
  const claims = { sub: user.sub, name: user.name, iat, exp: iat + TOKEN_TTL_SECONDS };
  const signingInput = `${encodePart({ alg: "HS256", typ: "JWT" })}.${encodePart(claims)}`;
  return `${signingInput}.${createHmac("sha256", secret).update(signingInput).digest("base64url")}`;
}
