import importlib.util
import time
from importlib.resources import files
from pathlib import Path

import pytest

from neglab import wordnet
from neglab.wordnet import below, is_proper, normalized, senses, synset, synset_of_wnid, synsets

TOOL = Path(__file__).parents[1] / "tools" / "build_wordnet.py"
TIMM = files("timm.data") / "_info"
DOG = "02086723-n"
# WordNet 3.1 revised these synsets: it added, dropped or respelt a lemma. In 3.0 they read as in timm's list.
REVISED = {
    "n02672831": "piano accordion",
    "n02808440": "bath",
    "n03457902": "nursery",
    "n03594734": "jean / jeans",
    "n03637318": "shade",
    "n03759954": "mic",
}


def lemmas_of_30():
    """timm's lemmas of each synset id of ImageNet-21K, from WordNet 3.0."""
    lines = (TIMM / "imagenet_synset_to_lemma.txt").read_text(encoding="utf-8").splitlines()
    rows = (line.split("\t") for line in lines)
    return {wnid: tuple(lemmas.replace("_", " ").split(", ")) for wnid, lemmas in rows}


def test_every_imagenet_class_has_its_synset():
    wnids = (TIMM / "imagenet_synsets.txt").read_text().split()
    known = lemmas_of_30()
    found = {wnid: synset(synset_of_wnid(wnid) or "") for wnid in wnids}
    assert len(found) == 1000 and None not in found.values()
    assert len({entry.id for entry in found.values()}) == 1000
    different = {wnid for wnid, entry in found.items() if entry.lemmas != known[wnid]}
    assert different == set(REVISED)
    assert all(set(found[wnid].lemmas) & set(known[wnid]) for wnid in different)


def test_imagenet_21k_too():
    known = lemmas_of_30()
    lost = {wnid: lemmas[0] for wnid, lemmas in known.items() if synset_of_wnid(wnid) is None}
    assert len(known) == 21_844
    assert len(lost) == 6 and lost["n03019434"] == "chino"  # none of their sense keys is in 3.1


@pytest.mark.parametrize(
    ("wnid", "expected"),
    [
        ("n02084071", DOG),
        ("n00001740", "00001740-n"),  # entity
        ("n02713992", "02716929-n"),  # annulet and roundel were parted: the first lemma decides
        ("n00000000", None),
        ("02084071", None),
        ("v02084071", None),
        ("", None),
    ],
)
def test_synset_of_wnid(wnid, expected):
    assert synset_of_wnid(wnid) == expected


def test_the_map_leads_to_nouns_and_never_to_two():
    ids = {entry.id for entry in synsets() if entry.part_of_speech == "noun"}
    assert len(wordnet._noun_map()) == 82_068
    assert set(wordnet._noun_map().values()) <= ids


def test_senses_by_name():
    assert senses("dog")[0] == DOG and len(senses("dog")) == 7
    assert senses("DOG") == senses(" dog ") == senses("dog")
    assert senses("domestic_dog") == senses("Domestic  dog") == (DOG,)
    assert senses("rocky area") == senses("") == ()
    assert len(senses("a")) == len(set(senses("a")))  # "A" and "a" stand in one synset
    assert senses("aqueous") == ()  # an adjective
    assert normalized(" Tree_Frog ") == "tree frog"


def test_below():
    dogs = below([DOG])
    assert senses("poodle")[0] in dogs and DOG not in dogs
    assert len(dogs) == 189
    assert below(["00001740-n"]) == {entry.id for entry in synsets() if entry.part_of_speech == "noun"} - {"00001740-n"}
    assert below(senses("poodle")[:1]) < dogs
    assert below([DOG, *senses("carnivore")]) == below(senses("carnivore")) | dogs
    assert DOG in below([DOG, *senses("carnivore")])  # below the other one
    assert below([]) == below(["12345678-n"]) == frozenset()
    paris = next(sense for sense in senses("Paris") if "capital of France" in synset(sense).lemmas)
    assert paris in below(senses("national capital"))  # an instance


def test_proper_nouns():
    assert is_proper("paris") is False  # also a plant, a genus
    assert is_proper("donner pass") and is_proper("Rainier") and is_proper("culebra")
    assert not is_proper("dog") and not is_proper("genus canis") and not is_proper("rocky area")


def test_it_is_fast_once_loaded():
    senses("dog"), below([DOG]), synset_of_wnid("n02084071")
    start = time.process_time()
    for name in [entry.lemmas[0] for entry in synsets()[:20_000]]:
        is_proper(name)
    assert time.process_time() - start < 2  # 0.1 s on two busy cores


@pytest.fixture(scope="module")
def tool():
    spec = importlib.util.spec_from_file_location("build_wordnet", TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


OLD = """  1 the licence
00000010 03 n 02 cat 0 Felis_catus 1 000 | both live on
00000020 03 n 03 house 0 home 0 abode 0 000 | two of three moved together
00000030 03 n 02 second 0 first 0 000 | parted evenly
00000040 03 n 01 gone 0 000 | in no synset of the new version
00000050 03 n 01 Cat 1 000 | the same lemma, another sense
"""
NEW = """  1 the licence
00000015 03 n 01 cat 1 000 | now in lower case
00000025 03 n 02 cat 0 felis_catus 1 000 | moved
00000035 03 n 01 house 0 000 | alone
00000045 03 n 02 home 0 abode 0 000 | together
00000055 03 n 01 first 0 000 | later in the old synset
00000065 03 n 01 second 0 000 | first in the old synset
"""


def test_the_tool_maps_by_most_sense_keys(tool, tmp_path):
    (tmp_path / "old").write_text(OLD)
    (tmp_path / "new").write_text(NEW)
    found = tool.noun_map(tmp_path / "old", tmp_path / "new")
    assert found == {
        "00000010": "00000025",
        "00000020": "00000045",
        "00000030": "00000065",
        "00000050": "00000015",
    }
    assert tool.map_rows(found) == "10\t15\n10\t10\n10\t10\n20\t-70\n"


def test_the_tools_bytes_depend_on_the_text_alone(tool, tmp_path):
    for name in ("one", "two"):
        tool.write(tmp_path / name, "10\t15\n")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    assert (tmp_path / "one").read_bytes()[4:8] == bytes(4)  # no date
