import json
import logging
import pickle
import random
import re
import shutil
import sys
import warnings
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import fakes
import open_clip
import pytest
import torch
import transformers
from backbone import tiny_transformers
from backbone.vectors import assert_vectors_do_what_words_do
from hydra.utils import instantiate
from omegaconf import OmegaConf
from PIL import Image
from safetensors.torch import load_file, save_file
from torch._dynamo.utils import counters
from torch.nn.functional import normalize
from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Normalize, Resize, ToTensor

from neglab.backbone.open_clip import OpenCLIPBackbone
from neglab.compose import compose
from neglab.config_files import configs_folder
from neglab.types import UserError
from neglab.weights.filling import Filling
from neglab.weights.precision import warn_of_half_precision_on_a_cpu
from neglab.weights.word_ids import WordIds

WIDTH = {"embed_dim": 64, "text_cfg": {"width": 64, "heads": 2, "layers": 2}}
VISION = {"image_size": 32, "layers": 2, "width": 64, "head_width": 32, "patch_size": 16}
CUSTOM = {**WIDTH, "custom_text": True}
WORDS_IN_THE_FOLDER = {**WIDTH["text_cfg"], "vocab_size": 259, "hf_tokenizer_name": "in the folder"}
SENTENCES = {
    **CUSTOM,
    "vision_cfg": VISION,
    "text_cfg": {**WORDS_IN_THE_FOLDER, "context_length": 64, "no_causal_mask": True, "proj_bias": True},
}
HUGGING_FACE = {
    "context_length": 64,
    "hf_model_name": "in the folder",
    "hf_tokenizer_name": "in the folder",
    "hf_proj_type": "linear",
}
# The builds that open_clip's models have, small.
ARCHITECTURES = {
    "rn50": {**WIDTH, "quick_gelu": True, "vision_cfg": {**VISION, "layers": [1, 1, 1, 1], "width": 16}},
    "vit": {**WIDTH, "quick_gelu": True, "vision_cfg": VISION},
    "custom_text": {**CUSTOM, "vision_cfg": VISION},
    "no_causal_mask": {**CUSTOM, "vision_cfg": VISION, "text_cfg": {**WIDTH["text_cfg"], "no_causal_mask": True}},
    "coca": {
        **CUSTOM,
        "vision_cfg": {**VISION, "output_tokens": True, "attentional_pool": True, "attn_pooler_heads": 2},
        "text_cfg": {**WIDTH["text_cfg"], "context_length": 76, "embed_cls": True, "output_tokens": True},
        "multimodal_cfg": {"context_length": 76, "width": 64, "heads": 2, "layers": 1},
    },
    "siglip": {
        **CUSTOM,
        "init_logit_bias": -10,
        "vision_cfg": VISION,
        "text_cfg": {
            **WIDTH["text_cfg"],
            "context_length": 64,
            "vocab_size": 258,
            "hf_tokenizer_name": "in the folder",
            "tokenizer_kwargs": {"clean": "canonicalize"},
            "no_causal_mask": True,
            "proj_bias": True,
            "pool_type": "last",
        },
    },
    # A padding token of its own, as SigLIP 2 has; CLIPA's end token, which open_clip makes a zero; an
    # end token looked for; a tower of transformers.
    "siglip2": {**SENTENCES, "text_cfg": {**SENTENCES["text_cfg"], "pool_type": "last"}},
    "clipa": {
        **SENTENCES,
        "text_cfg": {**SENTENCES["text_cfg"], "pool_type": "last", "tokenizer_kwargs": {"strip_sep_token": True}},
    },
    "worldwide": {
        **CUSTOM,
        "vision_cfg": VISION,
        "text_cfg": {**WORDS_IN_THE_FOLDER, "context_length": 64, "pool_type": "eos", "eos_id": 1},
    },
    "bert": {
        **CUSTOM,
        "vision_cfg": VISION,
        "text_cfg": {**HUGGING_FACE, "hf_pooler_type": "mean_pooler"},
    },
}
# What the folder's tokenizer is, where it is not CLIP's.
WORDS = {
    "siglip": tiny_transformers.siglip_words,
    "siglip2": tiny_transformers.siglip2_words,
    "clipa": tiny_transformers.bert_words,
    "worldwide": tiny_transformers.siglip2_words,
    "bert": tiny_transformers.bert_words,
}
TEXTS = ["cat", "the nice polar bear", "a much longer text about nothing at all, with a comma", "x"]


