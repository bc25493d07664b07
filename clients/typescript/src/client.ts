/** The client of the router: typed arrays in, tensors out. */

import { status } from "@grpc/grpc-js";
import { Connection } from "./connection.js";
import { AlpaServeClientError, InvalidArgument } from "./errors.js";
import { bounded, type Flow } from "./flow.js";
import { RouterService } from "./gen/alpaserve/v1/router.js";
import { Inference, type InferOptions, type InferResult, type Inputs, resultOf } from "./inference.js";
import { retrying } from "./retrying.js";
import { inferSpan } from "./tracing.js";

/** What `infer` takes, as one of many requests. */
export interface InferRequest extends Omit<InferOptions, "signal"> {
  readonly model: string;
  readonly inputs: Inputs;
}

/** How one of many requests ended, with a result or an error; `index` counts them from 0. */
export type InferOutcome<Request extends InferRequest = InferRequest> = {
  readonly index: number;
  readonly request: Request;
} & (
  | { readonly result: InferResult; readonly error?: undefined }
  | { readonly result?: undefined; readonly error: AlpaServeClientError }
);

const MAX_IN_FLIGHT = 64;

/** Asks models through a router; one connection, made once and shared by all that ask. */
export class Client extends Connection {
  /**
   * Run a model on one example, its inputs without a batch dimension.
   *
   * @throws the AlpaServeClientError of the call's status, the signal's reason, RangeError or TypeError for an argument
   * that cannot be sent.
   */
  async infer(model: string, inputs: Inputs, options: InferOptions = {}): Promise<InferResult> {
    return await this.#run(this.#inference({ ...options, model, inputs }), options.signal);
  }

  /**
   * Run requests side by side, `maxInFlight` of them at most; the next one is read when there is room for it.
   *
   * Outcomes come as requests end, or with `inOrder` as they came; one that fails, or cannot be sent, has its error.
   * Leaving the loop cancels what is under way.
   *
   * @throws what `requests` throws, the signal's reason, RangeError if `maxInFlight` is less than 1.
   */
  async *inferMany<Request extends InferRequest>(
    requests: Iterable<Request> | AsyncIterable<Request>,
    { maxInFlight = MAX_IN_FLIGHT, inOrder = false, signal }: Partial<Flow> = {},
  ): AsyncGenerator<InferOutcome<Request>, void, undefined> {
    const run = (request: Request, stopping: AbortSignal): Promise<InferResult> =>
      this.#run(this.#sendable(request), stopping);
    for await (const { index, item: request, ...end } of bounded(requests, run, { maxInFlight, inOrder, signal })) {
      if (end.result) yield { index, request, result: end.result };
      else if (end.error instanceof AlpaServeClientError) yield { index, request, error: end.error };
      else throw end.error;
    }
  }

  #inference({ model, inputs, ...options }: InferRequest): Inference {
    return new Inference(model, inputs, options, options.timeoutS ?? this.options.timeoutS);
  }

  /** @throws InvalidArgument, as the router would, for what cannot even be sent. */
  #sendable(request: InferRequest): Inference {
    try {
      return this.#inference(request);
    } catch (cause) {
      throw new InvalidArgument((cause as Error).message, { code: status.INVALID_ARGUMENT }, { cause });
    }
  }

  async #run(inference: Inference, signal: AbortSignal | undefined): Promise<InferResult> {
    const { numRetries } = this.options;
    const { model, requestId, patienceS } = inference;
    return await inferSpan(model, requestId, async (metadata) => {
      const once = async (): Promise<InferResult> => {
        const limits = { timeoutS: inference.remainingS, signal };
        return resultOf(await this.unary(RouterService.infer, inference.nextRequest(), limits, metadata()));
      };
      return await retrying(once, { numRetries, patienceS, elapsedS: () => inference.elapsedS, signal });
    });
  }
}
