"""The SDK in a program that traces, and in one that does not."""

import json
import subprocess
import sys

from google.rpc import code_pb2

from tests.clients.scripted_router import ScriptedRouter, failure, serving

TRACED = """
import sys, json
from alpaserve_client import Client, InferRequest, SloUnattainable
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

kept = InMemorySpanExporter()
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(kept))
trace.set_tracer_provider(provider)
with Client(sys.argv[1]) as client, trace.get_tracer("user").start_as_current_span("page"):
    client.infer("m0", {}, request_id="alone")
    list(client.infer_many([InferRequest("m0", {}, request_id="many"), InferRequest("gone", {}, request_id="gone")]))
page, *_ = [span for span in kept.get_finished_spans() if span.name == "page"]
print(json.dumps({
    "page": f"{page.context.span_id:016x}",
    "trace": f"{page.context.trace_id:032x}",
    "spans": {
        span.attributes["alpaserve.request_id"]: {
            "id": f"{span.context.span_id:016x}",
            "parent": f"{span.parent.span_id:016x}",
            "ok": span.status.is_ok,
            "group": span.attributes.get("alpaserve.group"),
        }
        for span in kept.get_finished_spans() if span.name == "Infer"
    },
}))
"""
UNTRACED = """
import sys
from alpaserve_client import Client
with Client(sys.argv[1]) as client:
    client.infer("m0", {})
print([name for name in sys.modules if name.startswith("opentelemetry")])
"""


def ran(program: str, address: str) -> str:
    return subprocess.run([sys.executable, "-c", program, address], capture_output=True, check=True, text=True).stdout


def test_every_inference_is_a_span_that_the_router_goes_on_with() -> None:
    with serving(router := ScriptedRouter(failures={"gone": failure(code_pb2.NOT_FOUND, "gone")})) as address:
        found = json.loads(ran(TRACED, address))

    spans = found["spans"]
    sent = {(found["trace"], span["id"]) for span in spans.values()}
    assert {tuple(header.split("-")[1:3]) for header in router.traceparents} == sent
    assert {span["parent"] for span in spans.values()} == {found["page"]}
    assert {name: span["ok"] for name, span in spans.items()} == {"alone": True, "many": True, "gone": False}
    assert spans["alone"]["group"] == "g3"


def test_without_a_tracer_nothing_is_imported_or_sent() -> None:
    with serving(router := ScriptedRouter()) as address:
        assert ran(UNTRACED, address).strip() == "[]"

    assert router.traceparents == []
