/** The client of the router: typed arrays in, tensors out. */

import { bounded } from "./bounded.js";
import { Connection } from "./connection.js";
import { RouterService } from "./gen/alpaserve/v1/router.js";
import { Inference, type InferOptions, type InferResult, type Inputs, resultOf } from "./inference.js";
import { retrying } from "./retrying.js";
import { traced } from "./tracing.js";

/** One of many requests. */
export interface ManyRequest extends Omit<InferOptions, "signal"> {
  readonly model: string;
  readonly inputs: Inputs;
}

/** How one of many requests ended; `index` is its place among them. */
export type Outcome<Request extends ManyRequest = ManyRequest> =
  | { readonly index: number; readonly request: Request; readonly result: InferResult; readonly error?: undefined }
  | { readonly index: number; readonly request: Request; readonly result?: undefined; readonly error: unknown };

/** How to send many requests. */
export interface ManyOptions {
  /** Requests under way at once. */
  readonly concurrency?: number;
  /** Aborting cancels what is under way, and the loop throws the signal's reason. */
  readonly signal?: AbortSignal;
}

const CONCURRENCY = 16;

/** Asks models through a router; one connection, made once and shared by all that ask. */
export class Client extends Connection {
  /**
   * Run a model on one example, its inputs without a batch dimension.
   *
   * @throws the AlpaServeClientError of the call's status, the signal's reason, RangeError or TypeError for an argument
   * that cannot be sent.
   */
  async infer(model: string, inputs: Inputs, options: InferOptions = {}): Promise<InferResult> {
    const { numRetries } = this.options;
    const { signal } = options;
    const inference = new Inference(model, inputs, options, options.timeoutS ?? this.options.timeoutS);
    return await traced(model, inference.requestId, this.address, async (metadata) => {
      const { patienceS } = inference;
      const once = async (): Promise<InferResult> => {
        const limits = { timeoutS: inference.remainingS, signal };
        return resultOf(await this.unary(RouterService.infer, inference.nextRequest(), limits, metadata()));
      };
      return await retrying(once, { numRetries, patienceS, elapsedS: () => inference.elapsedS, signal });
    });
  }

  /**
   * Send many requests, a bounded number at a time, and yield each as it ends. What one ends with does not end the
   * others; leaving the loop cancels those under way.
   *
   * @throws what `requests` throws, the signal's reason, RangeError for a concurrency that is none.
   */
  async *inferMany<Request extends ManyRequest>(
    requests: Iterable<Request> | AsyncIterable<Request>,
    { concurrency = CONCURRENCY, signal }: ManyOptions = {},
  ): AsyncGenerator<Outcome<Request>, void, undefined> {
    if (!(Number.isInteger(concurrency) && concurrency > 0)) {
      throw new RangeError(`concurrency must be a whole number, 1 or more, got ${concurrency}`);
    }
    const run = (request: Request, stopping: AbortSignal): Promise<InferResult> =>
      this.infer(request.model, request.inputs, { ...request, signal: stopping });
    for await (const { item: request, ...ended } of bounded(requests, concurrency, run, signal)) {
      yield { request, ...ended };
    }
  }
}
