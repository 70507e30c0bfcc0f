import json
import pickle
import shutil

import open_clip
import pytest
import torch
import transformers
from backbone import tiny_transformers
from backbone.vectors import assert_vectors_do_what_words_do
from PIL import Image
from safetensors.torch import load_file, save_file
from torch.nn.functional import normalize
from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Normalize, Resize, ToTensor

from neglab.backbone.huggingface import HuggingFaceBackbone
from neglab.types import UserError

TEXTS = ["cat", "the nice polar bear", "a", "x, y: z"]
PICTURE = Image.effect_noise((50, 40), 90).convert("RGB")
FAMILIES = [family for family in tiny_transformers.FAMILIES if family != "siglip_sentencepiece"]
SIGLIPS = ("siglip", "siglip2")
SETTINGS = {
    "revision": None,
    "logit_scale": None,
    "precision": "fp32",
    "long_texts": "error",
    "transform": "model",
    "compile": False,
}


def load(folder, **options):
    return HuggingFaceBackbone(str(folder), **{**SETTINGS, "logit_scale": 100.0, **options})


@pytest.fixture(scope="session")
def folders(tmp_path_factory):
    made = {}

    def folder(family):
        if family not in made:
            made[family] = tiny_transformers.save(tmp_path_factory.mktemp(family), family)
        return made[family]

    return folder


def theirs(folder, family):
    """transformers' own network, and its inputs as its processor would make them."""
    name = json.loads((transformers.AutoConfig.from_pretrained(folder)).to_json_string())["architectures"][0]
    network = getattr(transformers, name).from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    padding = "max_length" if family in SIGLIPS else "longest"
    plain = [text.replace(",", "").replace(":", "") for text in TEXTS]  # as SigLIP knows texts
    texts = tokenizer(plain if family in SIGLIPS else TEXTS, padding=padding, return_tensors="pt")
    texts.pop("token_type_ids", None)
    processor = transformers.AutoImageProcessor.from_pretrained(folder)
    return network, texts, processor(images=PICTURE, return_tensors="pt")


def features(output):
    return output if isinstance(output, torch.Tensor) else output.pooler_output


@pytest.mark.parametrize("family", FAMILIES)
def test_embeddings_equal_the_librarys_own(folders, family):
    folder = folders(family)
    backbone = load(folder)
    network, texts, images = theirs(folder, family)
    with torch.inference_mode():
        our_texts = backbone.encode_text(TEXTS)
        our_images = backbone.encode_image(backbone.image_transform()(PICTURE)[None])
        if family == "blip":  # its own call gives cosines
            count = len(TEXTS)
            pixels = images["pixel_values"].expand(count, -1, -1, -1)
            cosines = network(**texts, pixel_values=pixels, use_itm_head=False).itm_score[0]
            assert torch.allclose((normalize(our_images) @ normalize(our_texts).T)[0], cosines, atol=1e-6)
            return
        assert torch.allclose(our_texts, features(network.get_text_features(**texts)), atol=1e-6)
        assert torch.allclose(our_images, features(network.get_image_features(**images)), atol=1e-6)
    assert our_texts.shape[1] == backbone.embedding_dim
    assert torch.pdist(our_texts).min() > 1e-2


@pytest.mark.parametrize("family", FAMILIES)
def test_token_embeddings_give_what_their_words_give_and_texts_are_cut_where_that_is_exact(folders, family):
    backbone = load(folders(family))
    ids, end = backbone.tokenize(TEXTS)
    assert backbone.can_cut == (family not in SIGLIPS) and backbone.can_encode_tokens
    begin = backbone.filling.begin
    longest = begin + max(map(len, TEXTS)) + 1
    assert ids.shape[1] == (longest if backbone.can_cut else backbone.context_length) and end.max() == longest - 1
    tokens = backbone.embed_tokens(ids[:, :longest]).clone().requires_grad_(True)
    ours = backbone.encode_tokens(tokens, end)
    assert torch.allclose(ours, backbone.encode_text(TEXTS), atol=1e-6)
    behind_one = backbone.encode_continuations(tokens[:1, :begin].expand(2, 1, -1, -1), tokens[:, begin:], end)
    assert torch.allclose(behind_one, ours.expand(2, -1, -1), atol=1e-6)
    (gradient,) = torch.autograd.grad(ours[0].sum(), tokens)
    assert gradient[0, : end[0] + 1].abs().sum(dim=1).gt(0).all()
    assert gradient[0, end[0] + 1 :].eq(0).all() and gradient[1:].eq(0).all()


