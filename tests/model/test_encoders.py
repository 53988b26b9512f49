import json
import logging
import shutil

import pytest
import torch
from huggingface_hub import errors as hub
from safetensors.torch import load_file, save_file, save_model
from transformers import CLIPVisionConfig, CLIPVisionModel, PreTrainedTokenizerFast, UMT5Config, UMT5EncoderModel

from infra import schema
from infra.errors import SteadyDancerError
from model.encoders import build_encoders
from model.pretrained_encoders import clean, squash
from model.transformer import model_config
from model.weights import WeightsNotFound, fingerprint, locate

TINY = model_config("tiny")


def image(seed: int = 0, height: int = 90, width: int = 60) -> torch.Tensor:
    return torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def store(model, folder) -> None:
    """As save_pretrained, which imports DeepSpeed for it."""
    folder.mkdir()
    model.config.to_json_file(folder / "config.json")
    save_model(model, folder / "model.safetensors", metadata={"format": "pt"})


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    """A Wan-like diffusers folder with a tiny random CLIP and umT5."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    torch.manual_seed(0)
    root = tmp_path_factory.mktemp("wan")
    clip = CLIPVisionConfig(
        hidden_size=48, intermediate_size=64, num_hidden_layers=3, num_attention_heads=4, image_size=224, patch_size=14
    )
    store(CLIPVisionModel(clip), root / "image_encoder")
    umt5 = UMT5Config(vocab_size=32, d_model=32, d_kv=8, d_ff=32, num_layers=2, num_heads=4)
    store(UMT5EncoderModel(umt5), root / "text_encoder")
    words = {w: i for i, w in enumerate(["<pad>", "</s>", "<unk>", "a", "dancer", "turns", "&", "left"])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>").save_pretrained(
        root / "tokenizer"
    )
    return root


def test_embedded_encoders_have_the_models_widths_and_ids():
    encoders = build_encoders(schema.Encode(), schema.Model())
    features = encoders.image(image())
    assert features.shape == (2, 257, TINY["image_dim"])
    assert encoders.image(image(height=33, width=200)).shape == features.shape
    assert (encoders.image(image(1)) - features).abs().max() > 0.1
    texts = encoders.text(["A dancer turns.", "", "word " * 900])
    assert [len(t) for t in texts] == [5, 1, 512]
    assert {t.shape[1] for t in texts} == {TINY["text_dim"]}
    assert len(set(encoders.ids.values())) == 3
    assert encoders.ids != build_encoders(schema.Encode(), schema.Model(size="small")).ids


def test_features_are_the_same_in_every_process():
    """Pinned: another value is another encoder, which needs another id."""
    encoders = build_encoders(schema.Encode(), schema.Model())
    words, pixels = encoders.text(["a dancer"])[0], encoders.image(torch.ones(1, 3, 8, 8))
    assert float(words[0, 0]) == pytest.approx(1.31586, abs=1e-5)
    assert float(pixels[0, 5, 7]) == pytest.approx(-0.80788, abs=1e-5)


def test_word_order_and_words_matter():
    a, b, c = build_encoders(schema.Encode(), schema.Model()).text(
        ["left then right", "right then left", "Left then right"]
    )
    assert (a - b).abs().max() > 0.1
    assert torch.equal(a, c)


def test_pretrained_clip_and_umt5(pretrained):
    real = schema.Encode(image="clip", image_weights=str(pretrained), text="umt5", text_weights=str(pretrained))
    encoders = build_encoders(real, schema.Model())
    features = encoders.image(image())
    assert features.shape == (2, 257, 48)
    clip = CLIPVisionModel.from_pretrained(pretrained / "image_encoder")
    with torch.no_grad():
        through = clip(pixel_values=squash(image()), output_hidden_states=True).hidden_states
    torch.testing.assert_close(features, through[-2], atol=1e-5, rtol=0)
    assert len(through) == 4

    prompts = ["a dancer turns", "  a   dancer\nturns ", "left &amp;amp; left", ""]
    texts = encoders.text(prompts)
    assert [len(t) for t in texts] == [4, 4, 4, 1]
    torch.testing.assert_close(texts[0], texts[1], atol=0, rtol=0)
    # In a batch, order and neighbours do not matter.
    torch.testing.assert_close(encoders.text(prompts[2:])[0], texts[2], atol=0, rtol=0)
    assert encoders.ids == build_encoders(real, schema.Model()).ids
    assert encoders.ids["image"].startswith("clip-")


def test_weights_are_hashed_when_their_id_is_asked_for_and_once(pretrained, monkeypatch):
    hashed = []
    monkeypatch.setattr(
        "model.pretrained_encoders.fingerprint", lambda *folders: hashed.append(folders) or fingerprint(*folders)
    )
    real = schema.Encode(image="clip", image_weights=str(pretrained), text="umt5", text_weights=str(pretrained))
    encoders = build_encoders(real, schema.Model())
    encoders.image(image()), encoders.text(["a dancer"])
    assert not hashed
    vision, words = (pretrained / "image_encoder",), (pretrained / "text_encoder", pretrained / "tokenizer")
    for _ in range(2):
        assert encoders.ids["image"] == f"clip-{fingerprint(*vision)}"
        assert encoders.ids["text"] == f"umt5-{fingerprint(*words)}"
    assert hashed == [vision, words]


def test_a_prompt_that_is_too_long_is_cut_and_told(pretrained, caplog):
    real = schema.Encode(text="umt5", text_weights=str(pretrained))
    with caplog.at_level(logging.WARNING, logger="model"):
        fits, cut = build_encoders(real, schema.Model()).text(["a " * 511, "a " * 600])
    assert len(fits) == len(cut) == 512
    assert torch.equal(fits, cut)
    assert [record.args[:2] for record in caplog.records] == [(601, 512)]


@pytest.mark.parametrize(
    ("prompt", "shown"),
    [
        (" a\t b  &amp;amp; c\u00a0d\x1c\u2028e ", "a b & c d e"),
        ("sch\u00c3\u00b6n &amp;lt;b&amp;gt; it&#8217;s", "sch\u00f6n <b> it's"),
        ("\ufb01re \uff21\u200b\U0001f483", "fire A\u200b\U0001f483"),
        ("\x00 \ufeff&nbsp;", ""),
        ("", ""),
    ],
)
def test_prompts_are_cleaned(prompt, shown):
    """What diffusers' prompt_clean makes of them."""
    assert clean(prompt) == shown


