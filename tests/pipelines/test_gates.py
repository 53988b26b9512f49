"""Gates as data, and judging."""

import dataclasses
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.errors import UsageError
from pipelines.columns import COLUMNS, FAULTS, POSE_SCORES, SCAN_SCORES, SCORES
from pipelines.gates import HAS_BODY, PRESETS, Gate, Gates, JudgeScan, Tier, judge, load
from pipelines.work.stage import run

numbers = st.floats(allow_nan=False, allow_infinity=False, width=32)
some_scores = st.sampled_from([*SCAN_SCORES[:3], *POSE_SCORES[:3]])
rows = st.dictionaries(some_scores, st.none() | st.floats())
gate_lists = st.lists(
    st.builds(
        lambda column, reason, bounds, optional: Gate(column, reason, min(bounds), max(bounds), optional),
        some_scores,
        st.sampled_from(["person_count", "motion", "visibility", "hands"]),
        st.tuples(numbers, numbers),
        st.booleans(),
    ),
    max_size=5,
).map(tuple)
gates = st.builds(
    lambda base, tiers: Gates(base, tuple(Tier(f"tier{number}", each) for number, each in enumerate(tiers))),
    gate_lists,
    st.lists(gate_lists, max_size=3),
)


def failing(row, some):
    reasons = []
    for gate in some:
        value = row.get(gate.column)
        inside = gate.optional if value is None else not math.isnan(value) and gate.min <= value <= gate.max
        if not inside and gate.reason not in reasons:
            reasons.append(gate.reason)
    return reasons


@given(rows, gates)
def test_reasons_are_exactly_those_of_the_failing_gates_in_order(row, some):
    verdict = judge(row, some)
    assert verdict["reasons"] == failing(row, some.gates)
    assert verdict["reason"] == (verdict["reasons"][0] if verdict["reasons"] else None)
    assert (verdict["verdict"] == "kept") == (not verdict["reasons"]) == (verdict["tier"] is not None)


@given(rows, gates)
def test_tiers_are_nested_and_what_is_missed_belongs_to_the_next_one(row, some):
    verdict = judge(row, some)
    if verdict["verdict"] == "rejected":
        assert verdict["tier"] is None and verdict["missed"] == []
        return
    names = [some.base_tier, *(tier.name for tier in some.tiers)]
    reached = names.index(verdict["tier"])
    assert not any(failing(row, tier.gates) for tier in some.tiers[:reached])
    assert verdict["missed"] == (failing(row, some.tiers[reached].gates) if reached < len(some.tiers) else [])
    assert bool(verdict["missed"]) == (reached < len(some.tiers))


@given(rows, gates, st.sampled_from(["found", "scan", "pose"]), st.data())
def test_loosening_a_gate_never_rejects_a_kept_clip_nor_lowers_its_tier(row, some, reached, data):
    def loosened(each):
        if not each:
            return each
        number = data.draw(st.integers(0, len(each) - 1))
        wider = data.draw(st.floats(0, 1e6))
        gate = each[number]
        gate = dataclasses.replace(gate, min=gate.min - wider, max=data.draw(st.none() | st.just(gate.max + wider)))
        return (*each[:number], gate, *each[number + 1 :])

    looser = Gates(
        loosened(some.gates), tuple(dataclasses.replace(tier, gates=loosened(tier.gates)) for tier in some.tiers)
    )
    row = {**row, "reached": reached}
    before, after = judge(row, some), judge(row, looser)
    if before["verdict"] == "kept":
        names = [some.base_tier, *(tier.name for tier in some.tiers)]
        assert after["verdict"] == "kept" and names.index(after["tier"]) >= names.index(before["tier"])
    assert {*after["reasons"]} <= {*before["reasons"], "not_scored"}


@given(rows, gates, st.sampled_from(sorted(FAULTS)))
def test_a_fault_is_the_only_reason(row, some, fault):
    rejected = {"verdict": "rejected", "reason": fault, "reasons": [fault], "tier": None, "missed": []}
    assert judge({**row, "fault": fault}, some) == rejected


@given(st.sampled_from(SCORES), numbers, numbers)
def test_bounds_belong_to_the_range(column, one, other):
    some = Gates((Gate(column, "r", min(one, other), max(one, other)),))
    assert judge({column: one}, some)["verdict"] == judge({column: other}, some)["verdict"] == "kept"


def test_a_missing_value_passes_where_it_is_optional_and_nonsense_never_does():
    for optional, verdict in ((True, "kept"), (False, "rejected")):
        some = Gates((Gate("aesthetic", "aesthetic", min=4, optional=optional),))
        assert judge({"aesthetic": None}, some)["verdict"] == verdict
        assert judge({"aesthetic": math.nan}, some)["verdict"] == "rejected"
        assert judge({"aesthetic": 3}, some)["verdict"] == "rejected"


# how far a row was measured

DARK, ALONE = Gate("brightness", "too_dark", min=10), Gate("people", "person_count", max=1)
BOTH = Gates((ALONE, DARK, HAS_BODY))


def test_gates_on_what_was_not_measured_are_not_judged_but_do_not_pass_either():
    assert judge({"reached": "scan", "brightness": 5}, BOTH)["reasons"] == ["too_dark"]
    assert judge({"reached": "scan", "brightness": 50}, BOTH)["reasons"] == ["not_scored"]
    assert judge({"reached": "found"}, BOTH)["reasons"] == ["not_scored"]
    scored = {"reached": "pose", "brightness": 5, "people": 2, "body_speed": None}
    assert judge(scored, BOTH)["reasons"] == ["person_count", "too_dark", "no_body"]
    assert judge({**scored, "reached": None}, BOTH)["reasons"] == ["person_count", "too_dark", "no_body"]