@pytest.mark.parametrize("family", ["siglip", "siglip2", "siglip_sentencepiece"])
def test_siglip_reads_texts_in_lower_case_without_punctuation_and_its_padding(folders, tmp_path, family):
    """Whatever its tokenizer does by itself, and whether or not that makes a mask."""
    folder = folders(family)
    backbone = load(folder)
    assert backbone.canonicalizes == (family != "siglip_sentencepiece")
    capitals, plain, other = backbone.encode_text(["A photo,\tof the Cat!", "a photo of the cat", "a photo of the dog"])
    assert torch.allclose(capitals, plain, atol=1e-6) and not torch.allclose(plain, other, atol=1e-3)
    expected = open_clip.tokenizer.get_clean_fn("canonicalize")("A photo,\tof the Cat!")
    words = transformers.AutoTokenizer.from_pretrained(folder)
    ids = words([expected], padding="max_length", max_length=tiny_transformers.CONTEXT, return_tensors="pt").input_ids
    network = transformers.SiglipModel.from_pretrained(folder).eval()
    with torch.inference_mode():
        assert torch.allclose(plain, features(network.get_text_features(input_ids=ids))[0], atol=1e-6)
    shutil.copytree(folder, tmp_path / "model")
    path = tmp_path / "model/tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"model_input_names": ["input_ids", "attention_mask"]}))
    masking = load(tmp_path / "model")
    assert "attention_mask" in masking.tokenizer.model_input_names
    assert torch.allclose(masking.encode_text(["a photo of the cat"])[0], plain, atol=1e-6)


def test_vectors_do_what_words_do(folders):
    """SigLIP has no begin token, and drops the mark that inversion puts for a word elsewhere."""
    assert_vectors_do_what_words_do(load(folders("siglip_sentencepiece")))


def test_other_models_read_texts_as_they_are(folders):
    backbone = load(folders("clip"))
    assert not backbone.canonicalizes
    assert not torch.allclose(*backbone.encode_text(["A Cat.", "a cat"]), atol=1e-3)


@pytest.mark.parametrize(("family", "expected"), [("clip", 1.6487), ("align", 2.0), ("siglip", 1.6487)])
def test_the_logit_scale_is_the_models_own(folders, family, expected):
    assert load(folders(family), logit_scale=None).logit_scale == expected
    assert load(folders(family), logit_scale=7.0).logit_scale == 7.0


def test_a_model_without_temperature_asks_for_one(folders):
    with pytest.raises(UserError, match=r"keeps none. Set backbone\.logit_scale"):
        load(folders("blip"), logit_scale=None)


@pytest.mark.parametrize("family", FAMILIES)
def test_long_texts(folders, family, caplog):
    backbone = load(folders(family))
    marks = 1 if family in SIGLIPS else 2
    positions = {"altclip": tiny_transformers.CONTEXT - 2}.get(family, tiny_transformers.CONTEXT)
    assert backbone.context_length == positions
    longest = "a" * (positions - marks)
    assert backbone.encode_text([longest]).isfinite().all()
    with pytest.raises(UserError, match=f"must fit the context of {positions} tokens; 1 do not"):
        backbone.encode_text(["cat", longest + "a"])
    cut = load(folders(family), long_texts="truncate").encode_text([longest + "a"])
    assert torch.allclose(cut, backbone.encode_text([longest]), atol=1e-6)
    assert f"1 texts were cut at {positions} tokens" in caplog.text


@pytest.mark.parametrize(
    "change",
    [
        {"text_config": {"hidden_act": "gelu"}},
        {"vision_config": {"num_attention_heads": 4}},
        {"text_config": {"layer_norm_eps": 1e-3}},
    ],
)
def test_the_fingerprint_is_of_the_config(folders, tmp_path, change):
    shutil.copytree(folders("clip"), tmp_path / "model")
    path = tmp_path / "model/config.json"
    config = json.loads(path.read_text())
    for part, values in change.items():
        config[part] |= values
    path.write_text(json.dumps(config))
    assert load(tmp_path / "model").fingerprint != load(folders("clip")).fingerprint


