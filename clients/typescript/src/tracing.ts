/** Spans of the caller's own OpenTelemetry, where it is installed; the trace goes on in the services. */

import { createRequire } from "node:module";
import { Metadata } from "@grpc/grpc-js";
import type * as OpenTelemetry from "@opentelemetry/api";

const api = optional("@opentelemetry/api") as typeof OpenTelemetry | undefined;

/**
 * Run a request within a span `Infer`. The function gets what makes the metadata of a try, with the `traceparent`
 * header if there is a trace.
 */
export async function traced<T>(
  model: string,
  requestId: string,
  address: string,
  run: (metadata: () => Metadata) => Promise<T>,
): Promise<T> {
  if (api === undefined) return await run(() => new Metadata());
  const { context, propagation, SpanKind, SpanStatusCode, trace } = api;
  const attributes = { model, request_id: requestId, "server.address": address };
  const span = trace.getTracer("@alpaserve/client").startSpan("Infer", { kind: SpanKind.CLIENT, attributes });
  const within = trace.setSpan(context.active(), span);
  const metadata = (): Metadata => {
    const headers = new Metadata();
    propagation.inject(within, headers, { set: (carrier, name, value) => carrier.set(name, value) });
    return headers;
  };
  try {
    return await context.with(within, run, undefined, metadata);
  } catch (error) {
    span.recordException(error as Error);
    span.setStatus({ code: SpanStatusCode.ERROR });
    throw error;
  } finally {
    span.end();
  }
}

function optional(name: string): unknown {
  try {
    return createRequire(import.meta.url)(name);
  } catch {
    return undefined;
  }
}
