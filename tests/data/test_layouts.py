"""Every dataset YAML finds its set in the layout that its publisher describes, in miniature."""

import layouts
import pytest
import torchvision
from hydra.utils import instantiate

from neglab.compose import compose
from neglab.config_files import configs_folder
from neglab.tasks.data import known
from neglab.tasks.evaluate import run

BIMCV_COVID = (
    "a chest X-ray with evident features of COVID-19, including ground-glass opacities, lung infiltrates, bilateral "
    "patchy shadows and consolidation"
)
# Images, classes, and the names of the first and last class, in the miniature.
ID_SETS = {
    "cifar10": (10, 10, "airplane", "truck"),
    "cifar100": (100, 100, "apple", "worm"),
    "cifar100_20v80": (20, 20, "apple", "cattle"),
    "cifar10_4nonanimal": (4, 4, "airplane", "truck"),
    "cifar10_6v4": (6, 6, "airplane", "truck"),
    "aircraft50": (50, 50, "707-320", "A48"),
    "bimcv": (2, 2, "a normal chest X-ray with clear lungs", BIMCV_COVID),
    "cars98": (98, 98, "AM General Hummer SUV 2000", "Car 96"),
    "cub100": (200, 100, "Black footed Albatross", "Bird 100"),
    "cub200": (400, 200, "Black footed Albatross", "Common Yellowthroat"),
    "fgvc_aircraft": (100, 100, "707-320", "Yak-42"),
    "food101": (101, 101, "apple pie", "waffles"),
    "food50": (50, 50, "apple pie", "dish 048"),
    "imagenet200": (200, 200, "goldfish", "acorn"),
    "imagenet10": (10, 10, "brambling", "military aircraft"),
    "imagenet100": (100, 100, "palace", "jeep"),
    "imagenet1k": (1000, 1000, "tench", "toilet paper"),
    "imagenet1k_fs": (1000 + 1000 + 2 + 400, 1000, "tench", "toilet paper"),
    "imagenet1k_fs_sketch": (1000 + 1000 + 2 + 1000, 1000, "tench", "toilet paper"),
    "imagenet1k_openood": (1000, 1000, "tench", "toilet paper"),
    "imagenet1k_train": (1000, 1000, "tench", "toilet paper"),
    "imagenet20": (20, 20, "smooth newt", "tank"),
    "imagenet99": (99, 99, "palace", "jeep"),
    "imagenet_a": (200, 200, "stingray", "acorn"),
    "imagenet_c": (8, 2, "tench", "goldfish"),
    "imagenet_es": (4, 2, "goldfish", "acorn"),
    "imagenet_r": (400, 200, "goldfish", "acorn"),
    "imagenet_sketch": (1000, 1000, "tench", "toilet paper"),
    "imagenet_v2": (1000, 1000, "tench", "toilet paper"),
    "oxford_pet": (37, 37, "Abyssinian", "Yorkshire Terrier"),
    "pet18": (18, 18, "Abyssinian", "Breed 18"),
    "stanford_cars": (196, 196, "AM General Hummer SUV 2000", "smart fortwo Convertible 2012"),
    "tiny_imagenet": (200, 200, "name 0", "name 199"),
    "tiny_imagenet_20v180": (20, 20, "name 10", "name 194"),
    "waterbirds": (3, 2, "landbirds", "waterbirds"),
}
OOD_SETS = {
    "aircraft50_rest": 50,
    "bimcv_ct": 2,
    "bimcv_xraybone": 2,
    "cars98_rest": 98,
    "cifar10": 10,
    "cifar100": 100,
    "cifar100_20v80_rest": 80,
    "cifar10_6v4_rest": 4,
    "cifar_plus10": 10,
    "cifar_plus50": 50,
    "clean": 2,
    "cub100_rest": 200,
    "food50_rest": 51,
    "imagenet10": 10,
    "imagenet100": 100,
    "imagenet20": 20,
    "imagenet_o": 2,
    "imagenet_ood": 2,
    "inaturalist": 3,
    "inaturalist_openood": 2,
    "mnist": 4,
    "ninco": 3,
    "ninco_openood": 1,
    "openimage_o": 3,
    "openimage_o_openood": 1,
    "pet18_rest": 19,
    "places": 3,
    "places365": 3,
    "spurious": 3,
    "ssb_hard": 2,
    "ssb_hard_openood": 2,
    "sun": 3,
    "svhn": 3,
    "textures": 6,
    "textures_openood": 1,
    "tiny_imagenet": 200,
    "tiny_imagenet_20v180_rest": 180,
}
SUITES = {
    "bimcv_near": ["ct", "xraybone"],
    "bimcv_far": ["mnist", "cifar10", "textures", "tiny_imagenet"],
    "temporal_shift": ["places", "textures", "inaturalist", "sun"],
    "four_ood": ["inaturalist", "sun", "places", "textures"],
    "domain_shift": ["inaturalist", "sun", "places", "textures"],
    "negrefine_clean": ["inaturalist", "openimage_o", "clean", "ninco"],
    "openood_near": ["ssb_hard", "ninco"],
    "openood_far": ["inaturalist", "textures", "openimage_o"],
    "cifar10_openood": ["cifar100", "tiny_imagenet", "mnist", "svhn", "textures", "places365"],
    "cifar100_openood": ["cifar10", "tiny_imagenet", "mnist", "svhn", "textures", "places365"],
    "cifar10_openood_lists": ["cifar100", "tiny_imagenet", "mnist", "svhn", "textures", "places365"],
    "cifar100_openood_lists": ["cifar10", "tiny_imagenet", "mnist", "svhn", "textures", "places365"],
    "imagenet_hard": ["imagenet10", "imagenet20", "imagenet100"],
}
FEW_IMAGES = {
    "cifar100_20v80_train": 20,
    "cifar100_train": 100,
    "cifar10_4nonanimal_train": 4 * 5,
    "cifar10_6v4_train": 6 * 5,
    "cifar10_train": 10 * 5,
    "cub200_train": 200,
    "food101_train": 101,
    "imagenet100_train": 100,
    "imagenet10_train": 10,
    "imagenet1k_train": 1000,
    "imagenet20_train": 20,
    "oxford_pet_train": 37,
    "stanford_cars_train": 196,
    "tiny_imagenet_20v180_train": 20,
    "waterbirds_train": 1,
}
OWN = ("emoji", "image_folder", "image_list", "webdataset", "huggingface")  # shipped sets, and the user's own


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    layouts.write_all(root, configs_folder().parent / "neglab/assets/datasets")
    return root