def load(model, **options):
    plain = {"pretrained": None, "precision": "fp32", "long_texts": "error", "transform": "model", "compile": False}
    return OpenCLIPBackbone(model, **{**plain, **options})


@pytest.fixture(scope="module")
def backbone(tiny_model):
    return load(tiny_model)


def test_shortened_texts_equal_the_librarys_own_embeddings(backbone, tiny_model):
    model = open_clip.create_model(tiny_model).eval()
    with torch.inference_mode():
        expected = model.encode_text(open_clip.get_tokenizer(tiny_model)(TEXTS))
    ids, _ = backbone.tokenize(TEXTS)
    assert ids.shape[1] < backbone.context_length
    assert backbone.can_encode_tokens
    assert torch.allclose(backbone.encode_text(TEXTS), expected, atol=1e-6)


ODD_TEXTS = [
    "",
    "  ",
    "two  spaces\tand a tab\n",
    "It's the dog's; they'll've",
    "a-b_c/d 'quoted'",
    "CAPITALS",
    "word " * 100,
    "&lt;b&gt; &amp;amp; R&D",
    "<start_of_text> x <end_of_text>",
    "a\x00b\x1cc",
    "\x1b[31mred\x1b[0m",
    "x\u00a0y\u2003z",
    "caf\u00e9 na\u00efve",
    "caf\u00c3\u00a9",
    "\u201ccurly\u201d",
    "\ufb01sh",
    "\u732b",
    "\u2460\u00bd 3/4 2nd",
    "\U0001f600",
]


def test_tokens_are_the_librarys_own():
    draw = random.Random(0)
    printable = [*map(chr, range(32, 127)), *"aeiounst'''    "]
    noise = ["".join(draw.choices(printable, k=draw.randrange(60))) for _ in range(1000)]
    texts = [*ODD_TEXTS, *noise, *(f"This is a {word} photo." for text in ODD_TEXTS for word in text.split())]
    assert torch.equal(WordIds(open_clip.SimpleTokenizer()).padded(texts), open_clip.SimpleTokenizer()(texts))


def test_threads_may_tokenize_at_once(request):
    request.addfinalizer(partial(sys.setswitchinterval, sys.getswitchinterval()))
    sys.setswitchinterval(1e-5)
    own, library = WordIds(open_clip.SimpleTokenizer()), open_clip.SimpleTokenizer()
    draw = random.Random(0)
    lists = [["".join(draw.choices("aeiounst ", k=30)) for _ in range(50)] for _ in range(40)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(own.padded, lists))
    assert all(torch.equal(ids, library(texts)) for ids, texts in zip(found, lists, strict=True))


def test_words_are_taken_apart_for_clips_tokenizer_alone():
    assert WordIds.fit(open_clip.SimpleTokenizer())
    assert not WordIds.fit(open_clip.SimpleTokenizer(clean="whitespace"))
    assert not WordIds.fit(open_clip.SimpleTokenizer(reduction_mask="simple"))


@pytest.mark.slow
def test_tokens_of_every_prompt_of_wordnet_are_the_librarys_own():
    config = compose(["backbone=mini", "method=csp"])
    words = instantiate(config.corpus).words([])
    texts, _ = instantiate(config.prompt).expand(words.names, words.parts_of_speech)
    own, library = WordIds(open_clip.SimpleTokenizer()), open_clip.SimpleTokenizer()
    for start in range(0, len(texts), 4096):
        part = texts[start : start + 4096]
        assert torch.equal(own.padded(part), library(part))


