import pytest
import torch
from safetensors.torch import load_file
from transformers import CLIPVisionConfig, CLIPVisionModel, PreTrainedTokenizerFast, UMT5Config, UMT5EncoderModel

from infra import schema
from infra.errors import SteadyDancerError
from model.encoders import build_encoders
from model.pretrained_encoders import clean, squash
from model.transformer import model_config

TINY = model_config("tiny")


def image(seed: int = 0, height: int = 90, width: int = 60) -> torch.Tensor:
    return torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(seed)) * 2 - 1


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    """A Wan-like diffusers folder with a tiny random CLIP and umT5."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    torch.manual_seed(0)
    root = tmp_path_factory.mktemp("wan")
    clip = CLIPVisionConfig(
        hidden_size=48, intermediate_size=64, num_hidden_layers=3, num_attention_heads=4, image_size=224, patch_size=14
    )
    CLIPVisionModel(clip).save_pretrained(root / "image_encoder")
    umt5 = UMT5Config(vocab_size=32, d_model=32, d_kv=8, d_ff=32, num_layers=2, num_heads=4)
    UMT5EncoderModel(umt5).save_pretrained(root / "text_encoder")
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


def test_clip_pixels_are_those_of_the_release(real_data):
    vectors = load_file(real_data / "parity/clip_preprocess.safetensors")
    pixels = squash(vectors["image_u8_chw"].float()[None] / 127.5 - 1)
    assert pixels.shape == (1, 3, 224, 224)
    assert (pixels[0, :, ::7, ::7] - vectors["pixel_values_strided7"]).abs().max() <= 1e-6


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


def test_prompts_are_cleaned():
    assert clean(" a\t b  &amp;amp; c\u00a0d ") == "a b & c d"
    assert clean("sch\u00c3\u00b6n") == "sch\u00f6n"


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
