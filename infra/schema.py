"""The typed config: every key of every preset, its type, its bounds and its unit.

Sections are named after the room that reads them. A step's identity is the hash of the sections it declares
(see :func:`infra.config.section_hash`); keys marked ``OPERATIONAL`` change how work is done but never what comes
out, and stay outside every hash.
"""

import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

OPERATIONAL = {"operational": True}
Positive = Annotated[int, Field(gt=0)]
Probability = Annotated[float, Field(ge=0, le=1)]


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, validate_default=True, allow_inf_nan=False)


class Resources(Section):
    """What this run may use of the machine. ``ray_address`` joins a running cluster instead of starting one."""

    cpus: Positive = Field(2, json_schema_extra=OPERATIONAL)
    memory_gb: float = Field(8.0, gt=0, json_schema_extra=OPERATIONAL)
    object_store_gb: float = Field(0.25, ge=0.1, json_schema_extra=OPERATIONAL)
    disk_gb: float = Field(2.0, gt=0, description="free disk the preset needs", json_schema_extra=OPERATIONAL)
    ray_address: str | None = Field(None, json_schema_extra=OPERATIONAL)
    dashboard_port: int | None = Field(
        None, ge=1024, le=65535, description="Ray's dashboard, on loopback; none: off", json_schema_extra=OPERATIONAL
    )


class Tracking(Section):
    """MLflow. Without ``uri`` the store is sqlite in the work folder."""

    uri: str | None = Field(None, json_schema_extra=OPERATIONAL)
    experiment: str = Field("steadydancer", json_schema_extra=OPERATIONAL)
    tags: dict[str, str] = Field(default={}, description="of every run of this chain", json_schema_extra=OPERATIONAL)
    system_metrics_s: float = Field(
        10.0,
        ge=0,
        description="seconds from one sample of this machine's load to the next; 0: none",
        json_schema_extra=OPERATIONAL,
    )


class Sample(Section):
    """The rendered corpus."""

    dancers: Positive = Field(10, description="good videos")
    seconds: float = Field(6.0, ge=1, description="length of a good video")
    short_side: int = Field(360, ge=64, description="pixels")
    faults: bool = True


class Clip(Section):
    """What one training sample is."""

    frames: int = Field(81, ge=5)
    fps: float = Field(16.0, gt=0)
    area: int = Field(640 * 640, ge=32 * 32, description="pixels of a bucket; its aspect follows the source")
    aspects: list[Annotated[str, Field(pattern=r"^[1-9]\d*:[1-9]\d*$")]] = Field(
        default=[],
        description="WIDTH:HEIGHT of the buckets, to the nearest of which clips are cropped; none: uncropped",
    )

    @model_validator(mode="after")
    def _frames_fit_the_codec(self):
        if self.frames % 4 != 1:
            raise ValueError(f"frames must be 4k+1 (the latents are causal, 4 frames to one): {self.frames} is not")
        return self

    @property
    def seconds(self) -> float:
        return self.frames / self.fps


class Pose(Section):
    estimator: Literal["mediapipe", "dwpose"] = "mediapipe"
    detector: str | None = Field(None, description="DWPose: person detector, an ONNX file or yzd-v/DWPose")
    weights: str | None = Field(None, description="DWPose: joints, an ONNX file or yzd-v/DWPose")
    detector_sha256: str | None = Field(None, pattern="^[0-9a-f]{64}$", description="refuse any other detector")
    weights_sha256: str | None = Field(None, pattern="^[0-9a-f]{64}$", description="refuse any other weights")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="of the two networks; auto: CUDA where it is")
    threads: Positive = Field(1, description="CPU threads of a network", json_schema_extra=OPERATIONAL)
    batch: Positive = Field(8, description="pictures a network takes at once", json_schema_extra=OPERATIONAL)
    detect_every: Positive = Field(10, description="frames from one search for people to the next")
    flip_test: bool = Field(False, description="DWPose: mean with the mirrored picture, at twice the cost")
    compat: bool = Field(
        False,
        description="repeat the official release: colours into DWPose, alignment, timing, negative, mixed-up hands",
    )
    people_samples: Positive = Field(5, description="frames of a window on which people are counted")
    clean: Literal["never", "driving", "always"] = Field(
        "driving", description="fill gaps and smooth: driving videos only, or the clips of a dataset too"
    )
    fill_seconds: float = Field(0.25, ge=0, description="longest gap that is filled")
    smooth_seconds: float = Field(0.3, ge=0, description="span of the smoothing; 0: none")