def test_the_fingerprint_is_of_everything_that_moves_an_embedding(folders, tmp_path):
    folder = folders("clip")
    backbone = load(folder)
    others = [load(folder, precision="bf16"), load(folder, transform="clip"), load(folder, compile=True)]
    others.append(load(tiny_transformers.save(tmp_path / "seed", "clip", seed=1)))
    tiny_transformers.save(tmp_path / "words", "clip")
    rules = json.loads((tmp_path / "words/tokenizer.json").read_text())
    vocabulary = rules["model"]["vocab"]
    vocabulary["a"], vocabulary["b"] = vocabulary["b"], vocabulary["a"]
    (tmp_path / "words/tokenizer.json").write_text(json.dumps(rules))
    others.append(load(tmp_path / "words"))
    assert load(folder, long_texts="truncate", logit_scale=3.0).fingerprint == backbone.fingerprint
    assert len({backbone.fingerprint, *(other.fingerprint for other in others)}) == 6


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_half_precision_stays_near(folders, precision):
    exact, half = load(folders("clip")), load(folders("clip"), precision=precision)
    picture = exact.image_transform()(PICTURE)[None]
    for ours, expected in (
        (half.encode_text(TEXTS), exact.encode_text(TEXTS)),
        (half.encode_image(picture), exact.encode_image(picture)),
    ):
        assert ours.dtype == torch.float32
        assert torch.cosine_similarity(ours, expected).min() > 0.99 and not torch.equal(ours, expected)


MEAN_AND_STD = {"siglip": (0.5, 0.5), "align": (0.5, 0.5)}
OPENAI = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))


@pytest.mark.parametrize("family", ["clip", "align", "blip", "siglip"])
@pytest.mark.parametrize(("name", "shorter"), [("clip", 32), ("bilinear_224", 32), ("resize_256", 37)])
def test_transforms_equal_the_official_recipes(folders, family, name, shorter):
    transform = load(folders(family), transform=name).image_transform()
    interpolation = InterpolationMode.BILINEAR if name == "bilinear_224" else InterpolationMode.BICUBIC
    pixels = Normalize(*MEAN_AND_STD.get(family, OPENAI))
    expected = Compose([Resize(shorter, interpolation), CenterCrop(32), ToTensor(), pixels])(PICTURE)
    # As a loading worker gets it.
    assert torch.allclose(pickle.loads(pickle.dumps(transform))(PICTURE), expected, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_compiled_towers_give_the_same_embeddings(folders, family):
    backbone, compiled = load(folders(family)), load(folders(family), compile=True)
    assert torch.allclose(compiled.encode_text(TEXTS), backbone.encode_text(TEXTS), atol=1e-5)
    picture = backbone.image_transform()(PICTURE)[None]
    with torch.inference_mode():
        assert torch.allclose(compiled.encode_image(picture), backbone.encode_image(picture), atol=1e-5)
    assert all(tower._compiled_call_impl is not None for tower in compiled._towers) and len(compiled._towers) == 2


def test_the_global_random_state_is_untouched(folders):
    before = torch.get_rng_state()
    load(folders("siglip"))
    assert torch.equal(torch.get_rng_state(), before)


def test_mistakes(folders, tmp_path):
    with pytest.raises(UserError, match="could not be loaded by transformers"):
        load(tmp_path / "nowhere")
    words = transformers.BertConfig(**tiny_transformers.BERT, vocab_size=259)
    transformers.BertModel(words).save_pretrained(tmp_path / "text")
    tiny_transformers.bert_words().save_pretrained(tmp_path / "text")
    with pytest.raises(UserError, match=r"must be a dual encoder.* is a BertModel"):
        load(tmp_path / "text")
    foreign = tiny_transformers.save(tmp_path / "foreign", "clip")
    save_file(load_file(f"{folders('siglip')}/model.safetensors"), f"{foreign}/model.safetensors", {"format": "pt"})
    with pytest.raises(UserError, match=r"could not be loaded|weights of a CLIPModel are missing"):
        load(foreign)
    naflex = shutil.copytree(folders("siglip2"), tmp_path / "naflex")
    transformers.Siglip2ImageProcessor().save_pretrained(naflex)
    with pytest.raises(UserError, match=r"naflex is a NaFlex model.* google/siglip2-base-patch16-224"):
        load(naflex)
    with pytest.raises(UserError, match=r"backbone\.transform must be one of model, clip, bilinear_224, resize_256"):
        load(folders("clip"), transform="squash")
