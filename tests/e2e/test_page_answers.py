"""The page's answers, from a real planner, without a browser."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from time import monotonic, sleep
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import pytest

from services.planner.web.guarding import HEADERS
from tests.e2e.cluster import Cluster, group

QUESTION = {"policy": "alpaserve", "devices": "2,4", "rate": "1", "cv": "1", "seconds": "2", "simulations": "40"}
BOUNDARY = "between"


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    text: str
    url: str


def ask(url: str, form: Mapping[str, str] | None = None, file: str | None = None) -> Answer:
    """The answer after any redirect."""
    headers, data = {}, None
    if form is not None:
        data = urlencode(form).encode()
    if file is not None:
        headers["content-type"] = f"multipart/form-data; boundary={BOUNDARY}"
        part = f'content-disposition: form-data; name="file"; filename="load.csv"\r\n\r\n{file}'
        data = f"--{BOUNDARY}\r\n{part}\r\n--{BOUNDARY}--\r\n".encode()
    try:
        with urlopen(Request(url, data, headers), timeout=30) as reply:
            return Answer(reply.status, dict(reply.headers), reply.read().decode(), reply.url)
    except HTTPError as reply:
        return Answer(reply.code, dict(reply.headers), reply.read().decode(), url)


@pytest.mark.parametrize("path", ["/", "/live/tiles", "/live/placement", "/live/tables", "/history", "/what-if"])
def test_every_page_answers_with_its_headers(cluster: Cluster, path: str) -> None:
    answer = ask(cluster.page + path)

    assert answer.status == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert HEADERS.items() <= answer.headers.items()
    assert "style=" not in answer.text
    assert re.findall(r"(?:src|href|action)=\"(?!/|#|data:)", answer.text) == []


def test_the_picture_shows_what_runs(cluster: Cluster) -> None:
    text = ask(f"{cluster.page}/").text

    assert text.count('class="bar"') == 3
    assert "2x1" in text
    assert "Unused devices 3, 4, 5, 6, 7" in text
    # Other tests register models of their own.
    assert "idle" in re.findall(r"<strong>On no group:</strong> ([^<]*)\. Every", text)[0].split(", ")


def test_a_model_s_page_says_what_its_best_other_place_would_lose(cluster: Cluster) -> None:
    answer = ask(f"{cluster.page}/models/slow")

    assert answer.status == 200
    assert "moved from" in answer.text
    assert re.search(r"would (lose|<strong>gain|attain)", answer.text)
    assert "without the replica on" in answer.text


def test_an_unknown_model_is_not_found(cluster: Cluster) -> None:
    answer = ask(f"{cluster.page}/models/%3Cscript%3E")

    assert answer.status == 404
    assert "&#39;&lt;script&gt;&#39;" in answer.text


@pytest.mark.parametrize(
    ("path", "status"),
    [("/history?before={}", 200), ("/timeline?workload={}", 200), ("/what-if/{}", 404)],
)
@pytest.mark.parametrize("number", ["9" * 5_000, "-1", "1.5"])
def test_a_number_that_is_none_is_no_failure(cluster: Cluster, path: str, status: int, number: str) -> None:
    assert ask(cluster.page + path.format(number)).status == status


def test_history_tells_what_a_version_changed(cluster: Cluster) -> None:
    cluster.apply(group(1, 1, [2], "slow"))
    text = ask(f"{cluster.page}/history").text

    newest = text[text.index("Version") : text.index("</section>")]
    assert "− dissolved" in newest
    assert "<strong>quick</strong>" in newest
    assert "<strong>slow</strong>" not in newest


def test_a_what_if_is_planned_and_shown(cluster: Cluster) -> None:
    names = ("alpaserve_plan_searches_total", "alpaserve_plan_simulations_total")
    num_searches, num_simulations = (cluster.metrics.sum(name, "planner") for name in names)
    answer = ask(f"{cluster.page}/what-if", QUESTION)
    give_up_at = monotonic() + 60
    while "data-done" not in (text := ask(f"{answer.url}/progress").text):
        assert monotonic() < give_up_at
        sleep(0.2)

    assert cluster.metrics.sum(names[0], "planner") == num_searches + 1
    assert cluster.metrics.sum(names[1], "planner") > num_simulations
    assert "2 of 2 plans · done" in text
    assert len(re.findall(r"<strong>[\d.]+ %</strong>", text)) == 2


@pytest.mark.parametrize(
    ("name", "value", "fault"),
    [
        ("devices", "some", "&#39;some&#39;"),
        ("seconds", "900", "from 0.1 to 120"),
        ("policy", "best", "&#39;best&#39;"),
    ],
)
def test_a_what_if_that_makes_no_sense_is_refused_at_its_field(
    cluster: Cluster, name: str, value: str, fault: str
) -> None:
    answer = ask(f"{cluster.page}/what-if", QUESTION | {name: value})

    assert answer.status == 422
    found = re.search(rf'id="{name}-fault">([^<]*)<', answer.text)
    assert found is not None
    assert fault in found[1]


def test_a_workload_that_was_sent_is_simulated(cluster: Cluster) -> None:
    answer = ask(f"{cluster.page}/timeline/sent", file="arrival_s,model\n0,quick\n0.001,quick\n1,idle\n")
    closer = ask(f"{answer.url}&begin=0&length=0.5")

    assert "load.csv" in answer.text
    assert answer.text.count('class="broad"') == 4
    assert "no group" in answer.text
    assert "Shown: 0.00 to 0.50 s" in closer.text


def test_a_workload_is_drawn(cluster: Cluster) -> None:
    answer = ask(f"{cluster.page}/timeline/drawn", {"rate": "20", "cv": "2", "duration": "10", "seed": "1"})

    assert "20 a second of all models alike, CV 2, seed 1" in answer.text


@pytest.mark.parametrize(("file", "fault"), [("arrival_s,model\n0,other\n", "other"), ("nonsense", "header")])
def test_a_file_that_is_no_workload_is_refused(cluster: Cluster, file: str, fault: str) -> None:
    answer = ask(f"{cluster.page}/timeline/sent", file=file)

    assert answer.status == 422
    assert fault in answer.text[answer.text.index('id="file-fault"') :]