class Rights(Section):
    """What must be known of a source before it is used. Its metadata comes from tables among `sources`."""

    required: list[Literal["licence", "consent", "provenance", "collected_at", "subject"]] = Field(
        default=[], description="sources that lack one of these are rejected"
    )
    opt_out: list[str] = Field(
        default=[], description="text files: a source's path, address, SHA-256 or subject a line, never to be used"
    )


class Caption(Section):
    """Texts of clips that have none of their own."""

    endpoint: str | None = Field(None, description="OpenAI-compatible, ends with /v1; none: described from the scores")
    model: str | None = Field(None, description="name of the vision-language model there")
    api_key_env: str = Field("OPENAI_API_KEY", json_schema_extra=OPERATIONAL, description="variable that has the key")
    frames: Positive = Field(6, description="pictures of a clip that the model is shown")
    side: int = Field(448, ge=64, description="longer side of these, pixels")
    max_words: Positive = 80
    concurrency: Positive = Field(4, json_schema_extra=OPERATIONAL)
    retries: int = Field(4, ge=0, description="after time-outs, errors and nonsense", json_schema_extra=OPERATIONAL)
    timeout_s: float = Field(60.0, gt=0, json_schema_extra=OPERATIONAL)
    budget_requests: Positive | None = Field(None, json_schema_extra=OPERATIONAL)
    budget_tokens: Positive | None = Field(None, json_schema_extra=OPERATIONAL)

    @model_validator(mode="after")
    def _an_endpoint_has_a_model(self):
        if (self.endpoint is None) != (self.model is None):
            raise ValueError("endpoint and model go together: give both or none")
        return self


class Curate(Section):
    min_shot_seconds: float = Field(0.5, ge=0, description="shorter shots are not windows, and rejected as too short")
    trim_seconds: float = Field(0.1, ge=0, description="cut off both ends of a shot that a cut made")
    windows_per_shot: Positive = Field(1, description="clips kept of a shot at most: the best by motion and visibility")
    window_candidates: Positive = Field(2, description="windows of a shot that are scored, the liveliest first")
    score: Literal["survivors", "all"] = Field(
        "survivors", description="survivors: poses only for clips that pass the gates on pictures"
    )
    gates: str = Field("demo", description="gates preset or YAML file")
    duplicate_distance: int = Field(
        10, ge=0, le=32, description="bits of 64 in which the pictures of near-duplicates differ on the mean"
    )
    text_detector: str | None = Field(None, description="ONNX file of a DB text detector; none: text by its shape")
    text_detector_sha256: str | None = Field(None, pattern="^[0-9a-f]{64}$")
    aesthetic: str | None = Field(None, description="LAION head, a .safetensors file; none: no aesthetic score")
    aesthetic_sha256: str | None = Field(None, pattern="^[0-9a-f]{64}$")
    aesthetic_clip: str = Field("openai/clip-vit-large-patch14", description="hub id or folder of its CLIP")
    nsfw: str | None = Field(None, description="module:function of (frames (T, H, W, 3) uint8) -> 0..1")
    shard_clips: Positive = Field(64, description="clips in a shard at most")
    shard_mb: float = Field(256.0, gt=0)
    crf: int = Field(18, ge=0, le=51, description="H.264 quality of kept clips")
    retry_failed: bool = Field(False, description="try failed items again", json_schema_extra=OPERATIONAL)
    patience: float = Field(1.0, gt=0, description="times the deadline of every item", json_schema_extra=OPERATIONAL)