@given(rows, gates)
def test_the_early_judge_rejects_what_the_final_one_would_and_for_the_same_reasons(row, some):
    early = JudgeScan(some)(row)
    assert set(early) <= set(JudgeScan.writes)
    final = judge({**row, "reached": "scan"}, some)
    if early:
        assert early == final and early["verdict"] == "rejected"
        assert set(early["reasons"]) <= set(judge({**row, "reached": "pose"}, some)["reasons"])
    else:
        assert final["reasons"] in ([], ["not_scored"])


def test_the_early_judge_reads_scores_of_the_scan_alone():
    assert JudgeScan(BOTH).reads == ("brightness",)
    assert "verdict" not in run((JudgeScan(BOTH),), {"brightness": 50})[0]


# files


@pytest.mark.parametrize("name", sorted(path.stem for path in PRESETS.glob("*.yaml")))
def test_presets_load_say_what_they_are_and_end_with_the_body(name):
    some = load(name)
    assert some.gates[-1] == HAS_BODY and HAS_BODY not in some.gates[:-1]
    assert 10 < len(some.about) < 120
    assert json.loads(json.dumps(dataclasses.asdict(some)))["base_tier"] == "train"


@pytest.mark.parametrize("name", ["demo", "steadydancer-paper", "speakervid", "humanvid"])
def test_presets_are_there(name):
    assert (PRESETS / f"{name}.yaml").is_file()


def loaded(tmp_path, text):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    return load(path)


def test_a_list_is_gates_without_tiers(tmp_path):
    some = loaded(tmp_path, "- {column: people, max: 1, reason: person_count}")
    assert some == Gates((Gate("people", "person_count", max=1), HAS_BODY))


def test_tiers_rise_in_their_order(tmp_path):
    some = loaded(
        tmp_path,
        """
about: mine
gates: [{column: brightness, min: 10, reason: too_dark}]
tiers:
  hq: [{column: hand_visibility, min: 0.5, reason: hands}]
  best: [{column: aesthetic, min: 5, reason: aesthetic, optional: true}]
base_tier: plain
""",
    )
    assert some == Gates(
        (Gate("brightness", "too_dark", min=10), HAS_BODY),
        (
            Tier("hq", (Gate("hand_visibility", "hands", min=0.5),)),
            Tier("best", (Gate("aesthetic", "aesthetic", min=5, optional=True),)),
        ),
        "plain",
        "mine",
    )
    row = {"brightness": 50, "body_speed": 0.2, "hand_visibility": 0.2}
    assert judge(row, some)["tier"] == "plain" and judge(row, some)["missed"] == ["hands"]
    row |= {"hand_visibility": 0.6, "aesthetic": 4}
    assert judge(row, some)["tier"] == "hq" and judge(row, some)["missed"] == ["aesthetic"]
    row |= {"aesthetic": None}
    assert judge(row, some)["tier"] == "best" and judge(row, some)["missed"] == []


GATE = "{column: people, min: 1, reason: r}"


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
        ("- {column: people, min: 1, reason: r, optional: maybe}", "true or false is expected"),
        ("- {column: people, min: 1, min: 2, reason: r}", "'min' is there twice"),
        ("- {column: bucket, min: 1, reason: r}", "unknown column 'bucket'"),
        ("people: 1", "unknown key 'people'"),
        ("just text", "neither a list of gates nor a mapping"),
        ("", "neither a list of gates nor a mapping"),
        ("- [", "cannot be read as YAML"),
        ("{[a]: 1, [a]: 2}", "cannot be read as YAML"),
        ("- people", "is no mapping"),
        ("about: mine", "a list of gates is expected"),
        ("gates: []", "a list of gates is expected"),
        (f"gates: [{GATE}]\ntires: {{}}", r"unknown key 'tires'. Did you mean 'tiers'\?"),
        (f"gates: [{GATE}]\nabout: 3", "about is 3, a text"),
        (f"gates: [{GATE}]\nbase_tier: [a]", r"base_tier is \['a'\], a text"),
        (f"gates: [{GATE}]\ntiers: [{GATE}]", "a mapping of names to lists of gates"),
        (f"gates: [{GATE}]\ntiers: {{hq: []}}", "tier hq: a list of gates is expected"),
        (f"gates: [{GATE}]\ntiers: {{hq: [{GATE}], hq: [{GATE}]}}", "'hq' is there twice"),
        (f"gates: [{GATE}]\ntiers: {{train: [{GATE}]}}", "tier 'train' is there twice"),
        (f"gates: [{GATE}]\ntiers: {{3: [{GATE}]}}", "3 is no name of a tier"),
        (f"gates: [{GATE}]\ntiers: {{hq: [{{column: pepole, min: 1, reason: r}}]}}", "tier hq, gate 1: unknown column"),
    ],
)
def test_wrong_gates_are_refused_by_name(tmp_path, text, message):
    with pytest.raises(UsageError, match=message):
        loaded(tmp_path, text)


def test_missing_gates_name_the_presets():
    with pytest.raises(UsageError, match=r"(?s)'demmo'.*demo"):
        load("demmo")


def test_every_column_is_documented_once():
    assert len({column.name for column in COLUMNS}) == len(COLUMNS)
    assert all(column.definition for column in COLUMNS)
