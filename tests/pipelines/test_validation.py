"""Each rule of Great Expectations with a breach of it planted: the dataset is refused, rule and rows are named."""

import io
import re

import numpy as np
import pytest
from manifests import FPS, FRAMES, GATES, SIZE, digest, files, row, sharded, world

from model import video
from pipelines.checks import validation
from pipelines.checks.rules import EVERY_NEEDS, IN_SETS, KEPT_NEED, OF_THE_SHOT, SHAPES
from pipelines.checks.shard_rules import RULES as SHARD_RULES
from pipelines.columns import COLUMNS, POSE_SCORES

LIMITS = {"frames": FRAMES, "fps": FPS, "rights_required": ["licence"], "windows_per_shot": 1}


def put(name, **values):
    """A breach: other values in one row, which is the one to be named."""

    def plant(rows):
        rows[name] |= values
        return {name}

    return plant


def copied(target, source, *columns):
    def plant(rows):
        rows[target] |= {column: rows[source][column] for column in columns}
        return {target, source}

    return plant


def another_clip_of_the_shot(rows):
    rows["low"] |= {column: rows["plain"][column] for column in ("source_id", "shot", "split")}
    return {"low", "plain"}


def two_splits(rows):
    here = rows["plain"]["split"]
    rows["low"] |= {"source_id": rows["plain"]["source_id"], "shot": 7, "split": "val" if here == "train" else "train"}
    return {"low", "plain"}


def the_kept_one_of_a_group_is_gone(rows):
    rows["best"] |= {"verdict": "rejected", "reason": "too_dark", "reasons": ["too_dark"]}
    return {"same"}


def group_of_two(rows):
    rows["low"]["group"] = rows["best"]["group"]
    return {"low", "best"}


def no_original(rows):
    rows["copy"]["source_id"] = digest("nowhere")
    return {"copy"}


def shot_without_a_choice(rows):
    rows["spare"]["shot"] = 5
    return {"spare"}


