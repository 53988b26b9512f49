"""Verdicts that are in a manifest already, against what the gates say of its scores."""

import math
from typing import TYPE_CHECKING

from pipelines.columns import FAULTS
from pipelines.gates import REACHED, Gates, judge

if TYPE_CHECKING:
    import pyarrow as pa


def known_reasons(gates: Gates) -> set[str]:
    """All that a row may be rejected for."""
    return {*FAULTS, *(gate.reason for gate in gates.gates)}


def judged_again(rows: "pa.Table", gates: Gates) -> tuple[list[bool], list[bool]]:
    """Of each row: do its reasons, and its tier and ``missed``, follow from its scores? A fault is not of the gates."""
    scores = dict.fromkeys(gate.column for gate in (*gates.gates, *(g for tier in gates.tiers for g in tier.gates)))
    names = ["reached", *scores]
    reasons_agree, tiers_agree = [], []
    columns = [rows[name].to_pylist() for name in names]
    told = zip(*(rows[name].to_pylist() for name in ("reason", "reasons", "tier", "missed")), strict=True)
    for values, (reason, reasons, tier, missed) in zip(zip(*columns, strict=True), told, strict=True):
        row = dict(zip(names, values, strict=True))
        if row["reached"] not in REACHED or any(isinstance(v, float) and math.isinf(v) for v in values):
            row["reached"] = "pose"  # another rule says what is wrong with it
        of_the_gates = reason not in FAULTS or reason in ("no_body", "not_scored")
        verdict = judge(row | {"fault": None if of_the_gates else reason}, gates)
        reasons_agree.append(verdict["reasons"] == (reasons or []))
        tiers_agree.append((verdict["tier"], verdict["missed"]) == (tier, missed or []))
    return reasons_agree, tiers_agree
