/** Client of AlpaServe. */

export { status as Code } from "@grpc/grpc-js";
export { Client, type InferOutcome, type InferRequest } from "./client.js";
export type { CallLimits, ConnectionOptions } from "./connection.js";
export {
  Aborted,
  AlpaServeClientError,
  AlreadyExists,
  DeadlineExceeded,
  FailedPrecondition,
  type Failure,
  Internal,
  InvalidArgument,
  NotFound,
  PermissionDenied,
  ResourceExhausted,
  SloUnattainable,
  Unauthenticated,
  Unavailable,
} from "./errors.js";
export { fromBfloat16, fromFloat16, toBfloat16, toFloat16 } from "./float16.js";
export type { Flow } from "./flow.js";
export type * from "./gen/alpaserve/v1/model.js";
export type * from "./gen/alpaserve/v1/placement.js";
export * from "./gen/alpaserve/v1/planner.js";
export type { InferOptions, InferResult, Inputs, StageRun } from "./inference.js";
export { PlannerClient } from "./planner.js";
export { ProfilerClient } from "./profiler.js";
export { type Pem, securityFromEnvironment, type Tls } from "./security.js";
export {
  type Arrays,
  type Dtype,
  dtypes,
  type Element,
  elementsOf,
  type Tensor,
  type TensorLike,
  type TensorOf,
  tensor,
} from "./tensors.js";