@pytest.fixture(scope="module")
def sets(data):
    """Every set's config, by group and option."""
    return known([f"paths.data={data}"])


@pytest.fixture(scope="module")
def others(data):
    """The configs of suites and of few ID images, by option; the sets are those of split 0."""
    wanted = [("ood_datasets", name) for name in SUITES] + [("id_images", name) for name in FEW_IMAGES]
    return compose([f"paths.data={data}", *(f"+{group}@others.{name}={name}" for group, name in wanted)]).others


@pytest.fixture(autouse=True)
def any_digest(monkeypatch):
    """torchvision compares digests with those of the whole files."""
    for module in (torchvision.datasets.cifar, torchvision.datasets.svhn):
        monkeypatch.setattr(module, "check_integrity", lambda path, md5=None: path and True)


def test_every_yaml_of_a_published_set_has_a_miniature():
    for group, names in (
        ("id_dataset", ID_SETS),
        ("ood_datasets", [*OOD_SETS, *SUITES]),
        ("id_images", FEW_IMAGES),
    ):
        found = {path.stem for path in (configs_folder() / group).glob("*.yaml")}
        assert {name for name in found if not name.startswith(OWN)} == set(names)


def opens(image_list):
    with image_list.sources[0].open() as image:
        return min(image.size) > 8


@pytest.mark.parametrize("name", ID_SETS)
def test_id_sets(name, sets):
    dataset = instantiate(sets[f"id_dataset={name}"])
    images, names = dataset.images(), dataset.class_names().names
    assert (len(images), len(names), names[0], names[-1]) == ID_SETS[name]
    assert set(images.labels) == set(range(len(names)))
    assert opens(images)


