"""Which of the clips that pass the gates are kept: the best windows of a shot, and one of every group of duplicates."""

import math
from collections.abc import Sequence

from pipelines.duplicates import near_duplicates
from pipelines.work.stage import Row

LIVELY = (0.3, 1.2)
"""body_speed, body heights per second, between which a window counts in full. Ours: steady dance to fast dance."""


def worth(row: Row) -> float:
    """0..1: how well a window shows a moving dancer. The formula is ours.

    Visibility, (2 body + hands + face) / 4, times liveliness: body_speed / 0.3 up to 1, and 1.2 / body_speed beyond
    1.2, since the fastest motion of a shot is where limbs blur. What was not measured counts as 0.
    """
    body, hands, face, speed = (
        _number(row.get(column)) for column in ("body_visibility", "hand_visibility", "face_visibility", "body_speed")
    )
    low, high = LIVELY
    return round((2 * body + hands + face) / 4 * min(1.0, speed / low, high / max(speed, high)), 6)


def _number(value: float | None) -> float:
    return 0.0 if value is None or not math.isfinite(value) else value


def choose(rows: Sequence[Row], per_shot: int) -> dict[str, str]:
    """Spare windows: clip_id -> clip_id of the best window of the same shot.

    Of the ``rows`` with one ``source_id`` and ``shot`` the ``per_shot`` best by :func:`worth` stay; of equals the
    earlier.
    """
    shots: dict[tuple[str, int], list[Row]] = {}
    for row in rows:
        shots.setdefault((row["source_id"], row["shot"]), []).append(row)
    spare = {}
    for windows in shots.values():
        windows.sort(key=lambda row: (-worth(row), row["start"], row["clip_id"]))
        spare |= {row["clip_id"]: windows[0]["clip_id"] for row in windows[per_shot:]}
    return spare


def settle(rows: Sequence[Row], distance: float, per_shot: int, tiers: Sequence[str] = ()) -> list[Row]:
    """Judged ``rows`` in their order, with those kept ones rejected that a better window of the shot (``spare``) or a
    better copy (``duplicate``) makes needless. Near-duplicates get ``group``, the one of them that is kept too.

    ``distance``: see :func:`near_duplicates`; ``tiers`` from low to high. Rows with another verdict stay as they are.
    """
    kept = [row for row in rows if row["verdict"] == "kept"]
    spare = choose(kept, per_shot)
    groups = near_duplicates([row for row in kept if row["clip_id"] not in spare], distance, tiers)

    def settled(row: Row) -> Row:
        clip = row["clip_id"]
        if row["verdict"] != "kept":
            return row
        if clip in spare:
            return row | _rejected("spare", f"a better window of the same shot is {spare[clip]}")
        if clip not in groups:
            return row
        best = groups[clip]
        grouped = row | {"group": best}
        return grouped if best == clip else grouped | _rejected("duplicate", f"near-duplicate of {best}")

    return [settled(row) for row in rows]


def _rejected(reason: str, error: str) -> Row:
    return {"verdict": "rejected", "reason": reason, "reasons": [reason], "error": error, "tier": None, "missed": []}
