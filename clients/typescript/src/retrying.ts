/** When a call is tried again: only while it is not under way anywhere. */

import { setTimeout as pause } from "node:timers/promises";
import { Unavailable } from "./errors.js";

const FIRST_PAUSE_S = 0.05;
const LONGEST_PAUSE_S = 1;
// How grpc-js tells of a call that was never sent.
const NOT_CONNECTED = "No connection established";

/** How often, how long, and until when to try. */
export interface Patience {
  readonly numRetries: number;
  readonly patienceS: number;
  readonly elapsedS: () => number;
  readonly signal?: AbortSignal | undefined;
}

/** Call a function until it answers or trying again is unsafe or pointless. @throws the last try's error. */
export async function retrying<T>(call: () => Promise<T>, patience: Patience): Promise<T> {
  for (let numRetries = 0; ; numRetries += 1) {
    try {
      return await call();
    } catch (error) {
      if (!mayRepeat(error) || numRetries === patience.numRetries) throw error;
      const pauseS = Math.max(lengthening(numRetries), error.retryAfterS ?? 0);
      if (patience.elapsedS() + pauseS >= patience.patienceS) throw error;
      await pause(pauseS * 1000, undefined, { signal: patience.signal }).catch(() => patience.signal?.throwIfAborted());
    }
  }
}

/** A router says so, or the call never got to one. A call whose connection broke may have run. */
function mayRepeat(error: unknown): error is Unavailable {
  return error instanceof Unavailable && (error.reason !== "" || error.message.startsWith(NOT_CONNECTED));
}

/** A random pause from a range that doubles from try to try. */
function lengthening(numRetries: number): number {
  return Math.random() * Math.min(FIRST_PAUSE_S * 2 ** numRetries, LONGEST_PAUSE_S);
}
