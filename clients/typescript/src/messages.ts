/** What the clients of planner and profiler share. */

import type { CallLimits } from "./connection.js";

/** A message of which any part may be left out. */
// biome-ignore lint/suspicious/noExplicitAny: the generated code keeps the type of a partial message to itself
export type Given<Message extends { fromPartial(given: any): unknown }> = Parameters<Message["fromPartial"]>[0];

/** Limits of a call that takes its time: no timeout unless one is given. */
export function unlimited(limits: CallLimits = {}): CallLimits {
  return { timeoutS: Number.POSITIVE_INFINITY, ...limits };
}
