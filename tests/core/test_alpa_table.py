"""Tables of Alpa's benchmark become profiles, or a refusal that names the line and the value."""

import pytest

from services.core.alpa_table import COLUMNS, parse_alpa_table
from services.core.errors import InvalidProfile
from services.core.profile import ParallelConfig

ROW = {
    "ModelName": "bert-1.3b",
    "BS": "2",
    "#Microbatch": "1",
    "DP": "1",
    "OP": "2",
    "PP": "2",
    "#GPU": "4",
    "MeanTime(s)": "0.200",
    "StdTime(s)": "0.001",
    "TFLOPs": "31.40",
    "StageWeights(B)": "[100, 120]",
    "StagePeakMem(B)": "[150, 130]",
    "StageLatencies(s)": "[0.11, 0.08]",
}


def line(**changed: str) -> str:
    return "\t".join((ROW | changed).values())


HEADER = "\t".join(COLUMNS)


@pytest.mark.parametrize(
    "text",
    [
        line(),
        f"{HEADER}\n{line()}\n",
        f"\n{HEADER}\r\n\r\n{line()}\r\n",
        line(**{"StageWeights(B)": "(100 120)", "StagePeakMem(B)": "150,130", "StageLatencies(s)": "[0.11 0.08]"}),
        line(**{"StageWeights(B)": "[1e2, 1.2e2]"}),
        f"{HEADER}\tMetadata\n{line()}\t{{'compilation_times': __import__('os')}}",
        line() + "\t{'logical_mesh_shapes': [(1, 2)]}",
    ],
)
def test_a_run_of_the_benchmark_is_a_profile(text: str) -> None:
    stage = parse_alpa_table(text)["bert-1.3b"].at(ParallelConfig(2, 2), 2)

    assert stage.stage_latency_s == (0.11, 0.08)
    assert stage.stage_weight_bytes == (100, 120)
    assert stage.stage_activation_bytes == (50, 10)
    assert (stage.source, stage.note) == ("imported", "stage latencies of Alpa's benchmark")


@pytest.mark.parametrize("absent", ["", "None", "[]"])
def test_a_mean_time_alone_is_split_evenly_and_says_so(absent: str) -> None:
    stage = parse_alpa_table(line(**{"StageLatencies(s)": absent}))["bert-1.3b"].at(ParallelConfig(2, 2), 2)

    assert stage.stage_latency_s == (0.1, 0.1)
    assert "split evenly" in stage.note


def test_columns_are_found_by_their_names() -> None:
    names = ["ModelName", "StageLatencies(s)", "PP", "OP", "BS", "StageWeights(B)"]
    text = "\t".join(names) + "\n" + "\t".join(ROW[name] for name in names)

    stage = parse_alpa_table(text)["bert-1.3b"].at(ParallelConfig(2, 2), 2)

    assert (stage.stage_latency_s, stage.stage_activation_bytes) == ((0.11, 0.08), ())


def test_a_later_run_of_the_same_config_replaces_the_earlier() -> None:
    table = "\n".join((line(), line(ModelName="gpt"), line(**{"StageLatencies(s)": "[0.2, 0.3]"})))

    profiles = parse_alpa_table(table)

    assert sorted(profiles) == ["bert-1.3b", "gpt"]
    assert [stage.stage_latency_s for stage in profiles["bert-1.3b"].stages] == [(0.2, 0.3)]


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"DP": "2"}, "line 2: DP must be 1: a profile is of one replica, got '2'"),
        ({"#Microbatch": "4"}, "line 2: #Microbatch must be 1"),
        ({"#GPU": "8"}, "line 2: #GPU must be OP · PP = 4, got '8'"),
        ({"BS": "0"}, "line 2: BS must be a whole number from 1, got '0'"),
        ({"BS": "two"}, "got 'two'"),
        ({"PP": "-1"}, "line 2: PP"),
        ({"PP": "3", "#GPU": "6"}, "line 2: StageWeights(B) must be 3 numbers, one a stage, got '[100, 120]'"),
        ({"OP": ""}, "line 2: OP"),
        ({"ModelName": " "}, "line 2: ModelName must be a name"),
        ({"StageWeights(B)": "[100, -1]"}, "StageWeights(B) must be finite and not negative"),
        ({"StageWeights(B)": "None"}, "StageWeights(B)"),
        ({"StageLatencies(s)": "[0.1, inf]"}, "StageLatencies(s) must be finite"),
        ({"StageLatencies(s)": "[exit(), 1]"}, "StageLatencies(s) must be numbers, got '[exit(), 1]'"),
        ({"StageLatencies(s)": "", "MeanTime(s)": ""}, "StageLatencies(s)"),
        ({"StageLatencies(s)": "", "MeanTime(s)": "fast"}, "MeanTime(s) must be numbers, got 'fast'"),
        ({"StagePeakMem(B)": "[1]"}, "StagePeakMem(B) must be 2 numbers"),
    ],
)
def test_a_bad_row_is_refused_by_line_and_value(changed: dict[str, str], named: str) -> None:
    with pytest.raises(InvalidProfile) as refusal:
        parse_alpa_table(f"{line()}\n{line(**changed)}")

    assert named in str(refusal.value)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", "no rows"),
        (HEADER, "no rows"),
        ("bert-1.3b,2,1", "line 1: 1 tab-separated values, expected 13"),
        (HEADER.replace("StageWeights(B)", "Weights(GB)"), "line 1: the header lacks StageWeights(B)"),
        (HEADER.replace("StdTime(s)", "BS"), "line 1: the header has BS twice"),
        ("\x00\t" * 13, "line 1"),
    ],
)
def test_what_is_no_such_table_is_refused(text: str, named: str) -> None:
    with pytest.raises(InvalidProfile) as refusal:
        parse_alpa_table(text)

    assert named in str(refusal.value)
