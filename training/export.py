"""A stage's result in the layouts of others: whole models and LoRA files, each a commit that knows its checkpoint."""

from pathlib import Path
from typing import Literal, get_args

from infra import commits, storage
from infra.commits import Commit
from infra.errors import SteadyDancerError, UsageError
from training import stages

KIND = "export"
Form = Literal["diffusers", "official", "lora-peft", "lora-comfyui"]
Precision = Literal["bf16", "fp32"]


def export(source: str | Path, out: str | Path, form: Form, *, precision: Precision = "bf16") -> Commit:
    """Commits the stage's checkpoint at ``source``, a local folder, in another form at ``out``. Returns that commit.

    - ``diffusers``: ``model/`` with config.json and safetensors, names and layout of diffusers. The class is ours:
      diffusers' own WanTransformer3DModel reads the folder too, warns of 42 tensors that it has no place for, and is
      then a Wan that knows no pose.
    - ``official``: ``model/`` with the config.json, names and shards of the official release.
    - ``lora-peft``: adapter_config.json and adapter_model.safetensors, as peft.PeftModel reads them.
    - ``lora-comfyui``: one file for ComfyUI.

    The first two are models, for ``animate --checkpoint OUT``. A LoRA, for ``animate --lora OUT``, holds the changes
    of this one stage, for the model that the stage began with. In bf16 the parts that are never so, norms, modulation
    tables and pose modules, stay in fp32.

    The commit has the checkpoint's config, with which a model is used, and the checkpoint as its parent. Raises
    UsageError for an unknown form or precision and for ``out`` inside ``source``; NotCommitted and CorruptArtifact;
    SteadyDancerError for what is no checkpoint, for the LoRA of a stage that trained everything, and where ``out``
    is taken or cannot be written.
    """
    for value, known, what in ((form, get_args(Form), "form"), (precision, get_args(Precision), "precision")):
        if value not in known:
            raise UsageError(f"{value!r} is no {what} of an export.", f"Choose one of: {', '.join(known)}.")
    from safetensors import SafetensorError

    commit = commits.read(source)
    _refuse(commit, form)
    if storage.is_local(str(out)) and Path(storage.opened(str(out))[1]).resolve().is_relative_to(commit.path.resolve()):
        raise UsageError(f"{out} lies in the checkpoint itself, which nothing is added to.", "Name another folder.")
    meta = {"form": form, "precision": precision, "stage": commit.meta.get("stage")}
    try:
        with commits.write(out, KIND, config=commit.config, parents=[commit], meta=meta) as folder:
            _fill(folder, commits.verify(commit), form, precision)
    except (OSError, SafetensorError) as error:
        raise SteadyDancerError(f"{out} cannot be written: {error}.", "Make room, or name another folder.") from error
    return commits.read(out)


def _refuse(commit: Commit, form: Form) -> None:
    if commit.kind != stages.KIND:
        raise SteadyDancerError(
            f"{commit.uri} is a commit of kind {commit.kind!r}, not a stage's checkpoint.", "Give a stage's folder."
        )
    if form.startswith("lora"):
        whole = "export it as diffusers or official."
        if commit.config.get("stage", {}).get("trainable") != "lora":
            raise SteadyDancerError(f"{commit.uri} trained the whole model, which no LoRA holds.", f"Instead, {whole}")
        if stages.TRAINED not in commit.files:
            raise SteadyDancerError(f"{commit.uri} has no {stages.TRAINED}.", f"Train the stage again, or {whole}")


def _fill(folder: Path, commit: Commit, form: Form, precision: Precision) -> None:
    from safetensors.torch import load_file

    from model.checkpoint import PRECISION, load_model, save_model
    from model.lora import save_lora
    from model.official import save_official
    from model.transformer import SteadyDancerTransformer, kept_in_fp32

    dtype = PRECISION[precision]
    if form in ("diffusers", "official"):
        save = save_model if form == "diffusers" else save_official
        save(load_model(commit.path / "model", dtype), folder / "model")
        return
    trained = {
        name: tensor if kept_in_fp32(SteadyDancerTransformer, name) else tensor.to(dtype)
        for name, tensor in load_file(commit.path / stages.TRAINED).items()
    }
    naming = form.removeprefix("lora-")
    path = folder if naming == "peft" else folder / f"steadydancer-stage{commit.meta['stage']}-lora.safetensors"
    save_lora(trained, path, naming=naming, alpha=commit.config["stage"]["lora_alpha"])
