import assert from "node:assert/strict";
import { describe, test } from "node:test";
import {
  DeadlineExceeded,
  FailedPrecondition,
  InvalidArgument,
  NotFound,
  PlannerClient,
  ProfilerClient,
} from "../src/index.js";
import { collected } from "./collected.js";
import { addresses, connection } from "./system.js";

const MODELS = ["idle", "quick", "slow"];
const GAMMA = { ratePerS: { quick: 5, slow: 0.2 }, cv: 3, duration: { seconds: 30, nanos: 0 } };
const WORKLOAD = { source: { $case: "gamma", value: GAMMA } } as const;

describe("the planner", () => {
  test("models are added, listed and removed", async () => {
    await using planner = new PlannerClient(addresses().planner, connection());
    const serviceLevel = { objective: { $case: "sloScale", value: 5 } } as const;
    const names = async (): Promise<string[]> => (await planner.listModels()).map(({ name }) => name);
    const stored = await planner.registerModel({ name: "new", profile: "quick", serviceLevel });
    const with_it = await names();
    await planner.removeModel("new");
    assert.deepEqual(stored.serviceLevel, serviceLevel);
    assert.deepEqual(with_it, ["idle", "new", "quick", "slow"]);
    assert.deepEqual(await names(), MODELS);
  });

  test("a model that runs is not removed", async () => {
    await using planner = new PlannerClient(addresses().planner, connection());
    await assert.rejects(planner.removeModel("quick"), { constructor: FailedPrecondition, reason: "STILL_PLACED" });
  });

  test("the running placement is what its watcher sees first, and what status tells", async () => {
    await using planner = new PlannerClient(addresses().planner, connection());
    const { placement, createdAt } = await planner.placement();
    const { placementVersion, workers, groups } = await planner.status();
    for await (const seen of planner.watchPlacement()) {
      assert.deepEqual(seen, placement);
      break;
    }
    assert.equal(placementVersion, placement?.version);
    assert.deepEqual(
      groups.map(({ group }) => group),
      placement?.groups,
    );
    assert.deepEqual(
      workers.map(({ executor, numDevices, memoryBytes }) => [executor, numDevices, memoryBytes]),
      [["emulated", 4, 16_000_000_000]],
    );
    assert.ok(createdAt instanceof Date);
  });

  test("a version that never was is refused", async () => {
    await using planner = new PlannerClient(addresses().planner, connection());
    await assert.rejects(planner.placement(99), { constructor: InvalidArgument, message: /no placement version 99/ });
  });

  test("a plan tells its progress, then what it would change, and changes nothing unless asked to", async () => {
    await using planner = new PlannerClient(addresses().planner, connection());
    const before = await planner.placement();
    const request = { workload: WORKLOAD, validateOnly: true, maxSimulations: 40, seed: 3 };
    const events = (await collected(planner.plan(request))).map(({ event }) => event);
    const last = events.at(-1);
    assert.ok(last?.$case === "plan");
    assert.ok(last.value.attainment > 0 && last.value.attainment <= 1);
    assert.ok(last.value.placement?.groups.some(({ models }) => models.includes("slow")));
    assert.equal(last.value.baseVersion, before.placement?.version);
    assert.ok(events.slice(0, -1).every((event) => event?.$case === "progress"));
    assert.deepEqual(await planner.placement(), before);
  });

  test("watching ends with the timeout or the signal", async () => {
    await using planner = new PlannerClient(addresses().planner, connection());
    const watched = collected(planner.watchPlacement({ timeoutS: 0.1 }));
    const aborted = collected(planner.watchTransition({ signal: AbortSignal.timeout(100) }));
    await assert.rejects(watched, DeadlineExceeded);
    await assert.rejects(aborted, { name: "TimeoutError" });
  });

  test("what a placement would attain is simulated", async () => {
    await using planner = new PlannerClient(addresses().planner, connection());
    const { attainment } = await planner.simulate({ workload: WORKLOAD });
    assert.ok(attainment > 0 && attainment <= 1);
  });
});

test("the profiler tells what it keeps", async () => {
  await using profiler = new ProfilerClient(addresses().profiler, connection());
  const { models } = await profiler.getProfile("quick");
  assert.deepEqual(await profiler.listProfiles(), ["quick", "slow"]);
  assert.deepEqual(
    models[0]?.stages.map(({ config, stageLatencyS }) => [config?.interOp, stageLatencyS]),
    [
      [1, [0.005]],
      [2, [0.0025, 0.0025]],
    ],
  );
  await assert.rejects(profiler.removeProfile("quick"), { constructor: FailedPrecondition });
  await assert.rejects(profiler.getProfile("nobody"), { constructor: NotFound, reason: "UNKNOWN_PROFILE" });
});