def write(folder, architecture, preprocess=fakes.PREPROCESS, words=None):
    """A folder in open_clip's own format, of a small model with random weights."""
    folder.mkdir()
    if words is not None:
        words().save_pretrained(folder)
    if "hf_model_name" in architecture["text_cfg"]:
        text_tower = str(folder.parent / "bert")
        config = transformers.BertConfig(**tiny_transformers.BERT, vocab_size=259)
        transformers.BertModel(config).save_pretrained(text_tower)
        architecture = {**architecture, "text_cfg": {**architecture["text_cfg"], "hf_model_name": text_tower}}
    settings = {"model_cfg": architecture, "preprocess_cfg": preprocess}
    (folder / "open_clip_config.json").write_text(json.dumps(settings))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = open_clip.create_model(f"local-dir:{folder}")
    save_file({k: v.contiguous() for k, v in network.state_dict().items()}, folder / "open_clip_model.safetensors")
    return f"local-dir:{folder}"


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_build_equals_the_librarys_own_embeddings(tmp_path, architecture):
    model = write(tmp_path / "model", ARCHITECTURES[architecture], words=WORDS.get(architecture))
    backbone = load(model)
    assert_equals_the_library(backbone, model, None)
    ids, end = backbone.tokenize(TEXTS)
    assert backbone.can_cut == backbone.can_pack == (architecture in ("rn50", "vit", "custom_text", "worldwide"))
    assert (ids.shape[1] < backbone.context_length) == backbone.can_cut
    expected, longest, begin = backbone.encode_text(TEXTS), int(end.max()) + 1, backbone.filling.begin
    assert begin == (architecture not in ("siglip", "siglip2", "worldwide"))
    tokens = backbone.embed_tokens(ids[:, :longest]).clone().requires_grad_(True)
    alone = torch.cat([backbone.encode_tokens(tokens[i : i + 1, : end[i] + 1], end[i : i + 1]) for i in range(4)])
    behind_one = backbone.encode_continuations(tokens[:1, :begin].expand(2, 1, -1, -1), tokens[:, begin:], end)
    for ours in (alone, *behind_one):
        assert torch.allclose(normalize(ours), normalize(expected), rtol=0, atol=1e-6)
    (gradient,) = torch.autograd.grad(alone[1].sum(), tokens)
    assert gradient[1, : end[1] + 1].abs().sum(dim=1).gt(0).all() and gradient[[0, 2, 3]].eq(0).all()


@pytest.mark.parametrize("architecture", ["vit", "no_causal_mask", "coca"])
def test_vectors_do_what_words_do(tmp_path, architecture):
    assert_vectors_do_what_words_do(load(write(tmp_path / "model", ARCHITECTURES[architecture])))


def test_a_tower_that_reads_no_token_table_refuses_token_embeddings(tmp_path, monkeypatch):
    monkeypatch.setattr(Filling, "ids", lambda self, end, length: torch.zeros(len(end), length, dtype=torch.long))
    backbone = load(write(tmp_path / "model", ARCHITECTURES["no_causal_mask"]))
    with pytest.raises(UserError, match="give what its library gives for the words"):
        backbone.encode_tokens(torch.zeros(1, 5, 64), torch.tensor([4]))


REAL = [
    "RN50-quickgelu",
    "ViT-B-32-quickgelu",
    "EVA02-B-16",
    "coca_ViT-B-32",
    "MobileCLIP2-S0",
    "PE-Core-B-16",
    "ViTamin-B",
]


@pytest.mark.slow
@pytest.mark.parametrize("model", REAL)
def test_real_architectures_equal_the_librarys_own_embeddings(model, tmp_path):
    backbone = load(model)
    assert backbone.can_encode_tokens
    torch.save(backbone.network.state_dict(), tmp_path / "weights.pt")
    assert_equals_the_library(backbone, model, str(tmp_path / "weights.pt"))
    assert load(model, pretrained=str(tmp_path / "weights.pt")).fingerprint == backbone.fingerprint


def assert_equals_the_library(backbone, model, pretrained):
    network, _, transform = open_clip.create_model_and_transforms(model, pretrained=pretrained)
    picture = Image.effect_noise((50, 40), 90).convert("RGB")
    with torch.inference_mode():
        texts = network.eval().encode_text(open_clip.get_tokenizer(model)(TEXTS))
        images = network.encode_image(transform(picture)[None])
        ours = backbone.encode_image(backbone.image_transform()(picture)[None])
    for own, expected in ((backbone.encode_text(TEXTS), texts), (ours, images)):
        # Of unit norm, as all that is stored: there rounding is about 1e-7 in models of any width.
        assert torch.allclose(normalize(own), normalize(expected), rtol=0, atol=1e-6)
        assert torch.allclose(own.norm(dim=1), expected.norm(dim=1))
    assert backbone.embedding_dim == texts.shape[1] == images.shape[1]


