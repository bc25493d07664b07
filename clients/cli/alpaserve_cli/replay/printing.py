"""What `alpaserve replay` prints, and the documents that say the same."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from alpaserve_cli.output import percent, print_table
from alpaserve_cli.replay.find_rate import Probe, RateFound
from alpaserve_cli.replay.outcomes import ReplayResult


def print_replay(document: Mapping[str, Any], result: ReplayResult) -> None:
    """Print a row for all requests and one per model, with the prediction if there is one."""
    figures = {"all": document} | {name: document["models"][name] for name in result.names}
    predicted = document["predicted"]
    expected = ({"all": predicted} | predicted["models"]) if predicted else {}
    print_table(
        "Replay",
        ("model", "attainment", *(["predicted"] if predicted else []), "requests", "p50 s", "p99 s"),
        (_row(name, row, expected.get(name)) for name, row in figures.items()),
    )
    print_table(
        "Outcomes",
        ("model", *document["outcomes"]),
        ((name, *row["outcomes"].values()) for name, row in figures.items()),
    )
    if document["statuses"]:
        print("statuses: " + ", ".join(f"{count} {name}" for name, count in document["statuses"].items()))
    if document["num_warm_up"]:
        print(f"warm-up: the first {document['num_warm_up']} requests were sent and are not counted")
    delay_s = document["send_delay_s"]
    if delay_s["p99"] is not None:
        print(f"sent late by {delay_s['p50']:.4f} s (p50), {delay_s['p99']:.4f} s (p99), {delay_s['max']:.4f} s (most)")
    if document["is_generator_late"]:
        print(generator_warning(document["num_processes"]))


def generator_warning(num_processes: int) -> str:
    return (
        f"the generator itself was late, which counts as latency of the system: send with more than {num_processes} "
        "--processes, or from a machine with nothing else to do"
    )


def _row(name: str, figures: Mapping[str, Any], predicted: Mapping[str, Any] | None) -> list[Any]:
    expected = [percent(predicted["attainment"])] if predicted else []
    p50, p99 = figures["latency_s"]["p50"], figures["latency_s"]["p99"]
    return [name, percent(figures["attainment"]), *expected, figures["num_requests"], p50, p99]


def probe_text(probe: Probe) -> str:
    """A probe in one line, as soon as it is over."""
    predicted = f", predicted {percent(probe.predicted)}" if probe.predicted is not None else ""
    verdict = ("attains" if probe.attains else "misses") + ("" if probe.is_certain else ", by a little")
    late = ", generator late" if probe.is_generator_late else ""
    return (
        f"rate × {probe.scale:.4g}, {probe.rate_per_s:.4g}/s: {percent(probe.attainment)} of {probe.num_requests} "
        f"({percent(probe.low)} to {percent(probe.high)}){predicted}: {verdict}{late}"
    )


def rate_document(found: RateFound, target: float, predicted: tuple[float, float] | None) -> dict[str, Any]:
    """The highest rate, and every probe on the way to it."""
    best = found.best
    return {
        "target": target,
        "reached": best is not None,
        "scale": best.scale if best else None,
        "rate_per_s": best.rate_per_s if best else None,
        "attainment": best.attainment if best else None,
        "is_open_ended": found.is_open_ended,
        "is_generator_limited": found.is_generator_limited,
        "is_interrupted": found.is_interrupted,
        "predicted": {"scale": predicted[0], "rate_per_s": predicted[1]} if predicted else None,
        "probes": [asdict(probe) for probe in found.probes],
    }


def print_rate(document: Mapping[str, Any], num_processes: int) -> None:
    """Print what the search found; its probes were told as they ended."""
    target = percent(document["target"])
    if document["is_interrupted"]:
        print("interrupted; so far:")
    if not document["reached"]:
        print(f"{target} was not attained at any rate that was tried")
    else:
        more = " and more" if document["is_open_ended"] else ""
        print(
            f"{target} is attained up to {document['rate_per_s']:.4g}/s{more} "
            f"(rate × {document['scale']:.4g}): {percent(document['attainment'])}"
        )
    if document["predicted"]:
        print(f"the simulator's own search ends at {document['predicted']['rate_per_s']:.4g}/s")
    if document["is_generator_limited"]:
        print(generator_warning(num_processes))
