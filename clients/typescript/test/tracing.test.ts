import assert from "node:assert/strict";
import { afterEach, test } from "node:test";
import { status } from "@grpc/grpc-js";
import { propagation, SpanKind, SpanStatusCode, trace } from "@opentelemetry/api";
import { InMemorySpanExporter, NodeTracerProvider, SimpleSpanProcessor } from "@opentelemetry/sdk-trace-node";
import { Client, NotFound } from "../src/index.js";
import { refusal, ScriptedRouter } from "./scripted-router.js";

const INPUTS = { x: Int32Array.of(1) };

afterEach(() => {
  trace.disable();
  propagation.disable();
});

function tracing(): InMemorySpanExporter {
  const exporter = new InMemorySpanExporter();
  new NodeTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter)] }).register();
  return exporter;
}

test("a request has a span of the caller's trace, and every try carries it on", async () => {
  const exporter = tracing();
  await using router = await new ScriptedRouter([refusal(status.UNAVAILABLE, "DRAINING"), "echo"]).start();
  await using client = new Client(router.address);
  await trace.getTracer("test").startActiveSpan("caller", async (caller) => {
    await client.infer("m", INPUTS, { requestId: "mine" });
    caller.end();
  });
  const [span, caller] = exporter.getFinishedSpans();
  const { traceId, spanId } = span?.spanContext() ?? {};
  const headers = router.calls.map(({ metadata }) => metadata.get("traceparent"));
  assert.equal(span?.name, "Infer");
  assert.equal(span?.kind, SpanKind.CLIENT);
  assert.equal(span?.parentSpanContext?.spanId, caller?.spanContext().spanId);
  assert.equal(span?.attributes["alpaserve.request_id"], "mine");
  assert.deepEqual(headers, Array(2).fill([`00-${traceId}-${spanId}-01`]));
});

test("a failed request fails its span", async () => {
  const exporter = tracing();
  await using router = await new ScriptedRouter([{ code: status.NOT_FOUND, details: "nobody" }]).start();
  await using client = new Client(router.address);
  await assert.rejects(client.infer("m", INPUTS), NotFound);
  const [span] = exporter.getFinishedSpans();
  assert.equal(span?.status.code, SpanStatusCode.ERROR);
  assert.equal(span?.events[0]?.attributes?.["exception.message"], "nobody");
});

test("without a tracer nothing is carried", async () => {
  await using router = await new ScriptedRouter(["echo"]).start();
  await using client = new Client(router.address);
  await client.infer("m", INPUTS);
  assert.deepEqual(router.calls[0]?.metadata.get("traceparent"), []);
});