class Encode(Section):
    codec: Literal["embedded", "wan-vae"] = "embedded"
    codec_weights: str | None = Field(None, description="local diffusers folder, or hub id (@REVISION), of the VAE")
    codec_tiling: bool = Field(False, description="the VAE works on overlapping tiles: less memory, nearly the same")
    image: Literal["embedded", "clip"] = "embedded"
    image_weights: str | None = None
    text: Literal["embedded", "umt5"] = "embedded"
    text_weights: str | None = None


class Model(Section):
    size: Literal["tiny", "small", "wan-14b"] = "tiny"
    base: str | None = Field(None, description="Wan 2.1 I2V weights to start from; none: random from the seed")


class Stage(Section):
    """One of the three decoupled stages (paper section 3; numbers of the specification's section 6)."""

    objective: Literal["action_supervision", "condition_distillation", "motion_discontinuity"]
    steps: Positive
    lr: float = Field(gt=0)
    new_lr: float | None = Field(None, gt=0, description="of the parts that SteadyDancer adds; none: lr")
    schedule: Literal["constant", "cosine"] = Field(
        "constant", description="after the warm-up; cosine: down to nothing"
    )
    warmup_steps: int = Field(0, ge=0)
    trainable: Literal["lora", "full"] = Field(description="lora: on Wan's blocks, beside the new parts in full")
    lora_rank: Positive = 128
    lora_alpha: Positive = 128
    patch_embedding: bool = Field(False, description="lora: the base's own patch embedding is trained too")
    weight_decay: float = Field(0.01, ge=0)
    text_dropout: Probability = 0.1
    pose_dropout: Probability = 0.1
    timestep_sampling: Literal["uniform", "logit_normal"] = "uniform"
    timestep_shift: float = Field(5.0, gt=0)
    loss_weighting: Literal["none", "bell"] = Field("none", description="by timestep; bell: exp(-2 ((t-500)/1000)^2)")
    distillation: Literal["decoupled", "normal"] = Field(
        "decoupled",
        description="what is held to the teacher: the velocity without conditions, or (the ablation) the one with",
    )
    unconditional: Literal["pose", "pose_and_text"] = Field(
        "pose", description="what the velocity without conditions lacks"
    )
    distill_weight: float = Field(1.0, ge=0)
    pose_simulation: Probability = 0.0


class Train(Section):
    batch: Positive = Field(8, description="clips of an optimizer step, over all workers")
    micro_batch: Positive = Field(1, description="clips that a worker takes at once; all of one size")
    workers: Positive = Field(
        8, description="processes, one per GPU (or per core on CPU)", json_schema_extra=OPERATIONAL
    )
    zero: Literal[1, 2, 3] = Field(3, json_schema_extra=OPERATIONAL)
    precision: Literal["fp32", "bf16"] = "bf16"
    offload: Literal["none", "optimizer", "parameters"] = Field(
        "none",
        description="what waits in host memory: nothing; the optimizer's state; the weights too (ZeRO-3)",
        json_schema_extra=OPERATIONAL,
    )
    recompute: Literal["none", "attention", "full"] = Field(
        "full",
        description="what the backward pass computes anew: nothing; all of a block but its attention; whole blocks",
        json_schema_extra=OPERATIONAL,
    )
    betas: tuple[Probability, Probability] = Field((0.9, 0.999), strict=False)
    clip_norm: float = Field(1.0, gt=0)
    data: Literal["encoded", "raw"] = Field(
        "encoded", description="raw: the dataset's clips, encoded when they are read"
    )
    encoded: str | None = Field(
        None, description="an encoded dataset made elsewhere; none: the work folder's", json_schema_extra=OPERATIONAL
    )
    start_from: str | None = Field(
        None,
        description="a checkpoint made elsewhere, in the place of the work folder's own stage of its number",
        json_schema_extra=OPERATIONAL,
    )
    prefetch: int = Field(2, ge=0, description="steps that clips are read ahead", json_schema_extra=OPERATIONAL)
    max_unreadable: int = Field(
        10, ge=0, description="clips that cannot be read, left out", json_schema_extra=OPERATIONAL
    )
    max_skipped: int = Field(
        20, ge=0, description="steps not taken, their gradient being no number", json_schema_extra=OPERATIONAL
    )
    roll_back_after: Positive = Field(
        3, description="such steps in a row, which lead back to the last checkpoint", json_schema_extra=OPERATIONAL
    )
    validate_every: Positive | None = Field(None, description="steps; none: at the ends", json_schema_extra=OPERATIONAL)
    validation_clips: Positive = 2
    preview_every: Positive | None = Field(
        None,
        description="steps from one video of held-out clips to the next, made beside the training",
        json_schema_extra=OPERATIONAL,
    )
    checkpoint_every: Positive = Field(500, description="steps", json_schema_extra=OPERATIONAL)
    keep_checkpoints: Positive = Field(2, json_schema_extra=OPERATIONAL)
    max_failures: int = Field(2, ge=0, description="worker deaths survived per stage", json_schema_extra=OPERATIONAL)
    timeout_s: Positive = Field(1800, description="of one collective", json_schema_extra=OPERATIONAL)
    plan: bool = Field(True, description="refuse what the plan says cannot fit", json_schema_extra=OPERATIONAL)
    stages: list[Stage] = Field(min_length=3, max_length=3)


