import assert from "node:assert/strict";
import { once } from "node:events";
import { describe, test } from "node:test";
import { setImmediate as turn } from "node:timers/promises";
import { status } from "@grpc/grpc-js";
import {
  Aborted,
  Client,
  type ConnectionOptions,
  DeadlineExceeded,
  InvalidArgument,
  ResourceExhausted,
  SloUnattainable,
  Unavailable,
} from "../src/index.js";
import { type Answer, garbledRefusal, refusal, ScriptedRouter } from "./scripted-router.js";

const INPUTS = { x: Int32Array.of(1, 2) };
const DRAINING = refusal(status.UNAVAILABLE, "DRAINING");

interface Asked extends AsyncDisposable {
  readonly router: ScriptedRouter;
  readonly client: Client;
}

async function asked(answers: readonly Answer[], options?: ConnectionOptions): Promise<Asked> {
  const router = await new ScriptedRouter(answers).start();
  const client = new Client(router.address, options);
  const dispose = async (): Promise<void> => {
    await client.close();
    await router[Symbol.asyncDispose]();
  };
  return { router, client, [Symbol.asyncDispose]: dispose };
}

describe("trying again", () => {
  test("what nobody took is sent again, under the same id and with what is left of its SLO", async () => {
    await using to = await asked([DRAINING, DRAINING, "echo"]);
    const { requestId } = await to.client.infer("m", INPUTS, { sloS: 2.5 });
    const requests = to.router.calls.map(({ request }) => request);
    const slos = requests.map(({ slo }) => Number(slo?.seconds) + Number(slo?.nanos) / 1e9);
    assert.deepEqual(
      requests.map((request) => request.requestId),
      [requestId, requestId, requestId],
    );
    assert.equal(slos[0], 2.5);
    assert.ok(slos[0] > Number(slos[1]) && Number(slos[1]) > Number(slos[2]));
  });

  test("only so many times", async () => {
    await using to = await asked([DRAINING], { numRetries: 2 });
    await assert.rejects(to.client.infer("m", INPUTS), { constructor: Unavailable, reason: "DRAINING" });
    assert.equal(to.router.calls.length, 3);
  });

  test("not sooner than the service asks, and not at all once that is too late", async () => {
    await using to = await asked([refusal(status.UNAVAILABLE, "DRAINING", 0.7), "echo"]);
    await assert.rejects(to.client.infer("m", INPUTS, { sloS: 0.6 }), { retryAfterS: 0.7 });
    assert.equal(to.router.calls.length, 1);
  });

  const final: [string, Answer, object][] = [
    ["of unknown outcome", refusal(status.ABORTED, "OUTCOME_UNKNOWN"), { constructor: Aborted }],
    ["whose connection broke", { code: status.UNAVAILABLE, details: "gone" }, { constructor: Unavailable, reason: "" }],
    ["that is refused", refusal(status.RESOURCE_EXHAUSTED, "SLO_UNATTAINABLE"), { constructor: SloUnattainable }],
    ["above a size limit", { code: status.RESOURCE_EXHAUSTED }, { constructor: ResourceExhausted }],
    ["with garbled details", garbledRefusal(status.INVALID_ARGUMENT, Buffer.of(255)), { constructor: InvalidArgument }],
  ];
  for (const [what, answer, error] of final) {
    test(`a request ${what} is not sent again`, async () => {
      await using to = await asked([answer, "echo"]);
      await assert.rejects(to.client.infer("m", INPUTS), error);
      assert.equal(to.router.calls.length, 1);
    });
  }

  test("a router that is not there yet is found when it comes", async () => {
    const address = await freeAddress();
    await using client = new Client(address, { numRetries: 60 });
    const answer = client.infer("m", INPUTS);
    await turn();
    await using router = await new ScriptedRouter(["echo"]).start(undefined, address);
    await answer;
    assert.equal(router.calls.length, 1);
  });

  test("one that never comes is unavailable", async () => {
    await using client = new Client(await freeAddress(), { numRetries: 1 });
    await assert.rejects(client.infer("m", INPUTS), {
      constructor: Unavailable,
      message: /^No connection established/,
    });
  });
});

