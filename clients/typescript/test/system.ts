/** A running system, secured, of emulated devices, which take the time of their profiles and echo what they get. */

import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { type ConnectionOptions, PlannerClient, ProfilerClient, securityFromEnvironment } from "../src/index.js";

const FLAGS = "--port 0 --executor emulated --num-devices 4 --memory-bytes 16000000000 --secure --output json";
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
  /** What the environment of an administrator's program says of it. */
  readonly environment: Readonly<Record<string, string>>;
  stop(): Promise<void>;
}

/** Run `alpaserve up` on free ports. @throws Error if it ends before it serves. */
export async function startSystem(): Promise<System> {
  const directory = await mkdtemp(join(tmpdir(), "alpaserve-"));
  const up = spawn("alpaserve", ["up", ...FLAGS.split(" "), "--data-dir", directory], {
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
    if (text.endsWith("\n}\n")) return { environment: environment(JSON.parse(text).addresses, directory), stop };
  }
  await stop();
  throw new Error("alpaserve up ended before it served");
}

function environment(addresses: Addresses, directory: string): Record<string, string> {
  const security = join(directory, "security");
  return {
    // Node warns of certificates for addresses.
    ALPASERVE_TEST_ADDRESSES: JSON.stringify(addresses).replaceAll("127.0.0.1", "localhost"),
    ALPASERVE_TEST_SECURITY: security,
    ALPASERVE_TLS_CA: join(security, "ca.pem"),
    ALPASERVE_TLS_CERTIFICATE: join(security, "client.pem"),
    ALPASERVE_TLS_KEY: join(security, "client-key.pem"),
    ALPASERVE_TOKEN_FILE: join(security, "admin.token"),
  };
}

/** Place `quick` (5 ms) on a pipeline and `slow` (1.5 s) alone; `idle` has no group. */
export async function placeModels(): Promise<void> {
  await using profiling = new ProfilerClient(addresses().profiler, connection());
  await using planning = new PlannerClient(addresses().planner, connection());
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
  return JSON.parse(told("ALPASERVE_TEST_ADDRESSES"));
}

/** How an administrator connects. */
export function connection(): ConnectionOptions {
  return securityFromEnvironment();
}

/** Where its certificates and tokens are. */
export function securityDirectory(): string {
  return told("ALPASERVE_TEST_SECURITY");
}

function told(name: string): string {
  const text = process.env[name];
  if (text === undefined) throw new Error("no system to test against: use npm test");
  return text;
}