class Animate(Section):
    """Sampling and condition-decoupled guidance (specification section 3)."""

    steps: Positive = 40
    solver: Literal["unipc", "dpm++"] = "unipc"
    shift: float = Field(5.0, gt=0)
    text_guidance: float = 5.0
    pose_guidance: float = 1.0
    pose_interval: tuple[Probability, Probability] = Field((0.1, 0.4), strict=False)
    negative_prompt: str | None = Field(None, description="none: the one that Wan 2.1 I2V is used with")
    area: int = Field(1024 * 576, ge=32 * 32)
    frames: Positive | Literal["all"] | None = Field(
        None,
        description="of the video, 4k+1; all: as long as the driving; none: clip.frames, or less for a short driving",
    )
    windows: Literal["joint", "chained"] = Field(
        "joint",
        description="a video longer than clip.frames: windows denoised together, or one after the other, each from a "
        "frame of the one before",
    )
    overlap: int = Field(
        20,
        ge=4,
        multiple_of=4,
        description="frames that neighbouring windows share, beside the one that the later starts from",
    )
    precision: Literal["fp32", "bf16"] = Field("fp32", description="of the transformer")
    cache: bool = Field(
        True, description="what no timestep changes is computed once per video", json_schema_extra=OPERATIONAL
    )
    passes: Literal["single", "batched"] = Field(
        "single", description="the passes of a step one by one, or as one batch", json_schema_extra=OPERATIONAL
    )
    offload: Literal["none", "parts", "blocks"] = Field(
        "none",
        description="what waits in host memory: nothing; encoders and transformer while unused; the transformer's "
        "layers too, which come to the GPU one by one",
        json_schema_extra=OPERATIONAL,
    )


class Mini(Section):
    """The embedded benchmark of rendered dancers."""

    drivers: Positive = Field(6, description="driving videos, the unit of the statistics")
    references: int = Field(2, ge=0, description="people that each of them animates")
    same_source: int = Field(2, ge=0, description="drivers that animate themselves too")
    fps: float = Field(24.0, gt=0, description="of the driving videos")
    short_side: int = Field(192, ge=64, description="pixels")

    @model_validator(mode="after")
    def _something_to_render(self):
        if self.references + self.same_source == 0:
            raise ValueError("references and same_source are both 0: there would be no pair")
        return self


class Videos(Section):
    """Videos made elsewhere: `<pair>.mp4`, or `<pair>-<seed>.mp4`."""

    folder: str
    time_map: Literal["time", "index"] | None = Field(
        None, description="how drivers were played: by the second, or frame by frame; none: as the benchmark says"
    )

    @model_validator(mode="before")
    @classmethod
    def _a_folder_alone(cls, data: Any) -> Any:
        return {"folder": data} if isinstance(data, str) else data