describe("ending a call early", () => {
  test("a timeout ends it", async () => {
    await using to = await asked(["silence"]);
    await assert.rejects(to.client.infer("m", INPUTS, { timeoutS: 0.1 }), DeadlineExceeded);
  });

  test("aborting cancels it at the router and throws the signal's reason", async () => {
    await using to = await asked(["silence"]);
    const aborting = new AbortController();
    const answer = to.client.infer("m", INPUTS, { signal: aborting.signal });
    while (!to.router.calls.length) await turn();
    aborting.abort(new Error("changed my mind"));
    await assert.rejects(answer, /changed my mind/);
    const [call] = to.router.calls;
    if (call && !call.cancelled) await once(call, "cancelled");
  });

  test("aborting ends the pause between tries", async () => {
    await using to = await asked([refusal(status.UNAVAILABLE, "DRAINING", 0.999)]);
    const aborting = new AbortController();
    const answer = to.client.infer("m", INPUTS, { signal: aborting.signal });
    while (!to.router.calls.length) await turn();
    aborting.abort();
    await assert.rejects(answer, { name: "AbortError" });
    assert.equal(to.router.calls.length, 1);
  });

  test("an aborted signal lets nothing out", async () => {
    await using to = await asked(["echo"]);
    await assert.rejects(to.client.infer("m", INPUTS, { signal: AbortSignal.abort() }), { name: "AbortError" });
    assert.equal(to.router.calls.length, 0);
  });

  test("closing ends the calls under way, and lets no new one out", async () => {
    await using to = await asked(["silence"]);
    const answer = to.client.infer("m", INPUTS);
    while (!to.router.calls.length) await turn();
    await to.client.close();
    await assert.rejects(answer, { code: status.CANCELLED });
    await assert.rejects(to.client.infer("m", INPUTS), { code: status.CANCELLED, message: "the client is closed" });
  });
});

describe("arguments", () => {
  const refused: [string, (client: Client) => Promise<unknown>, RegExp][] = [
    ["an endless SLO", (to) => to.infer("m", INPUTS, { sloS: Number.POSITIVE_INFINITY }), /sloS must be finite/],
    ["no time", (to) => to.infer("m", INPUTS, { timeoutS: 0 }), /timeoutS must be positive, got 0/],
    ["what is no tensor", (to) => to.infer("m", { x: "text" as never }), /there is no dtype undefined/],
    ["nothing in flight", (to) => to.inferMany([], { maxInFlight: 0 }).next(), /maxInFlight must be at least 1, got 0/],
  ];
  for (const [what, ask, says] of refused) {
    test(`${what} is refused before anything is sent`, async () => {
      await using to = await asked(["echo"]);
      await assert.rejects(ask(to.client), { message: says });
      assert.equal(to.router.calls.length, 0);
    });
  }

  const settings: [ConnectionOptions, RegExp][] = [
    [{ timeoutS: 0 }, /timeoutS must be positive, got 0/],
    [{ keepaliveS: -1 }, /keepaliveS must be positive, got -1/],
    [{ numRetries: 0.5 }, /numRetries must be a whole number, 0 or more, got 0.5/],
    [{ token: "secret" }, /^a token needs tls: it would travel in the clear$/],
    [{ token: "se cret", tls: {} }, /^a token is of printable ASCII characters, without spaces$/],
    [{ tls: { certificate: Buffer.of() } }, /certificate and key go together/],
    [{ tls: { ca: "/nowhere/ca.pem" } }, /ENOENT.*\/nowhere\/ca.pem/],
  ];
  for (const [options, says] of settings) {
    test(`a connection with ${JSON.stringify(options)} is refused`, () => {
      assert.throws(() => new Client("127.0.0.1:1", options), { message: says });
    });
  }
});

async function freeAddress(): Promise<string> {
  await using router = await new ScriptedRouter(["silence"]).start();
  return router.address;
}
