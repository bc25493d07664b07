"""Which room may know of which: the layers of the house, read from the imports."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SERVICES = ("router", "planner", "worker", "profiler")
IMPURE = ("grpc", "redis", "ray", "jax", "asyncio", "time", "google.protobuf", "alpaserve")


def modules(directory: str) -> list[Path]:
    return sorted((ROOT / directory).rglob("*.py"))


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def offenders(directory: str, forbidden: tuple[str, ...]) -> list[str]:
    return [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in modules(directory)
        for name in imports(path)
        if any(name == prefix or name.startswith(f"{prefix}.") for prefix in forbidden)
    ]


@pytest.mark.parametrize("service", SERVICES)
def test_services_never_import_each_other(service: str) -> None:
    others = tuple(f"services.{other}" for other in SERVICES if other != service)

    assert offenders(f"services/{service}", others) == []


@pytest.mark.parametrize(
    "directory", ["services/core", "services/pages", "services/planner/policies", "services/planner/controllers"]
)
def test_the_pure_part_knows_no_clock_and_no_outside(directory: str) -> None:
    assert offenders(directory, IMPURE) == []


def test_core_imports_nothing_of_the_house_but_itself() -> None:
    rooms = tuple(f"services.{room}" for room in (*SERVICES, "infra", "pages", "parallel"))

    assert offenders("services/core", rooms) == []


def test_pages_are_made_of_core_objects() -> None:
    rooms = tuple(f"services.{room}" for room in (*SERVICES, "infra", "parallel"))

    assert offenders("services/pages", rooms) == []
    for service in ("router", "worker", "profiler"):
        assert offenders(f"services/{service}", ("services.pages",)) == []


def test_infra_imports_no_service() -> None:
    rooms = tuple(f"services.{room}" for room in (*SERVICES, "pages", "parallel"))

    assert offenders("services/infra", rooms) == []


@pytest.mark.parametrize("service", ["router", "planner"])
def test_only_worker_and_profiler_run_models(service: str) -> None:
    assert offenders(f"services/{service}", ("services.parallel", "jax", "ray")) == []


def test_one_module_compiles() -> None:
    compiling = {line.split()[0] for line in offenders("services", ("numba",))}

    assert compiling <= {"services/core/compiling.py"}


def test_the_client_ships_without_the_services() -> None:
    assert offenders("clients/python", ("services", "alpaserve_cli")) == []


def test_the_cli_asks_services_over_grpc_only() -> None:
    pure = ("services.core", "services.planner.policies", "services.planner.controllers")
    allowed = (*pure, "services.pages", "services.infra.wire")

    strangers = [line for line in offenders("clients/cli", ("services",)) if not line.split()[-1].startswith(allowed)]
    assert strangers == []


def test_nobody_unpickles_what_came_from_elsewhere() -> None:
    """The planner's tasks go over Ray, which pickles whatever goes over it."""
    pickling = {
        line
        for directory in ("services", "clients")
        for line in offenders(directory, ("pickle", "cloudpickle", "dill", "marshal", "shelve", "joblib", "torch"))
    }

    assert pickling == {"services/infra/ray_pool.py imports pickle"}


def test_no_file_outgrows_its_room() -> None:
    roots = ("services", "clients", "tests", "deploy", "benchmarks")
    typescript = [path for room in ("src", "test") for path in (ROOT / "clients/typescript" / room).glob("*.ts")]
    paths = [*typescript, *(path for root in roots for path in modules(root))]
    lengths = {path: len(path.read_text().splitlines()) for path in paths}

    assert [str(path) for path, length in lengths.items() if length > 300] == []