class Evaluate(Section):
    benchmark: str = Field(
        "dataset", description="dataset: pairs of its clips; mini: rendered dancers; else a folder with benchmark.yaml"
    )
    mini: Mini = Mini()
    models: list[Literal["untrained", "stage1", "stage2", "stage3"]] = Field(
        default=["untrained", "stage1", "stage2", "stage3"], description="which of them make videos"
    )
    checkpoints: dict[str, str] = Field(
        default={}, description="of other work folders: a name, and the stage's folder, such as work/other/stage3"
    )
    videos: dict[str, Videos] = Field(default={}, description="made elsewhere: a name, and the folder of its mp4s")
    seeds: int = Field(1, ge=1, description="videos of each pair, of other noise; a score is their mean")
    same_source: int = Field(2, ge=0, description="pairs whose reference and driving come from one clip of the dataset")
    different_source: int = Field(2, ge=0)
    metrics: list[str] = Field(
        default=["psnr", "ssim", "first_frame_psnr", "temporal_flickering", "motion_energy_ratio"],
        min_length=1,
        description="of every video; [all]: every one there is",
    )
    sets: list[str] = Field(default=[], description="metrics of a model's videos together, such as kid; [all]")
    weights: dict[str, str] = Field(
        default={}, description="of backbones: local file, or owner/name/file@REVISION of the hub"
    )
    weights_sha256: dict[str, str] = Field(default={}, description="refuse any other file")

    @model_validator(mode="after")
    def _something_to_score(self):
        if self.benchmark == "dataset" and self.same_source + self.different_source == 0:
            raise ValueError("same_source and different_source are both 0: no pair would be scored")
        if not self.models and not self.checkpoints and not self.videos:
            raise ValueError("models, checkpoints and videos are all empty: there would be nothing to score")
        if len(set(self.models)) < len(self.models):
            raise ValueError("models names one of them twice")
        names = [*self.models, *self.checkpoints, *self.videos]
        if twice := [name for name in names if names.count(name) > 1]:
            raise ValueError(f"{twice[0]!r} is the name of two of models, checkpoints and videos; use another")
        if wrong := [name for name in names if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", name)]:
            raise ValueError(f"{wrong[0]!r} is no name; letters, digits, dots, dashes and underscores are")
        return self


class Config(Section):
    """The whole chain."""

    sources: list[str] | None = Field(
        None, description="folders, files, globs, tables, lists, s3://...; none: the rendered sample corpus"
    )
    work: str = Field("work/demo", json_schema_extra=OPERATIONAL)
    store: str | None = Field(
        None,
        description="where datasets are published, such as s3://bucket/folder; none: the work folder",
        json_schema_extra=OPERATIONAL,
    )
    seed: int = Field(0, ge=0, le=2**63 - 1)
    resources: Resources = Resources()
    tracking: Tracking = Tracking()
    sample: Sample = Sample()
    clip: Clip = Clip()
    pose: Pose = Pose()
    rights: Rights = Rights()
    curate: Curate = Curate()
    caption: Caption = Caption()
    encode: Encode = Encode()
    model: Model = Model()
    train: Train
    animate: Animate = Animate()
    evaluate: Evaluate = Evaluate()

    @model_validator(mode="before")
    @classmethod
    def _one_source_is_a_list_of_one(cls, data: Any) -> Any:
        if isinstance(data, dict) and isinstance(data.get("sources"), str):
            return {**data, "sources": [data["sources"]]}
        return data

    @model_validator(mode="after")
    def _all_seeds_are_numbers_of_64_bits(self):
        if self.seed + self.evaluate.seeds > 2**63:
            raise ValueError(
                f"seed={self.seed} leaves no room for evaluate.seeds={self.evaluate.seeds}; use a lower one"
            )
        return self