@pytest.mark.parametrize("name", OOD_SETS)
def test_ood_sets(name, sets):
    images = instantiate(sets[f"ood_datasets={name}"]).images()
    assert len(images) == OOD_SETS[name] and set(images.labels) == {-1}
    assert opens(images)


@pytest.mark.parametrize("name", SUITES)
def test_suites_keep_their_order_and_the_published_names(name, others):
    assert list(others[name]) == SUITES[name]
    assert all(len(instantiate(node).images()) for node in others[name].values())


@pytest.mark.parametrize("name", FEW_IMAGES)
def test_few_id_images_are_others_than_the_id_set_and_have_its_names(name, sets, others):
    few, id_dataset = instantiate(others[name]), instantiate(sets[f"id_dataset={name.removesuffix('_train')}"])
    assert few.class_names() == id_dataset.class_names()
    assert len(few.images()) == FEW_IMAGES[name]
    pictures = [{source.key or str(source) for source in dataset.images().sources} for dataset in (few, id_dataset)]
    assert not pictures[0] & pictures[1]


def test_a_full_spectrum_has_each_image_under_its_class(sets):
    """ImageNet-R has 200 of the classes, ImageNet-V2 folders named by index, ImageNet-C one per corruption."""
    dataset = instantiate(sets["id_dataset=imagenet1k_fs"])
    images = dataset.images()
    for source, label in zip(images.sources, images.labels, strict=True):
        folder = source.path.parent.name
        if folder in layouts.WNIDS or folder.isdecimal():
            assert label == (int(folder) if folder.isdecimal() else layouts.WNIDS.index(folder))
    corrupted = [(source.path.parts[-3], label) for source, label in zip(images.sources, images.labels, strict=True)]
    assert [pair for pair in corrupted if pair[0] in ("2", "5")] == [("2", 0), ("5", 1)]


@pytest.mark.parametrize("split", [0, 4])
def test_the_parts_of_a_split_are_chosen_together(split, data):
    chosen = ["id_dataset=cifar10_6v4", "ood_datasets=cifar10_6v4_rest", "id_images=cifar10_6v4_train"]
    config = compose([f"seed.value={split}", f"paths.data={data}", *chosen])
    inside = instantiate(config.id_dataset).class_names().names
    assert instantiate(config.id_images).class_names().names == inside and len(inside) == 6
    assert sorted(inside + instantiate(config.ood_datasets.cifar10_6v4_rest).class_names().names) == layouts.CIFAR10


def test_the_fifty_animals_are_those_that_the_ten_are_drawn_from(sets):
    fifty = instantiate(sets["ood_datasets=cifar_plus50"]).class_names().names
    ten = {instantiate(sets["ood_datasets=cifar_plus10"], split=i).class_names().names for i in range(5)}
    assert len(ten) == 5 and all(set(names) < set(fifty) for names in ten)


@pytest.mark.parametrize(
    ("id_dataset", "ood_datasets"),
    [
        ("imagenet10", "four_ood"),
        ("cifar10", "cifar10_openood"),
        ("waterbirds", "spurious"),
        ("cub200", "negrefine_clean"),
    ],
)
def test_an_evaluation_runs_on_them(id_dataset, ood_datasets, data, overrides, tmp_path):
    evaluate(overrides, data, tmp_path, f"id_dataset={id_dataset}", f"ood_datasets={ood_datasets}")


@pytest.mark.slow
@pytest.mark.parametrize("model", ["RN50-quickgelu", "ViT-B-32-quickgelu"])
def test_an_evaluation_runs_with_a_real_architecture(model, data, overrides, tmp_path):
    own = [text for text in overrides if not text.startswith("backbone")]
    backbone = ["backbone=open_clip", f"backbone.model={model}", "backbone.pretrained=null"]
    evaluate(own, data, tmp_path, *backbone, "id_dataset=imagenet10", "ood_datasets=four_ood")


def evaluate(overrides, data, folder, *chosen):
    kept = [text for text in overrides if not text.startswith(("id_dataset", "ood_datasets", "corpus"))]
    # The miniatures of all sets show one picture.
    own = [f"paths.data={data}", "method=mcm", "plots=false", "data.allow_shared=true", *chosen]
    assert 0 <= run(compose([*kept, *own], output=folder)) <= 1
    assert (folder / "metrics.json").is_file()
