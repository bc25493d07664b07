import assert from "node:assert/strict";
import { test } from "node:test";
import { setImmediate as turn } from "node:timers/promises";
import { bounded, type Flow } from "../src/flow.js";
import { collected } from "./collected.js";

/** Runs that last until they are told to end, and what was seen of them. */
class Runs {
  readonly running = new Map<number, () => void>();
  readonly signals: AbortSignal[] = [];
  mostAtOnce = 0;

  readonly run = async (item: number, signal: AbortSignal): Promise<number> => {
    this.signals.push(signal);
    await new Promise<void>((resolve) => {
      this.running.set(item, resolve);
      this.mostAtOnce = Math.max(this.mostAtOnce, this.running.size);
    });
    this.running.delete(item);
    return item * 10;
  };

  async end(item: number): Promise<void> {
    while (!this.running.has(item)) await turn();
    this.running.get(item)?.();
  }
}

function flow(maxInFlight: number): Flow {
  return { maxInFlight, inOrder: false, signal: undefined };
}

async function* counting(end: number, closed: () => void = () => {}): AsyncGenerator<number> {
  try {
    for (let item = 0; item < end; item += 1) yield item;
  } finally {
    closed();
  }
}

test("what ends first is yielded first, and no more run than allowed", async () => {
  const runs = new Runs();
  const yielded: [number, number | undefined][] = [];
  const order = [1, 0, 3, 2, 4];
  const ending = (async () => {
    for (const item of order) await runs.end(item);
  })();
  for await (const { index, result } of bounded(counting(5), runs.run, flow(2))) yielded.push([index, result]);
  await ending;
  assert.deepEqual(
    yielded,
    order.map((item) => [item, item * 10]),
  );
  assert.equal(runs.mostAtOnce, 2);
});

test("what is asked for in order waits for what came before it, within the same bound", async () => {
  const runs = new Runs();
  const ending = (async () => {
    for (const item of [2, 1, 0, 4, 3]) await runs.end(item);
  })();
  const indices: number[] = [];
  for await (const { index } of bounded(counting(5), runs.run, { ...flow(3), inOrder: true })) indices.push(index);
  await ending;
  assert.deepEqual(indices, [0, 1, 2, 3, 4]);
  assert.equal(runs.mostAtOnce, 3);
});

test("a failed run does not end the others", async () => {
  const failure = new Error("odd");
  const run = async (item: number): Promise<number> => {
    if (item % 2) throw failure;
    return item;
  };
  const ends = await collected(bounded([0, 1, 2], run, flow(1)));
  assert.deepEqual(
    ends.map(({ result, error }) => result ?? error),
    [0, failure, 2],
  );
});

test("no item is taken that cannot run or be read soon", async () => {
  let numTaken = 0;
  const endless = (function* () {
    for (; ; numTaken += 1) yield numTaken;
  })();
  const reading = bounded(endless, async (item) => item, flow(3));
  for (let numRead = 1; numRead <= 5; numRead += 1) {
    await reading.next();
    for (let turns = 0; turns < 20; turns += 1) await turn();
    assert.ok(numTaken + 1 >= numRead && numTaken < numRead + 3);
  }
  await reading.return();
});

test("leaving the loop closes the source and aborts what runs", async () => {
  const runs = new Runs();
  let isClosed = false;
  const reading = bounded(
    counting(9, () => {
      isClosed = true;
    }),
    runs.run,
    flow(3),
  );
  const first = reading.next();
  await runs.end(0);
  await first;
  await reading.return();
  assert.ok(isClosed);
  assert.ok(runs.signals.every((signal) => signal.aborted));
});

test("aborting ends the loop though nothing ends and the source is silent", async () => {
  const aborting = new AbortController();
  const silent = (async function* (): AsyncGenerator<number> {
    yield 0;
    await new Promise(() => {});
  })();
  const runs = new Runs();
  const reading = bounded(silent, runs.run, { ...flow(3), signal: aborting.signal }).next();
  while (!runs.running.size) await turn();
  aborting.abort(new Error("enough"));
  await assert.rejects(reading, /enough/);
  assert.ok(runs.signals[0]?.aborted);
});

test("what the source throws ends the loop", async () => {
  const broken = (async function* (): AsyncGenerator<number> {
    yield 0;
    throw new Error("no more");
  })();
  await assert.rejects(collected(bounded(broken, new Runs().run, flow(2))), /no more/);
});