BAD_FORM = {"source": "/videos/a.mp4", "bucket": "48 by 32", "shard": "a.tar"}
BREACHES = {
    **{f"{name} is there": put("two", **{name: None}) for name in EVERY_NEEDS},
    **{f"{name} has its form": put("plain", **{name: BAD_FORM.get(name, "XYZ")}) for name in SHAPES},
    **{
        f"{name} is one of {', '.join(map(str, known))}": put("low", **{name: 91 if name == "rotation" else "perhaps"})
        for name, known in IN_SETS.items()
    },
    **{
        f"{c.name} within its range": put("fifth", **{c.name: c.low - 1 if c.low is not None else c.high + 1})
        for c in COLUMNS
        if (c.low, c.high) != (None, None)
    },
    **{f"kept: {name} is there": put("best", **{name: None}) for name in KEPT_NEED},
    **{f"kept: gated {name} is there": put("best", **{name: None}) for name in ("brightness", "people", "body_speed")},
    **{f"rejected: has no {name}": put("two", **{name: "x"}) for name in ("shard", "split", "tier")},
    "clip_id is unique": copied("two", "dark", "clip_id"),
    "metadata is JSON": put("noise", metadata="{title:"),
    "a shot ends after it starts": put("two", shot_start=3.0),
    "every number is finite": put("two", fps_variation=float("nan")),
    "fingerprint has its form": put("plain", fingerprint="0123456789abcdefx"),
    "a clip lies inside its shot": put("two", start=1.9),
    "crop lies inside the picture": put("two", crop=[10, 0, 90, 64]),
    "a row that reached no scan has no score of it": put("noise", brightness=100.0),
    "a window that was scanned has all scores of it": put("dark", flash=None),
    "a row with a pose has the scores that every pose has": put("two", face_visibility=None),
    "a row without a pose has no score of one": put("dark", people=1.0),
    "reason is the first of reasons": put("two", reasons=["too_dark", "person_count"]),
    "reasons are known": put("two", reasons=["person_count", "a whim"]),
    "reasons are those of the gates that fail": put("two", reason="too_dark", reasons=["too_dark"]),
    "tier and missed are what the gates say": put("low", tier="hq", missed=[]),
    "kept: licence is there (rights)": put("fourth", licence="  "),
    "kept: collected_at is a date": put("fourth", collected_at="yesterday"),
    "kept: no reason": put("fourth", reason="spare"),
    "kept: reached pose": put("fourth", reached="scan"),
    "kept: frames as configured": put("fourth", frames=FRAMES + 4),
    "kept: frames stored": put("fourth", stored_frames=FRAMES - 1),
    "kept: fps as configured": put("fourth", fps=12.5),
    "kept: passes gate brightness 10 to 210 (too_dark)": put("fourth", brightness=211.0),
    "kept: passes gate people 1 to 1 (person_count)": put("fourth", people=2.0),
    "kept: passes gate aesthetic 4 to (aesthetic)": put("fourth", aesthetic=3.0),
    "kept: group is the clip itself": put("plain", group="0" * 20),
    "kept: at most one of a group": group_of_two,
    "kept: no more clips of a shot than configured": another_clip_of_the_shot,
    "kept: no two clips in one place": copied("plain", "low", "shard", "offset"),
    "kept: clips of a source share a split": two_splits,
    "kept: its source was not forgotten or opted out": put("plain", source_id=digest("forgotten")),
    "rejected: has a reason": put("two", reason=None),
    "rejected: a known reason": put("two", reason="a whim"),
    "rejected: what went wrong is said": put("noise", error=None),
    "rejected: a duplicate clip names a kept one as its group": the_kept_one_of_a_group_is_gone,
    "rejected: of a spare clip's shot another was chosen": shot_without_a_choice,
    "rejected: of a copied source the original is there": no_original,
}
OF_THE_TABLE = {"at least one clip is kept", "kept: there is train and val"}


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """One validation of many small worlds, each with one breach; the first has none."""
    folder = tmp_path_factory.mktemp("worlds")
    worlds = [world(number) for number in range(len(BREACHES) + 1)]
    made = {kept["clip_id"]: kept for kept in sharded(folder / "shards", [r for w in worlds for r in w.values()])}
    worlds = [{name: made[r["clip_id"]] for name, r in w.items()} for w in worlds]
    named = [set()] + [plant(rows) for plant, rows in zip(BREACHES.values(), worlds[1:], strict=True)]
    results = validation.validate(
        [r for w in worlds for r in w.values()], GATES, **LIMITS, never_again={digest("forgotten")}
    )
    told = [{name: r["clip_id"] or r["source"] for name, r in w.items()} for w in worlds]
    clips = [set(names.values()) for names in told]
    expected = [{names[name] for name in plants} for names, plants in zip(told, named, strict=True)]
    return {result["rule"]: result for result in results}, clips, expected


def refusal(results):
    with pytest.raises(validation.DatasetRefused) as refused:
        validation.refuse_if_broken(results)
    return str(refused.value)


@pytest.mark.parametrize("rule", BREACHES)
def test_a_planted_breach_is_refused_with_rule_and_rows(rule, outcomes):
    results, clips, expected = outcomes
    number = list(BREACHES).index(rule) + 1
    broken_here = {**results[rule], "broken_by": [c for c in results[rule]["broken_by"] if c in clips[number]]}
    assert set(broken_here["broken_by"]) == expected[number]
    message = refusal([broken_here])
    assert all(re.search(rf"{re.escape(rule)}: clips .*{re.escape(clip)}", message) for clip in expected[number])


def test_every_rule_has_its_breach_and_what_is_whole_breaks_none(outcomes):
    results, clips, _ = outcomes
    assert set(results) - OF_THE_TABLE == set(BREACHES)
    assert not [rule for rule, result in results.items() if clips[0] & set(result["broken_by"])]
    assert {result["severity"] for result in results.values()} == {"critical"}


def test_what_is_whole_passes_and_a_dataset_without_clips_does_not(tmp_path):
    rows = world()
    rows["noise"] |= {"reason": "rights", "reasons": ["rights"], "collected_at": "yesterday"}  # rejected for it
    rows["plain"]["collected_at"] = "20240131"
    whole = sharded(tmp_path / "shards", list(rows.values()))
    results = validation.validate(whole, GATES, **LIMITS, shards_folder=tmp_path / "shards")
    assert [result for result in results if not result["passed"]] == []
    validation.refuse_if_broken(results)
    rejected = [r for r in whole if r["verdict"] == "rejected" and r["reason"] in ("too_dark", "unreadable")]
    assert "at least one clip is kept (0 rows)" in refusal(validation.validate(rejected, GATES, **LIMITS))


