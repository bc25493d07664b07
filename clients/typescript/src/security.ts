/** Who the two ends of a connection are: TLS, and the token that a caller shows. A token never travels in the clear. */

import { readFileSync } from "node:fs";
import { type ChannelCredentials, credentials } from "@grpc/grpc-js";

/** A PEM: the path of a file, or the bytes of one. */
export type Pem = string | Uint8Array;

/** Settings of an encrypted connection; `certificate` and `key` go together. */
export interface Tls {
  /** Who may have signed the service's certificate; absent means whom Node trusts. */
  readonly ca?: Pem | undefined;
  /** What this client shows where the service asks for it. */
  readonly certificate?: Pem | undefined;
  readonly key?: Pem | undefined;
}

/** What ALPASERVE_TLS_CA, _TLS_CERTIFICATE and _TLS_KEY, and ALPASERVE_TOKEN or ALPASERVE_TOKEN_FILE say. */
export function securityFromEnvironment(env: NodeJS.ProcessEnv = process.env): { tls?: Tls; token?: string } {
  const given = { ca: env.ALPASERVE_TLS_CA, certificate: env.ALPASERVE_TLS_CERTIFICATE, key: env.ALPASERVE_TLS_KEY };
  const tls = Object.fromEntries(Object.entries(given).filter(([, path]) => path));
  const file = env.ALPASERVE_TOKEN_FILE;
  const token = env.ALPASERVE_TOKEN || (file ? readFileSync(file, "utf8").trim() : "");
  return { ...(Object.keys(tls).length ? { tls } : {}), ...(token ? { token } : {}) };
}

/** @throws TypeError, which does not tell the token. */
export function checkToken(token: string | undefined, tls: Tls | undefined): void {
  if (!token) return;
  if (tls === undefined) throw new TypeError("a token needs tls: it would travel in the clear");
  if (!/^[\x21-\x7e]+$/.test(token)) throw new TypeError("a token is of printable ASCII characters, without spaces");
}

/** @throws TypeError for what `tls` is not, the system's error for a file that cannot be read. */
export function channelCredentials(tls: Tls | undefined): ChannelCredentials {
  if (tls === undefined) return credentials.createInsecure();
  if ((tls.certificate === undefined) !== (tls.key === undefined)) {
    throw new TypeError("certificate and key go together");
  }
  return credentials.createSsl(pem(tls.ca), pem(tls.key), pem(tls.certificate));
}

function pem(given: Pem | undefined): Buffer | null {
  if (given === undefined) return null;
  return typeof given === "string" ? readFileSync(given) : Buffer.from(given);
}
