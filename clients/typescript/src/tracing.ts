/** Traces of the caller go on through the services. Where OpenTelemetry is not installed, nothing is. */

import { createRequire } from "node:module";
import { Metadata } from "@grpc/grpc-js";
import type * as OpenTelemetry from "@opentelemetry/api";
import type { InferResult } from "./inference.js";

const api = installed();

/** Metadata by which a service goes on with the caller's trace; empty without one. */
export function propagated(within?: OpenTelemetry.Context): Metadata {
  const metadata = new Metadata();
  if (api === undefined) return metadata;
  const setter = { set: (carrier: Metadata, name: string, value: string): void => carrier.set(name, value) };
  api.propagation.inject(within ?? api.context.active(), metadata, setter);
  return metadata;
}

/** Run an inference with all its tries as a span of the caller's tracer; each try takes metadata of its own. */
export async function inferSpan(
  model: string,
  requestId: string,
  infer: (metadata: () => Metadata) => Promise<InferResult>,
): Promise<InferResult> {
  if (api === undefined) return await infer(() => new Metadata());
  const { context, SpanKind, SpanStatusCode, trace } = api;
  const attributes = { "rpc.system": "grpc", "alpaserve.model": model, "alpaserve.request_id": requestId };
  const span = trace.getTracer("@alpaserve/client").startSpan("Infer", { kind: SpanKind.CLIENT, attributes });
  const within = trace.setSpan(context.active(), span);
  try {
    const result = await infer(() => propagated(within));
    span.setAttribute("alpaserve.group", result.group);
    span.setAttribute("alpaserve.placement_version", result.placementVersion);
    return result;
  } catch (error) {
    span.recordException(error as Error);
    span.setStatus({ code: SpanStatusCode.ERROR, message: String(error) });
    throw error;
  } finally {
    span.end();
  }
}

function installed(): typeof OpenTelemetry | undefined {
  try {
    return createRequire(import.meta.url)("@opentelemetry/api");
  } catch {
    return undefined;
  }
}