def member(suffix, change):
    """A breach of a shard: one member of the clip changed as it is written. ``change`` of its bytes; None drops it."""

    def plant(members):
        changed = [(name, change(content) if name == suffix else content) for name, content in members]
        return [(name, content) for name, content in changed if content is not None]

    return plant


def told(**values):
    """A breach of the manifest against its shard."""
    return lambda kept: kept.update(values)


def short_pose(_):
    out = io.BytesIO()
    np.savez(out, keypoints=np.zeros((FRAMES - 1, 133, 2), np.float32), scores=np.ones((FRAMES - 1, 133), np.float32))
    return out.getvalue()


def endless_pose(_):
    out = io.BytesIO()
    keypoints = np.full((FRAMES, 133, 2), np.inf, np.float32)
    np.savez(out, keypoints=keypoints, scores=np.ones((FRAMES, 133), np.float32))
    return out.getvalue()


def pickled_pose(_):
    out = io.BytesIO()
    np.savez(out, keypoints=np.array([{}], object), scores=np.array([{}], object))
    return out.getvalue()


EVERY, NOTHING_ELSE, ONCE, LIES, SHA, PARTS, WHOLE, MP4_FRAMES, MP4_SIZE, POSE, TXT, JSON = SHARD_RULES
SHARD_BREACHES = [
    (LIES, told(offset=512), None),
    (LIES, told(bytes=1024), None),
    (SHA, told(sha256="0" * 64), None),
    (PARTS, told(members=[]), None),
    (WHOLE, None, member("txt", lambda _: None)),
    (WHOLE, None, lambda members: [*members, ("txt", b"again")]),
    (MP4_FRAMES, None, "long mp4"),
    (MP4_FRAMES, None, member("mp4", lambda _: b"no video")),
    (MP4_SIZE, told(bucket="64x32"), None),
    (POSE, None, member("pose.npz", short_pose)),
    (POSE, None, member("pose.npz", endless_pose)),
    (POSE, None, member("pose.npz", pickled_pose)),
    (POSE, None, member("pose.npz", lambda content: content[:-9])),
    (TXT, told(caption="Another."), None),
    (TXT, None, member("txt", lambda _: b"")),
    (JSON, told(blur=0.5), None),
]


@pytest.fixture(scope="module")
def shard_outcomes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shards")
    clips = [row(f"clip{number}") for number in range(len(SHARD_BREACHES) + 3)]
    plain, plants = files(folder), {c["clip_id"]: b[2] for c, b in zip(clips, SHARD_BREACHES, strict=False)}
    frames = [np.zeros((*SIZE, 3), np.uint8)] * (FRAMES + 1)
    long = video.write(folder / "long.mp4", frames, FPS).read_bytes()
    plants |= {clip: member("mp4", lambda _: long) for clip, plant in plants.items() if plant == "long mp4"}
    shards = folder / "shards"
    made = {
        kept["clip_id"]: kept for kept in sharded(shards, clips, lambda k: (plants.get(k["clip_id"]) or list)(plain(k)))
    }
    for clip, (_, manifest, _) in zip(clips, SHARD_BREACHES, strict=False):
        if manifest:
            manifest(made[clip["clip_id"]])
    whole, unknown, lost = (clip["clip_id"] for clip in clips[-3:])
    del made[unknown]
    made["f" * 20] = {**made[lost], "clip_id": "f" * 20}
    (shards / "shard-000900.tar").write_bytes((shards / made[whole]["shard"]).read_bytes())
    (shards / "shard-000901.tar").write_bytes((shards / made[whole]["shard"]).read_bytes()[:-9000] + b"x" * 700)
    (shards / "notes.txt").write_text("not a shard")
    results = validation.validate(list(made.values()), GATES, **LIMITS, shards_folder=shards)
    return (
        {r["rule"]: set(r["broken_by"]) for r in results if r["view"] == "shards"},
        clips,
        unknown,
        made[whole]["shard"],
    )


@pytest.mark.parametrize("number", range(len(SHARD_BREACHES)))
def test_a_breach_planted_in_a_shard_names_the_clip(number, shard_outcomes):
    broken, clips, _, _ = shard_outcomes
    rule = SHARD_BREACHES[number][0]
    assert clips[number]["clip_id"] in broken[rule]
    whole = clips[-3]["clip_id"]
    assert whole not in broken[rule] or rule == LIES  # it is there twice, once in the wrong place