def test_a_long_text_is_seen_where_the_end_token_pads_as_well(tmp_path):
    backbone = load(write(tmp_path / "model", ARCHITECTURES["siglip"], words=WORDS["siglip"]))
    assert backbone.encode_text(["a" * 63]).shape == (1, 64)
    with pytest.raises(UserError, match="must fit the context of 64 tokens; 1 do not"):
        backbone.encode_text(["cat", "a" * 64])


def test_images_equal_the_librarys_own_embeddings(backbone, tiny_model):
    model, _, transform = open_clip.create_model_and_transforms(tiny_model)
    picture = Image.effect_noise((50, 40), 90).convert("RGB")
    with torch.inference_mode():
        expected = model.eval().encode_image(transform(picture)[None])
        ours = backbone.encode_image(backbone.image_transform()(picture)[None])
    assert torch.allclose(ours, expected, atol=1e-6)


def test_token_embeddings_carry_gradients(backbone):
    ids, end = backbone.tokenize(["a cat"])
    tokens = backbone.embed_tokens(ids).clone().requires_grad_(True)
    backbone.encode_tokens(tokens, end).sum().backward()
    assert tokens.grad.abs().sum() > 0


@pytest.mark.parametrize("count", [1, 7, 70])
def test_a_shared_beginning_goes_through_once_for_many_endings(tmp_path, monkeypatch, count):
    """With the embeddings and the gradient of whole texts, in packs that fill up, do not, and are one."""
    backbone = load(write(tmp_path / "model", ARCHITECTURES["vit"]))
    draw = torch.Generator().manual_seed(0)
    beginnings = torch.randn(2, 1, 4, 64, generator=draw).requires_grad_()
    endings = torch.randn(count, 6, 64, generator=draw)
    end, weights = torch.randint(4, 10, (count,), generator=draw), torch.randn(2, count, 64, generator=draw)
    positions, transformer = [], backbone.network.transformer.forward
    monkeypatch.setattr(
        backbone.network.transformer,
        "forward",
        lambda hidden, **mask: positions.append(hidden.shape[:2].numel()) or transformer(hidden, **mask),
    )
    found = []
    for backbone.can_pack in (True, False):
        texts = normalize(backbone.encode_continuations(beginnings, endings, end), dim=2)
        found.append((texts.detach(), torch.autograd.grad((texts * weights).sum(), beginnings)[0]))
    (texts, gradient), (whole, expected) = found
    assert torch.allclose(texts, whole, rtol=0, atol=1e-6)
    assert torch.allclose(gradient, expected, rtol=0, atol=1e-5 * float(expected.abs().max()))
    if count == 70:
        assert positions[0] < positions[1] / 2


@pytest.mark.parametrize(
    "change",
    [
        {"quick_gelu": True},
        {"vision_cfg": {"head_width": 8}},
        {"text_cfg": {"heads": 4}},
        {"text_cfg": {"norm_kwargs": {"eps": 1e-6}}},
    ],
)
def test_the_fingerprint_is_of_the_architecture(tiny_model, backbone, tmp_path, change):
    """The same weights under another config."""
    shutil.copytree(tiny_model.removeprefix("local-dir:"), tmp_path / "model")
    path = tmp_path / "model/open_clip_config.json"
    settings = json.loads(path.read_text())
    for key, value in change.items():
        old = settings["model_cfg"].get(key, {})
        settings["model_cfg"][key] = {**old, **value} if isinstance(value, dict) else value
    path.write_text(json.dumps(settings))
    assert load(f"local-dir:{tmp_path}/model").fingerprint != backbone.fingerprint


def test_the_fingerprint_is_of_what_the_towers_do(tiny_model, backbone, monkeypatch):
    """Also where neither weights nor config tell: here the image tower is read at another place."""
    encode = OpenCLIPBackbone._encode_images
    monkeypatch.setattr(OpenCLIPBackbone, "_encode_images", lambda self, images: encode(self, images.flip(-1)))
    assert load(tiny_model).fingerprint != backbone.fingerprint


