import assert from "node:assert/strict";
import { connect, createServer } from "node:net";
import { describe, test } from "node:test";
import { setTimeout as pause } from "node:timers/promises";
import {
  Client,
  type Dtype,
  dtypes,
  elementsOf,
  FailedPrecondition,
  InvalidArgument,
  NotFound,
  PlannerClient,
  SloUnattainable,
  type Tensor,
  tensor,
} from "../src/index.js";
import { collected } from "./collected.js";
import { addresses, connection } from "./system.js";

const INPUTS = { x: Int32Array.of(1, 2, 3) };

describe("one request", () => {
  for (const dtype of dtypes) {
    test(`tensors of ${dtype} come back as they went, of any shape`, async () => {
      await using client = new Client(addresses().router, connection());
      const inputs = Object.fromEntries(
        [[], [3], [0], [2, 0, 3], [2, 3, 4]].map((shape) => [`of shape [${shape}]`, filled(dtype, shape)]),
      );
      const { outputs } = await client.infer("quick", inputs);
      assert.deepEqual(Object.keys(outputs).sort(), Object.keys(inputs).sort());
      for (const [name, { shape, data }] of Object.entries(inputs)) {
        assert.equal(outputs[name]?.dtype, dtype);
        assert.deepEqual(outputs[name]?.shape, shape);
        assert.deepEqual(outputs[name]?.data, data);
      }
    });
  }

  test("typed arrays are vectors of their dtypes", async () => {
    await using client = new Client(addresses().router, connection());
    const inputs = { ids: BigInt64Array.of(-1n, 2n), pixels: Buffer.of(1, 255), scores: Float64Array.of(0.1) };
    const { ids, pixels, scores } = (await client.infer("quick", inputs)).outputs;
    assert.deepEqual([ids?.dtype, pixels?.dtype, scores?.dtype], ["int64", "uint8", "float64"]);
    assert.deepEqual(elementsOf(ids as Tensor), [-1n, 2n]);
  });

  test("the answer tells who served it and how long that took", async () => {
    await using client = new Client(addresses().router, connection());
    await using planner = new PlannerClient(addresses().planner, connection());
    const result = await client.infer("quick", INPUTS, { requestId: "mine", sloS: 5 });
    const { placement } = await planner.placement();
    const group = placement?.groups.find(({ models }) => models.includes("quick"));
    assert.equal(result.requestId, "mine");
    assert.equal(result.group, group?.name);
    assert.equal(result.placementVersion, placement?.version);
    assert.equal(result.batchSize, 1);
    assert.ok(result.executionTimeS > 0 && result.queueTimeS >= 0);
    assert.equal(result.stages.length, 2);
    assert.ok(result.stages.every(({ beginS, endS, profiledS }) => beginS < endS && profiledS === 0.0025));
    assert.ok(result.groupTimeS <= result.routerTimeS);
    assert.ok(result.predictedFinishS > 0 && result.predictedFinishS < 5);
  });
});

describe("errors", () => {
  test("an unknown model is not found", async () => {
    await using client = new Client(addresses().router, connection());
    const error = { constructor: NotFound, name: "NotFound", reason: "UNKNOWN_MODEL", message: /no model 'nobody'/ };
    await assert.rejects(client.infer("nobody", INPUTS), error);
  });

  test("a model without a group fails a precondition", async () => {
    await using client = new Client(addresses().router, connection());
    await assert.rejects(client.infer("idle", INPUTS), { constructor: FailedPrecondition, reason: "NOT_PLACED" });
  });

  test("an SLO that cannot be kept is refused with the figures", async () => {
    await using client = new Client(addresses().router, connection());
    await assert.rejects(client.infer("slow", INPUTS, { sloS: 0.5 }), (error: SloUnattainable) => {
      assert.equal(error.constructor, SloUnattainable);
      assert.ok(error.predictedS >= 1.5);
      assert.ok(Math.abs(error.allowedS - 0.5) < 1e-6);
      assert.ok(Number(error.retryAfterS) > 0);
      return true;
    });
  });

  test("a timeout is a deadline of the request too", async () => {
    await using client = new Client(addresses().router, connection());
    const error = await client.infer("slow", INPUTS, { timeoutS: 0.8 }).catch((reason) => reason);
    assert.equal(error.constructor, SloUnattainable);
    assert.ok(error.allowedS <= 0.8 && error.predictedS >= 1.5);
  });

  test("a negative SLO is invalid", async () => {
    await using client = new Client(addresses().router, connection());
    await assert.rejects(client.infer("quick", INPUTS, { sloS: -1 }), { constructor: InvalidArgument, message: /slo/ });
  });

  test("aborting takes the request out of the system", async () => {
    await using client = new Client(addresses().router, connection());
    const aborting = new AbortController();
    const running = client.infer("slow", INPUTS).catch(() => {});
    const queued = client.infer("slow", INPUTS, { signal: aborting.signal });
    await slowOnesInFlight((count) => count === 2);
    aborting.abort();
    await assert.rejects(queued, { name: "AbortError" });
    await slowOnesInFlight((count) => count < 2);
    await running;
  });
});