def test_what_is_missing_from_shards_or_too_much_is_named(shard_outcomes):
    broken, clips, unknown, copied_shard = shard_outcomes
    assert broken[EVERY] == {"f" * 20}
    assert {unknown, "notes.txt", "shard-000901.tar"} <= broken[NOTHING_ELSE]
    assert not {clip["clip_id"] for clip in clips[: len(SHARD_BREACHES)]} & broken[NOTHING_ELSE]
    assert clips[-3]["clip_id"] in broken[ONCE] and copied_shard != "shard-000900.tar"
    assert set(broken) == set(SHARD_RULES) == {EVERY, NOTHING_ELSE, ONCE} | {rule for rule, *_ in SHARD_BREACHES}


def drifted(rng, count, speed, dropped=0, **changed):
    rows = [row(f"clip{n}", body_speed=float(rng.gamma(4, speed / 4)), **changed) for n in range(dropped, count)]
    return [made | {"source_id": digest("source", n // 10)} for n, made in enumerate(rows)]


def test_drift_only_warns_but_what_opted_out_does_not_come_back():
    rng = np.random.default_rng(0)
    before = [*drifted(rng, 120, 0.3), row("gone", fault="opted_out", reached="found")]
    moved = drifted(rng, 120, 0.6, dropped=2) + [row(f"two{n}", people=2.0) for n in range(60)]
    moved.append(row("gone"))
    moved = [made | {"split": "train"} for made in moved]
    for changed, named, gone in (
        (drifted(rng, 120, 0.3), set(), set()),
        (moved, {"body_speed", "people", "kept share"}, {before[0]["clip_id"], before[1]["clip_id"]}),
    ):
        results = validation.validate(changed, GATES, **LIMITS, previous=before)
        drift = [result for result in results if result["view"] in ("drift", "clips before")]
        assert {text.split(" (")[0] for text in drift[0]["broken_by"]} == named
        assert set(drift[1]["broken_by"]) == gone
        assert [(r["severity"], r["passed"]) for r in drift] == [("warning", not named), ("warning", not gone)]
        validation.refuse_if_broken(drift)
        back = next(r for r in results if r["rule"] == "kept: its source was not forgotten or opted out")
        assert back["broken_by"] == ([row("gone")["clip_id"]] if named else [])
        both = next(r for r in results if r["rule"] == "kept: there is train and val")
        assert not both["passed"]  # no split at all, then train alone


def test_data_docs_need_no_network_name_the_broken_rule_and_are_reproducible(tmp_path):
    rows = sharded(tmp_path / "shards", list(world().values()))
    rows[0]["source"] = "/<script>alert(1)</script>.mp4"
    for name in ("a", "b"):
        validation.validate(rows, GATES, **LIMITS, shards_folder=tmp_path / "shards", data_docs=tmp_path / name)
    pages = {page.name: page.read_text() for page in (tmp_path / "a").iterdir()}
    assert pages == {page.name: page.read_text() for page in (tmp_path / "b").iterdir()}
    assert set(pages) == {"index.html", "every_row.html", "kept_rows.html", "rejected_rows.html", "shards.html"}
    for page in pages.values():
        assert not re.search(r"<(script|link|img|iframe)|@import|url\(", page)
        assert not re.search(r"(src|href)=[\"']?(https?:)?//", page) and "default-src 'none'" in page
        for target in re.findall(r"<a href='?([^' >]+)", page):
            assert (tmp_path / "a" / target).is_file()
    assert "source has its form" in pages["index.html"] and rows[0]["clip_id"] in pages["every_row.html"]
    assert "&lt;script" in pages["every_row.html"]


def test_a_manifest_is_taken_as_rows_or_as_a_table(tmp_path):
    rows = sharded(tmp_path / "shards", list(world().values()))
    table = validation.arrow_table(rows)
    assert table.equals(validation.arrow_table(table)) and table["clip_id"].to_pylist() == [r["clip_id"] for r in rows]
    older = table.drop_columns([*POSE_SCORES[-2:], *OF_THE_SHOT[-1:]])
    assert validation.arrow_table(older).schema == table.schema
