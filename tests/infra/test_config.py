import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from infra import config
from infra.errors import UsageError


@pytest.mark.parametrize("preset", config.presets())
def test_presets_load_and_survive_a_round_trip(preset, tmp_path):
    loaded = config.load(preset)
    (tmp_path / "again.yaml").write_text(config.dump(loaded))
    assert config.load(tmp_path / "again.yaml") == loaded


def test_the_paper_preset_has_the_papers_numbers():
    stages = config.load("paper").train.stages
    assert [(s.steps, s.lr, s.trainable) for s in stages] == [
        (12000, 1e-4, "lora"),
        (2000, 1e-6, "full"),
        (500, 1e-4, "lora"),
    ]
    assert [s.pose_simulation for s in stages] == [0, 0, 0.5]
    paper = config.load("paper")
    assert (paper.clip.frames, paper.clip.fps, paper.clip.area) == (81, 16.0, 640 * 640)
    assert (paper.animate.text_guidance, paper.animate.pose_guidance) == (5.0, 1.0)
    assert paper.animate.pose_interval == (0.1, 0.4)


def test_overrides_reach_every_depth():
    loaded = config.load(
        "demo",
        [
            "train.stages.1.lr=3e-4",
            "train.stages.0.lr=1.0E-3",
            "sources=a.mp4",
            "animate.pose_interval=[0.2, 0.3]",
            "seed=7",
        ],
    )
    assert [stage.lr for stage in loaded.train.stages[:2]] == [1e-3, 3e-4]
    assert loaded.sources == ["a.mp4"]
    assert loaded.animate.pose_interval == (0.2, 0.3)
    assert loaded.seed == 7


def test_overrides_reach_into_mappings():
    named = ["evaluate.weights.dino=/x", "evaluate.checkpoints.old=w/stage3", "evaluate.videos.their-s=folder"]
    asked = config.load("demo", [*named, "evaluate.weights.clip=/y", "tracking.tags.who=me"])
    assert asked.evaluate.weights == {"dino": "/x", "clip": "/y"} and asked.tracking.tags == {"who": "me"}
    assert (asked.evaluate.checkpoints, asked.evaluate.videos["their-s"].folder) == ({"old": "w/stage3"}, "folder")
    again = config.override(asked.model_dump(mode="json"), ["evaluate.videos.their-s.time_map=index"])
    assert (again.evaluate.videos["their-s"].time_map, again.evaluate.weights) == ("index", asked.evaluate.weights)
    with pytest.raises(UsageError, match=r"their-s is 'folder', which has no keys"):
        config.load("demo", [*named, "evaluate.videos.their-s.time_map=index"])


def test_a_file_builds_on_a_preset(tmp_path):
    (tmp_path / "mine.yaml").write_text("preset: demo\ntrain: {workers: 1}\n")
    mine, demo = config.load(tmp_path / "mine.yaml"), config.load("demo")
    assert mine.train.workers == 1
    assert mine.train.stages == demo.train.stages


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.worker=2", r"train\.worker: unknown key\. Did you mean train\.workers\?"),
        ("wrok=x", r"wrok: unknown key\. Did you mean work\?"),
        ("train.stages.0.step=2", r"Did you mean train\.stages\.0\.steps\?"),
        ("train.stages.3.steps=2", "no entry of that number"),
        ("seed.deep=2", "seed has no keys inside it"),
        ("train.workers=two", r"train\.workers: input should be a valid integer, not 'two'"),
        ("train.workers=2.5", r"train\.workers"),
        ("train.workers=0", r"train\.workers: input should be greater than 0, not 0"),
        ("train.workers=true", r"train\.workers"),
        ("clip.frames=80", r"4k\+1"),
        ("pose.estimator=openpose", r"pose\.estimator: input should be 'mediapipe' or 'dwpose'"),
        ("train.stages=[]", r"train\.stages"),
        ("animate.pose_interval=[0.1, 1.4]", r"animate\.pose_interval\.1"),
        ("evaluate.weights.a.b=x", r"evaluate\.weights\.a has no keys(?s:.*)'evaluate\.weights=\{a\.b: \.\.\.\}'"),
        ("evaluate.weights.=x", r"evaluate\.weights has no keys"),
        ("evaluate.weights.clip=3", r"evaluate\.weights\.clip: input should be a valid string"),
        ("evaluate.videos.theirs.foldr=x", r"evaluate\.videos\.theirs\.foldr: unknown key\. Did you mean"),
        ("evaluate={videos: {a: {foldr: b}}}", r"evaluate\.videos\.a\.foldr: unknown key\. Did you mean"),
        ("seed", "not of the form key=value"),
        ("seed=[", "not valid YAML"),
    ],
)
def test_wrong_overrides_name_the_key_and_what_was_expected(override, message):
    with pytest.raises(UsageError, match=message):
        config.load("demo", [override])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("trian: {}", r"trian: unknown key\. Did you mean train\?"),
        ("train: {stages: [{objectiv: x}]}", "objectiv"),
        ("preset: dmeo", "'dmeo' does not exist"),
        ("- a", "a config is a mapping"),
        ("a: [", "cannot be read as YAML"),
    ],
)
def test_wrong_files_are_told(tmp_path, text, message):
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(UsageError, match=message):
        config.load(tmp_path / "c.yaml")


def test_an_unknown_preset_is_told_with_the_nearest():
    with pytest.raises(UsageError, match="Did you mean 'paper'"):
        config.load("papr")


def test_operational_keys_stay_outside_the_hash():
    base = config.load("demo")
    same = config.load(
        "demo", ["work=/elsewhere", "resources.cpus=1", "train.checkpoint_every=3", "tracking.experiment=x"]
    )
    assert config.identity(same) == config.identity(base)
    other = config.load("demo", ["train.stages.2.pose_simulation=0.25"])
    assert config.differences(config.identity(base), config.identity(other)) == [
        ("train.stages.2.pose_simulation", 0.5, 0.25)
    ]
    assert config.section_hash(other, "clip", "pose") == config.section_hash(base, "clip", "pose")
    assert config.section_hash(other, "train") != config.section_hash(base, "train")


def nested(inner):
    return st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)


@given(st.recursive(st.none() | st.integers() | st.text(max_size=5), nested, max_leaves=8))
def test_any_value_for_a_section_is_refused_or_understood_but_never_crashes(value):
    try:
        loaded = config.load("demo", [f"curate={yaml.safe_dump(value, default_flow_style=True)}"])
    except UsageError:
        return
    assert value == {} or value.keys() <= type(loaded.curate).model_fields.keys()