describe("many requests", () => {
  const requests = (count: number) =>
    Array.from({ length: count }, (_, index) => ({ model: "quick", inputs: { x: Int32Array.of(index) }, mark: index }));

  test("each gets its own answer", async () => {
    await using client = new Client(addresses().router, connection());
    const outcomes = await collected(client.inferMany(requests(200), { maxInFlight: 32 }));
    assert.deepEqual(
      outcomes.map(({ index }) => index).sort((a, b) => a - b),
      requests(200).map(({ mark }) => mark),
    );
    for (const { index, request, result } of outcomes) {
      assert.equal(request.mark, index);
      assert.deepEqual(elementsOf(result?.outputs.x as Tensor), [index]);
    }
  });

  test("what some end with does not end the others", async () => {
    await using client = new Client(addresses().router, connection());
    const mixed = requests(12).map((request) => ({ ...request, model: request.mark % 3 ? "quick" : "nobody" }));
    for (const { index, result, error } of await collected(client.inferMany(mixed, { maxInFlight: 4 }))) {
      assert.equal(error instanceof NotFound, index % 3 === 0);
      assert.equal(result === undefined, index % 3 === 0);
    }
  });

  test("in order, one that cannot even be sent is invalid at its place", async () => {
    await using client = new Client(addresses().router, connection());
    const mixed = requests(5).map((request) => ({ ...request, sloS: request.mark === 3 ? Number.NaN : 5 }));
    const ends = await collected(client.inferMany(mixed, { inOrder: true }));
    assert.deepEqual(
      ends.map(({ index, error }) => [index, error?.name]),
      [0, 1, 2, 3, 4].map((index) => [index, index === 3 ? "InvalidArgument" : undefined]),
    );
  });

  test("leaving the loop cancels what is under way", async () => {
    await using client = new Client(addresses().router, connection());
    const slowOnes = Array.from({ length: 3 }, () => ({ model: "slow", inputs: INPUTS, mark: -1 }));
    for await (const { request } of client.inferMany([...slowOnes, ...requests(1)], { maxInFlight: 4 })) {
      assert.equal(request.mark, 0);
      await slowOnesInFlight((count) => count === 3);
      break;
    }
    await slowOnesInFlight((count) => count < 2);
  });
});

test("all requests of a client share one connection", async () => {
  let numConnections = 0;
  const [host, port] = addresses().router.split(":");
  const relay = createServer((socket) => {
    numConnections += 1;
    const onward = connect(Number(port), host);
    socket.pipe(onward).pipe(socket);
    for (const end of [socket, onward]) end.on("error", () => {});
  });
  await new Promise<void>((resolve) => relay.listen(0, "127.0.0.1", resolve));
  const client = new Client(`127.0.0.1:${(relay.address() as { port: number }).port}`, connection());
  await client.infer("quick", INPUTS);
  await Promise.all(Array.from({ length: 30 }, () => client.infer("quick", INPUTS)));
  await client.close();
  relay.close();
  assert.equal(numConnections, 1);
});

/** Wait until so many requests of the slow model are in its group. */
async function slowOnesInFlight(enough: (count: number) => boolean): Promise<void> {
  await using planner = new PlannerClient(addresses().planner, connection());
  for (;;) {
    const { groups } = await planner.status();
    const slow = groups.find(({ group }) => group?.models.includes("slow"));
    if (slow?.isAlive && enough(slow.numInFlight)) return;
    await pause(20);
  }
}

/** Elements that differ from each other and use every byte. */
function filled(dtype: Dtype, shape: readonly number[]): Tensor {
  const length = shape.reduce((size, axis) => size * axis, 1);
  const indices = Array.from({ length }, (_, index) => index);
  if (dtype === "bytes")
    return tensor(
      dtype,
      indices.map((index) => `№ ${index}`),
      shape,
    );
  if (dtype === "bool")
    return tensor(
      dtype,
      indices.map((index) => index % 3 === 0),
      shape,
    );
  if (dtype === "int64")
    return tensor(
      dtype,
      indices.map((index) => BigInt(-index) * 2n ** 58n - 1n),
      shape,
    );
  if (dtype === "uint64")
    return tensor(
      dtype,
      indices.map((index) => BigInt(index) * 2n ** 59n + 1n),
      shape,
    );
  if (dtype.includes("float"))
    return tensor(
      dtype as "float32",
      indices.map((index) => index / 3 - 2),
      shape,
    ) as Tensor;
  return tensor(
    dtype as "int8",
    indices.map((index) => 5 * index),
    shape,
  ) as Tensor;
}
