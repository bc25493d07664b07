/** A running system of emulated devices, which take the time of their profiles and echo what they get. */

import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { PlannerClient, ProfilerClient } from "../src/index.js";

const REPOSITORY = join(import.meta.dirname, "../../../..");
const LATENCY_S = { quick: 0.005, slow: 1.5 };
const PROFILES = {
  schema: "alpaserve.profiles/v1",
  models: Object.entries(LATENCY_S).map(([model, latency_s]) => ({
    model,
    profiles: [1, 2].map((inter_op) => ({
      inter_op,
      intra_op: 1,
      batch_size: 1,
      stage_latency_s: Array(inter_op).fill(latency_s / inter_op),
      stage_weight_bytes: Array(inter_op).fill(3_000_000_000 / inter_op),
    })),
  })),
};

export interface Addresses {
  readonly router: string;
  readonly planner: string;
  readonly profiler: string;
}

export interface System {
  readonly addresses: Addresses;
  stop(): Promise<void>;
}

/** Run `alpaserve up` on free ports. @throws Error if it ends before it serves. */
export async function startSystem(): Promise<System> {
  const directory = await mkdtemp(join(tmpdir(), "alpaserve-"));
  const flags = ["--port", "0", "--executor", "emulated", "--num-devices", "4", "--memory-bytes", "16000000000"];
  const up = spawn("alpaserve", ["up", ...flags, "--data-dir", directory, "--output", "json"], {
    env: { ...process.env, PATH: [join(REPOSITORY, ".venv/bin"), process.env.PATH].join(delimiter) },
    stdio: ["ignore", "pipe", "inherit"],
  });
  const stop = async (): Promise<void> => {
    if (up.exitCode === null && up.kill("SIGTERM")) await once(up, "exit");
    await rm(directory, { recursive: true });
  };
  let text = "";
  for await (const chunk of up.stdout.setEncoding("utf8")) {
    text += chunk;
    if (text.trimEnd().endsWith("\n}")) return { addresses: JSON.parse(text).addresses, stop };
  }
  await stop();
  throw new Error("alpaserve up ended before it served");
}

/** Place `quick` (5 ms) on a pipeline and `slow` (1.5 s) alone; `idle` has no group. */
export async function placeModels({ planner, profiler }: Addresses): Promise<void> {
  await using profiling = new ProfilerClient(profiler);
  await using planning = new PlannerClient(planner);
  await profiling.importProfiles(JSON.stringify(PROFILES));
  await planning.registerModel({ name: "quick", profile: "quick" });
  await planning.registerModel({ name: "slow", profile: "slow" });
  await planning.registerModel({ name: "idle", profile: "quick" });
  await planning.apply({
    groups: [
      { config: { interOp: 2, intraOp: 1 }, devices: [0, 1], models: ["quick"] },
      { config: { interOp: 1, intraOp: 1 }, devices: [2], models: ["slow"] },
    ],
  });
}

/** Where the system that the runner started serves. */
export function addresses(): Addresses {
  const text = process.env.ALPASERVE_TEST_ADDRESSES;
  if (text === undefined) throw new Error("no system to test against: use npm test");
  return JSON.parse(text);
}
