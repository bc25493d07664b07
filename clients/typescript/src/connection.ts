/** One connection to a service: how it is made, how its calls are sent, and its end. */

import {
  type CallOptions,
  Client,
  type ClientUnaryCall,
  type Metadata,
  type MethodDefinition,
  type ServiceError,
  status,
} from "@grpc/grpc-js";
import { AlpaServeClientError, errorOf } from "./errors.js";
import { channelCredentials, checkToken, type Tls } from "./security.js";
import { propagated } from "./tracing.js";

// A service that comes back is found within so much time.
const FIRST_RECONNECT_MS = 100;
const LAST_RECONNECT_MS = 1000;

/**
 * Settings of one connection.
 *
 * `timeoutS` holds for calls that bring none; `numRetries` is how often a call that nobody could take is sent again
 * within its timeout.
 */
export interface ConnectionOptions {
  readonly timeoutS?: number;
  readonly numRetries?: number;
  readonly keepaliveS?: number;
  readonly maxMessageBytes?: number;
  /** Encrypts; absent means plaintext. */
  readonly tls?: Tls | undefined;
  /** Shown with every call; needs `tls`. */
  readonly token?: string | undefined;
}

/** What ends a call early. */
export interface CallLimits {
  /** Seconds; the connection's timeout if absent, none if Infinity. */
  readonly timeoutS?: number | undefined;
  /** Aborting cancels the call, which then ends with the signal's reason. */
  readonly signal?: AbortSignal | undefined;
}

interface Cancellable {
  cancel(): void;
}

const DEFAULTS = { timeoutS: 60, numRetries: 4, keepaliveS: 20, maxMessageBytes: 64 * 2 ** 20 };

/** A client's connection, from its making to its end; it connects with the first call. */
export class Connection {
  readonly address: string;
  protected readonly options: typeof DEFAULTS & ConnectionOptions;
  readonly #client: Client;
  readonly #underWay = new Set<Cancellable>();
  #isClosed = false;

  /** @throws RangeError or TypeError for options that are none. */
  constructor(address: string, options: ConnectionOptions = {}) {
    this.address = address;
    this.options = { ...DEFAULTS, ...options };
    checkOptions(this.options);
    this.#client = new Client(address, channelCredentials(this.options.tls), channelOptions(this.options));
  }

  /** End the connection and the calls under way. */
  async close(): Promise<void> {
    this.#isClosed = true;
    for (const call of this.#underWay) call.cancel();
    this.#client.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  /** Send one request. @throws AlpaServeClientError, or the signal's reason. */
  protected async unary<Request, Response>(
    method: MethodDefinition<Request, Response>,
    request: Request,
    limits: CallLimits = {},
    metadata: Metadata = propagated(),
  ): Promise<Response> {
    limits.signal?.throwIfAborted();
    this.#checkOpen();
    const { path, requestSerialize, responseDeserialize } = method;
    const sent = this.#authorized(metadata);
    const options = this.#callOptions(limits);
    const start = (ended: (error: ServiceError | null, response?: Response) => void): ClientUnaryCall =>
      this.#client.makeUnaryRequest(path, requestSerialize, responseDeserialize, request, sent, options, ended);
    return await new Promise<Response>((resolve, reject) => {
      const call = start((error, response) => {
        release();
        if (response !== undefined && !error) resolve(response);
        else reject(limits.signal?.aborted ? limits.signal.reason : errorOf(error as ServiceError));
      });
      const release = this.#track(call, limits.signal);
    });
  }

  /**
   * What a call streams; leaving the loop over it cancels the call.
   *
   * @throws AlpaServeClientError, or the signal's reason.
   */
  protected async *stream<Request, Response>(
    method: MethodDefinition<Request, Response>,
    request: Request,
    limits: CallLimits = {},
  ): AsyncGenerator<Response, void, undefined> {
    limits.signal?.throwIfAborted();
    this.#checkOpen();
    const { path, requestSerialize, responseDeserialize } = method;
    const metadata = this.#authorized(propagated());
    const options = this.#callOptions(limits);
    const call = this.#client.makeServerStreamRequest(
      path,
      requestSerialize,
      responseDeserialize,
      request,
      metadata,
      options,
    );
    const release = this.#track(call, limits.signal);
    try {
      for await (const response of call) yield response as Response;
    } catch (error) {
      throw limits.signal?.aborted ? limits.signal.reason : errorOf(error as ServiceError);
    } finally {
      release();
      call.cancel();
    }
  }

  #checkOpen(): void {
    if (this.#isClosed) throw new AlpaServeClientError("the client is closed", { code: status.CANCELLED });
  }

  #authorized(metadata: Metadata): Metadata {
    if (this.options.token) metadata.set("authorization", `Bearer ${this.options.token}`);
    return metadata;
  }

  #callOptions({ timeoutS = this.options.timeoutS }: CallLimits): CallOptions {
    return timeoutS === Number.POSITIVE_INFINITY ? {} : { deadline: Date.now() + timeoutS * 1000 };
  }

  /** Let the signal and `close` end the call; calling what is returned lets go of both. */
  #track(call: Cancellable, signal: AbortSignal | undefined): () => void {
    const cancel = (): void => call.cancel();
    this.#underWay.add(call);
    signal?.addEventListener("abort", cancel, { once: true });
    return () => {
      this.#underWay.delete(call);
      signal?.removeEventListener("abort", cancel);
    };
  }
}

function checkOptions({ timeoutS, keepaliveS, numRetries, maxMessageBytes, tls, token }: ConnectionOptions): void {
  for (const [name, value] of Object.entries({ timeoutS, keepaliveS, maxMessageBytes })) {
    if (!(Number(value) > 0)) throw new RangeError(`${name} must be positive, got ${value}`);
  }
  if (!(Number.isInteger(numRetries) && Number(numRetries) >= 0)) {
    throw new RangeError(`numRetries must be a whole number, 0 or more, got ${numRetries}`);
  }
  checkToken(token, tls);
}

function channelOptions({ keepaliveS, maxMessageBytes }: typeof DEFAULTS): Record<string, number> {
  return {
    "grpc.keepalive_time_ms": Math.round(keepaliveS * 1000),
    "grpc.keepalive_timeout_ms": Math.round(keepaliveS * 500),
    "grpc.keepalive_permit_without_calls": 1,
    "grpc.initial_reconnect_backoff_ms": FIRST_RECONNECT_MS,
    "grpc.max_reconnect_backoff_ms": LAST_RECONNECT_MS,
    "grpc.max_receive_message_length": maxMessageBytes,
    "grpc.max_send_message_length": maxMessageBytes,
  };
}