def test_the_fingerprint_leaves_the_network_as_it_was(tiny_model):
    weights = load_file(f"{tiny_model.removeprefix('local-dir:')}/open_clip_model.safetensors")
    network = load(tiny_model).network
    assert all(torch.equal(network.state_dict()[name], weight) for name, weight in weights.items())
    assert not any(parameter.is_inference() for parameter in network.parameters())


def test_the_fingerprint_is_of_weights_and_settings(tiny_model, backbone, tmp_path):
    assert load(tiny_model).fingerprint == backbone.fingerprint
    assert load(tiny_model, precision="bf16").fingerprint != backbone.fingerprint
    assert load(tiny_model, transform="resize_256").fingerprint != backbone.fingerprint
    assert load(tiny_model, compile=True).fingerprint != backbone.fingerprint
    assert load(fakes.write_tiny_model(tmp_path, seed=1)).fingerprint != backbone.fingerprint


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_half_precision_on_a_cpu_is_warned_of_once(tiny_model, backbone, caplog, precision):
    warn_of_half_precision_on_a_cpu.cache_clear()
    half, picture = load(tiny_model, precision=precision), torch.zeros(1, 3, 32, 32)
    backbone.encode_text(["cat"])
    assert not caplog.records  # neither at loading, where no device is known, nor for float32
    half.encode_text(["cat"])
    half.encode_image(picture)
    (record,) = caplog.records
    assert record.message.startswith(f"backbone.precision={precision} on a CPU")


def test_long_texts(tiny_model, backbone, caplog):
    longest, too_long = " ".join(["a"] * 75), " ".join(["a"] * 76)
    assert backbone.encode_text([longest]).shape == (1, 16)
    with pytest.raises(UserError, match="must fit the context of 77 tokens; 1 do not"):
        backbone.encode_text(["cat", too_long])
    load(tiny_model, long_texts="truncate").encode_text([too_long])
    assert "1 texts were cut at 77 tokens" in caplog.text


def test_the_shipped_model_loads_and_knows_its_words():
    from neglab.compose import PACKAGE

    backbone = load(f"local-dir:{PACKAGE}/assets/mini")
    assert backbone.context_length == 77 and backbone.can_encode_tokens
    embeddings = torch.nn.functional.normalize(backbone.encode_text(["the nice dog", "the nice wolf", "the nice bus"]))
    assert embeddings[0] @ embeddings[1] > embeddings[0] @ embeddings[2]


CLIP_PIXELS = [ToTensor(), Normalize((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))]
RECIPES = {
    "clip": [Resize(224, InterpolationMode.BICUBIC), CenterCrop(224)],
    "bilinear_224": [Resize(224), CenterCrop(224)],
    "resize_256": [Resize(256, InterpolationMode.BICUBIC), CenterCrop(224)],
}


@pytest.fixture(scope="module")
def transforms_of_clip(tmp_path_factory):
    """Every transform of a small model that reads images as CLIP does."""
    folder = tmp_path_factory.mktemp("clip") / "model"
    model = write(folder, {**ARCHITECTURES["vit"], "vision_cfg": {**VISION, "image_size": 224, "patch_size": 112}}, {})
    return {name: load(model, transform=name).image_transform() for name in ("model", *RECIPES)}


@pytest.mark.parametrize("size", [(300, 400), (250, 230), (224, 224), (100, 60)])
def test_transforms_equal_the_official_recipes(transforms_of_clip, size):
    picture = Image.effect_noise(size, 90).convert("RGB").rotate(30)
    pixels = {name: transform(picture) for name, transform in transforms_of_clip.items()}
    for name, recipe in RECIPES.items():
        assert torch.equal(pixels[name], Compose([*recipe, *CLIP_PIXELS])(picture))
    assert torch.equal(pixels["model"], pixels["clip"])
    assert not torch.equal(pixels["clip"], pixels["resize_256"])


def test_transforms_keep_their_share_at_another_size(tiny_model):
    picture = Image.effect_noise((90, 70), 90).convert("RGB")
    expected = Compose([Resize(37, InterpolationMode.BICUBIC), CenterCrop(32), ToTensor(), Normalize(0.5, 0.5)])
    transform = load(tiny_model, transform="resize_256").image_transform()
    assert torch.equal(pickle.loads(pickle.dumps(transform))(picture), expected(picture))


