"""Gates as data, and judging."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.errors import UsageError
from pipelines.columns import COLUMNS, FAULTS, SCORES
from pipelines.gates import HAS_BODY, Gate, judge, load

numbers = st.floats(allow_nan=False, allow_infinity=False, width=32)
rows = st.dictionaries(st.sampled_from(SCORES), st.none() | st.floats())
gates = st.lists(
    st.builds(
        lambda column, reason, bounds: Gate(column, reason, min(bounds), max(bounds)),
        st.sampled_from(SCORES),
        st.sampled_from(["person_count", "motion", "visibility"]),
        st.tuples(numbers, numbers),
    ),
    max_size=6,
)


@given(rows, gates)
def test_reasons_are_exactly_those_of_the_failing_gates_in_order(row, some):
    verdict = judge(row, some)
    failing = []
    for gate in some:
        value = row.get(gate.column)
        inside = value is not None and not math.isnan(value) and gate.min <= value <= gate.max
        if not inside and gate.reason not in failing:
            failing.append(gate.reason)
    assert verdict["reasons"] == failing
    assert verdict["reason"] == (failing[0] if failing else None)
    assert (verdict["verdict"] == "kept") == (not failing)


@given(rows, gates, st.sampled_from(sorted(FAULTS)))
def test_a_fault_is_the_only_reason(row, some, fault):
    assert judge({**row, "fault": fault}, some) == {"verdict": "rejected", "reason": fault, "reasons": [fault]}


@given(st.sampled_from(SCORES), numbers, numbers)
def test_bounds_belong_to_the_range(column, one, other):
    gate = Gate(column, "r", min(one, other), max(one, other))
    assert judge({column: one}, [gate])["verdict"] == judge({column: other}, [gate])["verdict"] == "kept"


def test_demo_gates_load_and_end_with_the_body():
    demo = load("demo")
    reasons = {gate.reason for gate in demo}
    assert demo[-1] == HAS_BODY and reasons == {"too_dark", "person_count", "visibility", "motion", "no_body"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- {column: peopel, min: 1, reason: r}", r"unknown column 'peopel'. Did you mean 'people'\?"),
        ("- {column: people, mni: 1, reason: r}", r"unknown key 'mni'. Did you mean 'min'\?"),
        ("- {column: people, reason: r}", "neither min nor max"),
        ("- {column: people, min: 1}", "'reason' is missing"),
        ("- {column: people, min: 3, max: 1, reason: r}", "would pass nothing"),
        ("- {column: people, min: .nan, reason: r}", "a number is expected"),
        ("- {column: people, min: one, reason: r}", "a number is expected"),
        ("- {column: people, min: 1, reason: damaged}", "is kept for"),
        ("people: 1", "a list of gates is expected"),
        ("- [", "cannot be read as YAML"),
        ("- people", "is no mapping"),
    ],
)
def test_wrong_gates_are_refused_by_name(tmp_path, text, message):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(UsageError, match=message):
        load(path)


def test_missing_gates_name_the_presets():
    with pytest.raises(UsageError, match=r"(?s)'demmo'.*demo"):
        load("demmo")


def test_every_column_is_documented_once():
    assert len({column.name for column in COLUMNS}) == len(COLUMNS)
    assert all(column.definition for column in COLUMNS)
    assert all(column.unit for column in COLUMNS if column.role == "score" and column.name != "body_confidence")
