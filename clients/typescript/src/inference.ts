/** One inference: the request that is sent, however often, and the answer as tensors. */

import { randomUUID } from "node:crypto";
import type { InferRequest, InferResponse } from "./gen/alpaserve/v1/router.js";
import type { Duration } from "./gen/google/protobuf/duration.js";
import type { Tensor, TensorLike } from "./tensors.js";
import { decodeTensor, encodeTensor } from "./wire.js";

/** The inputs of one example by name, without a batch dimension. */
export type Inputs = Readonly<Record<string, TensorLike>>;

/** One request, as it may be told apart and bounded. */
export interface InferOptions {
  /** Allowed latency in seconds; the model's own if absent. */
  readonly sloS?: number | undefined;
  /** A name for the request; one is made if absent. */
  readonly requestId?: string | undefined;
  /** Seconds that the call has with its retries; the connection's if absent. */
  readonly timeoutS?: number | undefined;
  /** Aborting cancels the request, which then ends with the signal's reason. */
  readonly signal?: AbortSignal | undefined;
}

/** When a stage ran a request, in seconds since its arrival at the group, and how long the profile says it takes. */
export interface StageRun {
  readonly beginS: number;
  readonly endS: number;
  readonly profiledS: number;
}

/**
 * The answer to one request.
 *
 * `queueTimeS` was spent waiting in the group, `executionTimeS` running in its `stages`; `predictedFinishS` is what
 * admission predicted, counted from the arrival at the router, and `batchSize` how many requests ran at once, this one
 * included. It was `groupTimeS` from the arrival at the group to the answer, and `routerTimeS` from that at the router.
 */
export interface InferResult {
  readonly outputs: Readonly<Record<string, Tensor>>;
  readonly requestId: string;
  readonly placementVersion: number;
  readonly group: string;
  readonly queueTimeS: number;
  readonly executionTimeS: number;
  readonly predictedFinishS: number;
  readonly batchSize: number;
  readonly stages: readonly StageRun[];
  readonly groupTimeS: number;
  readonly routerTimeS: number;
}

/** One request under way: every try carries the same id and what is left of its times. */
export class Inference {
  readonly #request: InferRequest;
  readonly #sloS: number | undefined;
  readonly #timeoutS: number;
  readonly #begunMs = performance.now();
  #numTries = 0;

  /** @throws RangeError for times that are none, TypeError or RangeError for an input that cannot be sent. */
  constructor(model: string, inputs: Inputs, { sloS, requestId }: InferOptions, timeoutS: number) {
    if (sloS !== undefined && !Number.isFinite(sloS)) throw new RangeError(`sloS must be finite, got ${sloS}`);
    if (!(timeoutS > 0)) throw new RangeError(`timeoutS must be positive, got ${timeoutS}`);
    this.#sloS = sloS;
    this.#timeoutS = timeoutS;
    this.#request = {
      model,
      inputs: Object.fromEntries(Object.entries(inputs).map(([name, given]) => [name, encodeTensor(given)])),
      requestId: requestId || randomUUID(),
      slo: sloS === undefined ? undefined : duration(sloS),
    };
  }

  get model(): string {
    return this.#request.model;
  }

  get requestId(): string {
    return this.#request.requestId;
  }

  /** What is left of the timeout, never below zero. */
  get remainingS(): number {
    return Math.max(this.#timeoutS - this.elapsedS, 0);
  }

  /** After this long, another try is pointless. */
  get patienceS(): number {
    return Math.min(this.#timeoutS, this.#sloS ?? Number.POSITIVE_INFINITY);
  }

  get elapsedS(): number {
    return (performance.now() - this.#begunMs) / 1000;
  }

  /** The message of the next try; the SLO of a further one is what the earlier ones left of it. */
  nextRequest(): InferRequest {
    this.#numTries += 1;
    if (this.#sloS !== undefined && this.#numTries > 1) {
      this.#request.slo = duration(Math.max(this.#sloS - this.elapsedS, 0));
    }
    return this.#request;
  }
}

/** @throws RangeError if an output is malformed. */
export function resultOf(response: InferResponse): InferResult {
  const { outputs, batchSize, ...told } = response;
  return {
    ...told,
    outputs: Object.fromEntries(Object.entries(outputs).map(([name, tensor]) => [name, decodeTensor(tensor)])),
    batchSize: batchSize || 1,
  };
}

function duration(seconds: number): Duration {
  const whole = Math.trunc(seconds);
  return { seconds: whole, nanos: Math.round((seconds - whole) * 1e9) };
}