def broken(folder, how: str) -> None:
    """A folder of weights, spoilt."""
    weights = folder / "model.safetensors"
    match how:
        case "pickle":
            weights.rename(folder / "pytorch_model.bin")
        case "escape":
            weights.rename(folder.parent / "elsewhere.safetensors")
            index = {"metadata": {}, "weight_map": {"a": "../elsewhere.safetensors"}}
            (folder / "model.safetensors.index.json").write_text(json.dumps(index))
        case "kind":
            (folder / "config.json").write_text('{"model_type": "bert"}')
        case "unreadable":
            (folder / "config.json").write_text("[1]")
        case "missing":
            tensors = load_file(weights)
            save_file({name: tensor for name, tensor in tensors.items() if "layers.1" not in name}, weights)
        case "torn":
            weights.write_bytes(weights.read_bytes()[:100])


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ("pickle", "no .safetensors but pytorch_model.bin, a pickle"),
        ("escape", "not whole: its index names ../elsewhere.safetensors"),
        ("kind", "holds bert, not a CLIP"),
        ("unreadable", "cannot be read"),
        ("missing", "lacks 16 tensors"),
        ("torn", "is not a CLIP"),
    ],
)
def test_weights_that_are_unsafe_or_not_whole_are_refused(pretrained, tmp_path, how, told):
    shutil.copytree(pretrained / "image_encoder", tmp_path / "image_encoder")
    broken(tmp_path / "image_encoder", how)
    with pytest.raises(WeightsNotFound) as error:
        build_encoders(schema.Encode(image="clip", image_weights=str(tmp_path)), schema.Model())
    assert told in str(error.value)


def test_the_hub_is_asked_for_one_part_and_its_revision_told(tmp_path, monkeypatch, caplog):
    asked = []
    snapshot = tmp_path / "0123abcd"
    (snapshot / "vae").mkdir(parents=True)
    (snapshot / "config.json").touch()

    def download(name, revision, allow_patterns, ignore_patterns):
        asked.append((name, revision, allow_patterns[1], ignore_patterns))
        return str(snapshot)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    with caplog.at_level(logging.INFO, logger="model"):
        assert locate("some/wan", "encode.codec_weights", "a VAE", "vae") == snapshot
        assert "encode.codec_weights=some/wan@0123abcd keeps it" in caplog.text
        (snapshot / "vae/config.json").touch()
        caplog.clear()
        assert locate("some/wan@0123abcd", "encode.codec_weights", "a VAE", "vae") == snapshot / "vae"
        assert not caplog.text
    assert asked == [
        ("some/wan", None, "vae/*.safetensors", None),
        ("some/wan", None, "*.safetensors", "*/*"),
        ("some/wan", "0123abcd", "vae/*.safetensors", None),
    ]


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        (hub.GatedRepoError, "is gated"),
        (hub.RepositoryNotFoundError, "is no repository"),
        (hub.RevisionNotFoundError, "has no revision x1"),
        (hub.LocalEntryNotFoundError, "is no local folder, not in the hub's local cache"),
        (hub.OfflineModeIsEnabled, "is no local folder, not in the hub's local cache"),
        (PermissionError, "cannot be had from the hub (PermissionError"),
    ],
)
def test_each_answer_of_the_hub_is_told(monkeypatch, kind, told):
    def download(*args, **named):
        raise kind.__new__(kind)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    with pytest.raises(WeightsNotFound) as error:
        locate("some/wan@x1", "encode.codec_weights", "a VAE", "vae")
    assert f"encode.codec_weights=some/wan@x1 {told}" in str(error.value)


def test_a_fingerprint_is_of_names_and_contents(tmp_path):
    (tmp_path / "a.json").write_text("1")
    known = fingerprint(tmp_path)
    (tmp_path / ".cache").mkdir()
    (tmp_path / ".cache/date").touch()
    assert fingerprint(tmp_path) == known
    (tmp_path / "a.json").rename(tmp_path / "b.json")
    assert fingerprint(tmp_path) != known


@pytest.mark.parametrize("kind", ["image", "text", "codec"])
@pytest.mark.parametrize("where", ["unset", "missing", "empty", "other"])
def test_missing_weights_say_what_to_do(pretrained, tmp_path, kind, where, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    real = {"image": "clip", "text": "umt5", "codec": "wan-vae"}[kind]
    source = {
        "unset": None,
        "missing": str(tmp_path / "no"),
        "empty": str(tmp_path),
        "other": str(pretrained / "tokenizer"),
    }[where]
    with pytest.raises(SteadyDancerError, match=rf"encode\.{kind}_weights"):
        build_encoders(schema.Encode(**{kind: real, f"{kind}_weights": source}), schema.Model())


def test_features_of_another_width_are_refused(pretrained):
    with pytest.raises(SteadyDancerError, match=r"width 48.*reads 512"):
        build_encoders(schema.Encode(image="clip", image_weights=str(pretrained)), schema.Model(size="small"))