def test_random_weights_are_the_same_at_every_start(caplog, tmp_path):
    before = torch.get_rng_state()
    with caplog.at_level(logging.WARNING):
        first = load("ViT-S-32-alt").fingerprint
    assert "weights of ViT-S-32-alt are random: every number of this run is meaningless" in caplog.text
    torch.manual_seed(1234)
    assert load("ViT-S-32-alt").fingerprint == first
    torch.set_rng_state(before)


def test_the_global_random_state_is_untouched(tiny_model):
    before = torch.get_rng_state()
    load(tiny_model)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("path", sorted(configs_folder().glob("backbone/*.yaml")), ids=lambda path: path.stem)
def test_every_yaml_names_a_model_and_weights_that_open_clip_knows(path):
    config = OmegaConf.load(path)
    if not config._target_.endswith("OpenCLIPBackbone") or path.stem in ("open_clip", "mini"):
        return
    if config.pretrained is None:  # a folder of the hub, which open_clip does not list
        assert config.model == "hf-hub:imageomics/bioclip-2"
        return
    assert (config.model, config.pretrained) in open_clip.list_pretrained()
    weights = open_clip.get_pretrained_cfg(config.model, config.pretrained)
    assert config.model.endswith("-quickgelu") == weights.get("quick_gelu", False)
    headed = {int(number) for number in re.findall(r"images of (\d+)", path.read_text())}
    assert headed <= {open_clip.get_model_config(config.model)["vision_cfg"]["image_size"]}


@pytest.mark.slow
def test_one_graph_serves_texts_of_all_lengths(tiny_model):
    compiled, before = load(tiny_model, compile=True), Counter(counters["stats"])
    for length in (1, 5, 6, 7, 12):  # of 8 tokens too, whose mask needs no filling up
        compiled.encode_text([" ".join(["cat"] * length)] * 4)
    assert counters["stats"]["unique_graphs"] - before["unique_graphs"] == 1


@pytest.mark.slow
def test_compiled_towers_give_the_same_embeddings_here_and_after_pickling(tiny_model, backbone):
    compiled = load(tiny_model, compile=True)
    for towers in (compiled, pickle.loads(pickle.dumps(compiled))):
        assert torch.allclose(towers.encode_text(TEXTS), backbone.encode_text(TEXTS), atol=1e-5)
        images = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
        with torch.inference_mode():
            assert torch.allclose(towers.encode_image(images), backbone.encode_image(images), atol=1e-5)
        assert all(tower._compiled_call_impl is not None for tower in towers._towers)


def test_mistakes(tmp_path):
    with pytest.raises(UserError, match=r"backbone\.model=no-such-model"):
        load("no-such-model")
    with pytest.raises(UserError, match="could not be loaded"):
        load(f"local-dir:{tmp_path}/nowhere")
    with pytest.raises(UserError, match=r"backbone\.transform must be one of model, clip"):
        load("ViT-B-32", transform="squash")
    with pytest.raises(UserError, match=r"backbone\.precision must be one of fp32, fp16, bf16"):
        load("ViT-B-32", precision="int8")


def test_weights_of_another_architecture_are_refused_in_a_line(tmp_path):
    write(tmp_path / "model", ARCHITECTURES["rn50"])
    weights = tmp_path / "model/open_clip_model.safetensors"
    with pytest.raises(UserError, match="a weights file must be of this very model") as caught:
        load("ViT-S-32-alt", pretrained=str(weights))
    assert len(str(caught.value)) < 700
    for name, content in (("text.pt", b"no weights"), ("empty.safetensors", b"")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError, match="could not be loaded"):
            load("ViT-S-32-alt", pretrained=str(tmp_path / name))
    weights.unlink()
    with pytest.raises(UserError, match="could not be loaded"):
        load(f"local-dir:{tmp_path}/model")


def test_weights_run_with_the_activation_of_their_training(tiny_model, monkeypatch):
    network, _, transform = open_clip.create_model_and_transforms(tiny_model)

    def create(*arguments, **options):
        warnings.warn("QuickGELU mismatch between final model config and pretrained tag", stacklevel=1)
        return network, None, transform

    monkeypatch.setattr(open_clip, "create_model_and_transforms", create)
    with pytest.raises(UserError, match=r"Set backbone\.model=ViT-B-16-quickgelu"):
        load("ViT-B-16", pretrained="openai")
