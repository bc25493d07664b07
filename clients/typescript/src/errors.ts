/** What a call can end with: one class per status that the services document. */

import { status as Code, type Metadata, type ServiceError } from "@grpc/grpc-js";
import { ErrorInfo, RetryInfo } from "./gen/google/rpc/error_details.js";
import { Status } from "./gen/google/rpc/status.js";

const DOMAIN = "alpaserve";
const SLO_UNATTAINABLE = "SLO_UNATTAINABLE";
const DETAILS = "grpc-status-details-bin";

/** What the service told of a failed call. */
export interface Failure {
  readonly code: Code;
  readonly reason?: string;
  readonly retryAfterS?: number | undefined;
  readonly metadata?: Readonly<Record<string, string>>;
}

/**
 * A call that ended without an answer.
 *
 * `code` is its gRPC status, `message` the service's explanation, `reason` a constant that says which of the status's
 * cases it is (often empty), `retryAfterS` when another try may do better.
 */
export class AlpaServeClientError extends Error {
  readonly code: Code;
  readonly reason: string;
  readonly retryAfterS: number | undefined;

  constructor(message: string, failure: Failure, options?: ErrorOptions) {
    super(message, options);
    this.name = new.target.name;
    this.code = failure.code;
    this.reason = failure.reason ?? "";
    this.retryAfterS = failure.retryAfterS;
  }
}

/** A malformed tensor, a negative SLO, inputs that the model does not take. */
export class InvalidArgument extends AlpaServeClientError {}

/** A model or profile that does not exist. */
export class NotFound extends AlpaServeClientError {}

/** A name that is taken by something different. */
export class AlreadyExists extends AlpaServeClientError {}

/** The model is registered but placed nowhere, or does not fit anywhere. */
export class FailedPrecondition extends AlpaServeClientError {}

/** A message above the size limit. */
export class ResourceExhausted extends AlpaServeClientError {}

/**
 * The request was predicted to miss its deadline, or the queue was full; nothing was run.
 *
 * `predictedS` and `allowedS` are seconds from the arrival at the router; NaN if not told.
 */
export class SloUnattainable extends ResourceExhausted {
  readonly predictedS: number;
  readonly allowedS: number;

  constructor(message: string, failure: Failure, options?: ErrorOptions) {
    super(message, failure, options);
    this.predictedS = Number(failure.metadata?.predicted_s ?? Number.NaN);
    this.allowedS = Number(failure.metadata?.allowed_s ?? Number.NaN);
  }
}

/** The deadline passed while the request waited or ran. */
export class DeadlineExceeded extends AlpaServeClientError {}

/**
 * A plan made for an older placement version, or, with the reason OUTCOME_UNKNOWN, a request that was started and must
 * not be tried again.
 */
export class Aborted extends AlpaServeClientError {}

/**
 * Nobody serves there now. With a `reason`, or if there was no connection, safe to try again; otherwise the connection
 * broke, and the request may have run.
 */
export class Unavailable extends AlpaServeClientError {}

/** The service wants credentials that it did not get. */
export class Unauthenticated extends AlpaServeClientError {}

/** The credentials do not allow the call. */
export class PermissionDenied extends AlpaServeClientError {}

/** A bug of the service; its log has the details. */
export class Internal extends AlpaServeClientError {}

const ERRORS: Partial<Record<Code, typeof AlpaServeClientError>> = {
  [Code.INVALID_ARGUMENT]: InvalidArgument,
  [Code.NOT_FOUND]: NotFound,
  [Code.ALREADY_EXISTS]: AlreadyExists,
  [Code.FAILED_PRECONDITION]: FailedPrecondition,
  [Code.RESOURCE_EXHAUSTED]: ResourceExhausted,
  [Code.DEADLINE_EXCEEDED]: DeadlineExceeded,
  [Code.ABORTED]: Aborted,
  [Code.UNAVAILABLE]: Unavailable,
  [Code.UNAUTHENTICATED]: Unauthenticated,
  [Code.PERMISSION_DENIED]: PermissionDenied,
  [Code.INTERNAL]: Internal,
};

/** The typed error of a failed call. */
export function errorOf(cause: ServiceError): AlpaServeClientError {
  const { reason, metadata, retryAfterS } = detailsOf(cause.metadata);
  const isUnattainable = cause.code === Code.RESOURCE_EXHAUSTED && reason === SLO_UNATTAINABLE;
  const kind = isUnattainable ? SloUnattainable : (ERRORS[cause.code] ?? AlpaServeClientError);
  return new kind(cause.details, { code: cause.code, reason, retryAfterS, metadata }, { cause });
}

/** The details of the rich status; empty where there are none or a stranger garbled them. */
function detailsOf(trailers: Metadata | undefined): Omit<Required<Failure>, "code"> {
  const found = { reason: "", metadata: {}, retryAfterS: undefined as number | undefined };
  try {
    for (const { typeUrl, value } of richStatus(trailers).details) {
      const name = typeUrl.slice(typeUrl.lastIndexOf("/") + 1);
      const info = name === "google.rpc.ErrorInfo" ? ErrorInfo.decode(value) : undefined;
      if (info?.domain === DOMAIN) Object.assign(found, { reason: info.reason, metadata: info.metadata });
      const delay = name === "google.rpc.RetryInfo" ? RetryInfo.decode(value).retryDelay : undefined;
      if (delay) found.retryAfterS = delay.seconds + delay.nanos / 1e9;
    }
  } catch {
    return { reason: "", metadata: {}, retryAfterS: undefined };
  }
  return found;
}

function richStatus(trailers: Metadata | undefined): Status {
  const [bytes] = trailers?.get(DETAILS) ?? [];
  return Buffer.isBuffer(bytes) ? Status.decode(bytes) : Status.create();
}
