"""Miniatures of real datasets, laid out as their publishers describe them and with the same kinds of extra files.

Each writer makes one published folder below `root`, the folder of all sets, and knows nothing of neglab's readers.
"""

import csv
import io
import json
import pickle
import struct
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import savemat
from timm.data.imagenet_info import ImageNetInfo

WNIDS = ImageNetInfo("imagenet-1k").label_names()
CIFAR10 = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
CIFAR100 = (  # noqa: SIM905
    "apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can castle "
    "caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin elephant "
    "flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster man "
    "maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree "
    "plain plate poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper "
    "snail snake spider squirrel streetcar sunflower sweet_pepper table tank telephone television tiger tractor train "
    "trout tulip turtle wardrobe whale willow_tree wolf woman worm"
).split()


@cache
def picture(kind="JPEG") -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (12, 15, 3), dtype=np.uint8)).save(file, kind)
    return file.getvalue()


def put(path: Path, content: bytes | str | None = None) -> Path:
    """Write a file, a picture unless told otherwise, with its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if content is None:
        content = picture()
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def imagenet(root: Path) -> None:
    """The archives of image-net.org, the validation images sorted into class folders as everybody does."""
    for i, wnid in enumerate(WNIDS):
        put(root / f"imagenet/val/{wnid}/ILSVRC2012_val_{i + 1:08d}.JPEG")
        put(root / f"imagenet/train/{wnid}/{wnid}_{i + 3}.JPEG")


def imagenet_v2(root: Path) -> None:
    """Subfolders are class indices without leading zeros; file names are hashes."""
    for i in range(1000):
        put(root / f"imagenetv2-matched-frequency-format-val/{i}/{i * 7919:040x}.jpeg")


def imagenet_sketch(root: Path) -> None:
    for wnid in WNIDS:
        put(root / f"sketch/{wnid}/sketch_0.JPEG")


def imagenet_a(root: Path, wnids) -> None:
    put(root / "imagenet-a/README.txt", "n01498041 stingray\n")
    for wnid in wnids:
        put(root / f"imagenet-a/{wnid}/0.000116_digital clock _ digital clock_0.865662.jpg")


def imagenet_r(root: Path, wnids) -> None:
    put(root / "imagenet-r/README.txt", "n01443537 goldfish\n")
    for wnid in wnids:
        put(root / f"imagenet-r/{wnid}/art_0.jpg")
        put(root / f"imagenet-r/{wnid}/sketch_12.jpg")


def imagenet_o(root: Path) -> None:
    put(root / "imagenet-o/README.txt", "n00000001 something\n")
    for wnid in ("n01443537", "n12345678"):
        put(root / f"imagenet-o/{wnid}/{wnid}_3041.JPEG")


def cub200(root: Path, num_classes=200) -> None:
    """CUB_200_2011.tgz: tables that number their lines, and one folder per species."""
    folder = root / "CUB_200_2011"
    birds = ["001.Black_footed_Albatross", "002.Laysan_Albatross", "003.Sooty_Albatross"]
    birds = [*birds, *(f"{i:03d}.Bird_{i}" for i in range(4, 200)), "200.Common_Yellowthroat"][:num_classes]
    put(folder / "classes.txt", "".join(f"{i} {bird}\n" for i, bird in enumerate(birds, 1)))
    names = [f"{bird}/{bird[4:]}_{k:04d}_796{k}.jpg" for bird in birds for k in range(3)]
    for name in names:
        put(folder / "images" / name)
    put(folder / "images.txt", "".join(f"{i} {name}\n" for i, name in enumerate(names, 1)))
    put(folder / "image_class_labels.txt", "".join(f"{i} {int(name[:3])}\n" for i, name in enumerate(names, 1)))
    put(folder / "train_test_split.txt", "".join(f"{i} {int(i % 3 == 1)}\n" for i in range(1, len(names) + 1)))
    put(folder / "README", "readme\n")
    put(folder.parent / "attributes.txt", "1 has_bill_shape::curved_(up_or_down)\n")


def waterbirds(root: Path) -> None:
    """The archive of group_DRO: metadata.csv and CUB's folders; place 0 is land, y 0 a land bird."""
    folder = root / "waterbird_complete95_forest2water2"
    rows = []
    for i, (y, split) in enumerate([(0, 0), (0, 2), (1, 1), (1, 2), (0, 2)], 1):
        name = f"{i:03d}.Some_Bird/Some_Bird_{i:04d}_34.jpg"
        put(folder / name)
        rows.append((i, name, y, split, y, f"/b/bamboo_forest/0000016{i}.jpg"))
    text = io.StringIO()
    table = csv.writer(text)
    table.writerow(("img_id", "img_filename", "y", "split", "place", "place_filename"))
    table.writerows(rows)
    put(folder / "metadata.csv", text.getvalue())


def placesbg(root: Path) -> None:
    for i in range(3):
        put(root / f"placesbg/bamboo_forest/place_{i:05d}.jpg")


def tiny_imagenet(root: Path, num_classes=200) -> None:
    """tiny-imagenet-200.zip: the order of wnids.txt is not the sorted one, and words.txt has all of WordNet's nouns."""
    folder, wnids = root / "tiny-imagenet-200", WNIDS[300 : 300 + num_classes]
    put(folder / "wnids.txt", "".join(f"{wnid}\n" for wnid in reversed(wnids)))
    words = [f"{wnid}\tname {i}, other name {i}\n" for i, wnid in enumerate(wnids)]
    put(folder / "words.txt", "n00001740\tentity\n" + "".join(words))
    annotations = ""
    for i, wnid in enumerate(wnids):
        put(folder / f"train/{wnid}/images/{wnid}_0.JPEG")
        put(folder / f"train/{wnid}/{wnid}_boxes.txt", f"{wnid}_0.JPEG\t0\t10\t63\t58\n")
        put(folder / f"val/images/val_{i}.JPEG")
        annotations += f"val_{i}.JPEG\t{wnid}\t0\t32\t44\t62\n"
    put(folder / "val/val_annotations.txt", annotations)
    put(folder / "test/images/test_0.JPEG")


def mos(root: Path) -> None:
    """MOS's release of iNaturalist, SUN and Places, and Textures as its authors publish it."""
    for i in range(3):
        put(root / f"iNaturalist/images/{i:032x}.jpg")
        put(root / f"SUN/images/sun_{i:017d}.jpg")
        put(root / f"Places/images/b_badlands_{i:08d}.jpg")
    put(root / "iNaturalist/class_list_old.txt", "Coprosma lucida\n")


def textures(root: Path) -> None:
    """dtd-r1.0.1.tar.gz, whose folder images has a hidden file."""
    for name in ("banded", "zigzagged"):
        for i in range(3):
            put(root / f"dtd/images/{name}/{name}_{i + 2:04d}.jpg")
    put(root / "dtd/images/waffled/.directory", "[Dolphin]\n")
    for i, split in enumerate(("train", "val", "test")):
        lines = [f"{name}/{name}_{i + 2:04d}.jpg\n" for name in ("banded", "zigzagged")]
        put(root / f"dtd/labels/{split}1.txt", "".join(lines))
    put(root / "dtd/imdb/imdb.mat", b"\0")


def ninco(root: Path) -> None:
    """NINCO_all.tar.gz: the OOD classes, the cleaned parts of older sets and the unit tests."""
    put(root / "NINCO/NINCO_OOD_classes/amphiuma_means/amphiuma_means_000_10045958.jpeg")
    put(root / "NINCO/NINCO_OOD_classes/sarracenia_alata/sarracenia_alata_068_1362332.JPG")
    put(root / "NINCO/NINCO_OOD_classes/s_sky/s_sky_045_00003518.jpg")
    put(root / "NINCO/NINCO_popular_datasets_subsamples/places/cleaned_00000010.jpg")
    put(root / "NINCO/NINCO_popular_datasets_subsamples/textures/banded_0002.png", picture(kind="PNG"))
    put(root / "NINCO/NINCO_OOD_unit_tests/uniform/000.png", picture(kind="PNG"))


def openimage_o(root: Path) -> None:
    for i in range(3):
        put(root / f"openimage_o/{i:016x}.jpg")


OPENOOD = {
    "imagenet/test_imagenet": ("largescale", [f"imagenet_1k/val/ILSVRC2012_val_{i + 1:08d}.JPEG" for i in range(1000)]),
    "imagenet/test_ssb_hard": ("largescale", ["ssb_hard/n00470682/n00470682_10002.JPEG", "ssb_hard/n1/n1_2.JPEG"]),
    "imagenet/test_ninco": ("largescale", ["ninco/s_sky/s_sky_045_00003518.jpg"]),
    "imagenet/test_inaturalist": ("largescale", ["inaturalist/images/0a.jpg", "inaturalist/images/0b.jpg"]),
    "imagenet/test_textures": ("classic", ["texture/banded/banded_0002.jpg"]),
    "imagenet/test_openimage_o": ("largescale", ["openimage_o/images/0c.jpg"]),
    "cifar10/test_cifar100": ("classic", ["cifar100/test/apple/0001.png"]),
    "cifar100/test_cifar10": ("classic", ["cifar10/test/airplane/0010.png"]),
    **{
        f"{cifar}/test_{name}": ("classic", [path])
        for cifar in ("cifar10", "cifar100")
        for name, path in (
            ("tin", "tin/val/n01443537/images/val_1.JPEG"),
            ("mnist", "mnist/test/0_1.png"),
            ("svhn", "svhn/test/1_1.png"),
            ("texture", "texture/banded/banded_0002.jpg"),
            ("places365", "places365/airfield/Places365_val_00000435.jpg"),
        )
    },
}


def openood(root: Path) -> None:
    """OpenOOD's download: two folders of images, and lists of "path label" with -1 for OOD images.

    Its folders hold more images than its lists name.
    """
    for name, (size, paths) in OPENOOD.items():
        lines = []
        for i, path in enumerate(paths):
            put(root / f"images_{size}/{path}")
            lines.append(f"{path} {i if 'imagenet_1k' in path else -1}\n")
        put(root / f"benchmark_imglist/{name}.txt", "".join(lines))
    name = "ILSVRC2012_val_00000001.JPEG"
    corrupted = [f"imagenet_c/fog/2/{WNIDS[0]}/{name}", f"imagenet_c/snow/5/{WNIDS[1]}/{name}"]
    for path in (*corrupted, f"imagenet_c/fog/1/{WNIDS[0]}/{name}"):
        put(root / f"images_largescale/{path}")
    lines = [f"{path} {i}\n" for i, path in enumerate(corrupted)]
    put(root / "benchmark_imglist/imagenet/test_imagenet_c.txt", "".join(lines))
    put(root / "images_largescale/imagenet_1k/val/ILSVRC2012_val_00049999.JPEG")
    put(root / "images_classic/texture/zigzagged/zigzagged_0002.jpg")


def pixels(name, count, *shape) -> np.ndarray:
    return np.random.default_rng(list(name.encode())).integers(0, 256, (count, *shape), dtype=np.uint8)


def cifar(root: Path) -> None:
    """The Python versions of CIFAR-10 and -100: pickles with rows of 3072 bytes; here one picture per class."""
    ten, hundred = root / "cifar-10-batches-py", root / "cifar-100-python"
    for name in ("test_batch", *(f"data_batch_{i}" for i in range(1, 6))):
        put(ten / name, pickle.dumps({"data": pixels(name, 10, 3072), "labels": list(range(10))}))
    put(ten / "batches.meta", pickle.dumps({"label_names": CIFAR10}))
    for name in ("train", "test"):
        put(hundred / name, pickle.dumps({"data": pixels(name, 100, 3072), "fine_labels": list(range(100))}))
    put(hundred / "meta", pickle.dumps({"fine_label_names": CIFAR100}))


def mnist(root: Path) -> None:
    """The four IDX files of MNIST: a magic number, the sizes, the bytes."""
    for part in ("train", "t10k"):
        images = struct.pack(">IIII", 2051, 4, 28, 28) + pixels(part, 4, 28, 28).tobytes()
        put(root / f"MNIST/raw/{part}-images-idx3-ubyte", images)
        put(root / f"MNIST/raw/{part}-labels-idx1-ubyte", struct.pack(">II", 2049, 4) + bytes([7, 2, 1, 0]))


def svhn(root: Path) -> None:
    """SVHN's format 2: [32, 32, 3, N], and labels in which 10 is the digit 0."""
    put(root / "svhn/.keep", b"")
    columns = {"X": pixels("svhn", 3, 32, 32, 3).transpose(1, 2, 3, 0), "y": np.array([[10], [1], [5]], np.uint8)}
    savemat(root / "svhn/test_32x32.mat", columns)


def food101(root: Path) -> None:
    folder = root / "food-101"
    kinds = ["apple_pie", *(f"dish_{i:03d}" for i in range(99)), "waffles"]
    dishes = {name: [f"{name}/{1000 + i}" for i in range(2)] for name in kinds}
    for names in dishes.values():
        for name in names:
            put(folder / f"images/{name}.jpg")
    put(folder / "meta/test.json", json.dumps({dish: names[:1] for dish, names in dishes.items()}))
    put(folder / "meta/train.json", json.dumps({dish: names[1:] for dish, names in dishes.items()}))
    put(folder / "meta/classes.txt", "".join(f"{kind}\n" for kind in kinds))
    put(folder / "meta/labels.txt", "".join(f"{kind.replace('_', ' ').capitalize()}\n" for kind in kinds))


def oxford_pet(root: Path) -> None:
    """Breeds of cats begin with a capital, of dogs with a small letter; images has three MATLAB files among it."""
    folder = root / "oxford-iiit-pet"
    rows = [("Abyssinian", 1, 1), *((f"breed_{i:02d}", i, 2) for i in range(2, 37)), ("yorkshire_terrier", 37, 2)]
    for split, number in (("trainval", 100), ("test", 201)):
        lines = [f"{breed}_{number} {label} {species} 1\n" for breed, label, species in rows]
        put(folder / f"annotations/{split}.txt", "".join(lines))
        for breed, *_ in rows:
            put(folder / f"images/{breed}_{number}.jpg")
    put(folder / "images/Abyssinian_101.mat", b"\0")


def stanford_cars(root: Path) -> None:
    """Two folders of images, the development kit, and the test labels that came later."""
    folder = root / "stanford_cars"
    for part, table in (("train", "devkit/cars_train_annos.mat"), ("test", "cars_test_annos_withlabels.mat")):
        names = [f"{i + 1:05d}.jpg" for i in range(196)]
        for name in names:
            put(folder / f"cars_{part}/{name}")
        put(folder / table, b"")
        rows = [(196 - i, name) for i, name in enumerate(names)]
        savemat(folder / table, {"annotations": np.array(rows, dtype=[("class", object), ("fname", object)])})
    models = ["AM General Hummer SUV 2000", *(f"Car {i}" for i in range(194)), "smart fortwo Convertible 2012"]
    names = np.array(models, dtype=object)
    savemat(folder / "devkit/cars_meta.mat", {"class_names": names})


def places365(root: Path) -> None:
    for i in range(3):
        put(root / f"places365/val_256/Places365_val_{i + 1:08d}.jpg")


def imagenet_c(root: Path) -> None:
    """Each archive holds folders of corruptions, and those of severities; here two classes of the thousand."""
    for corruption in ("gaussian_noise", "fog"):
        for severity in (1, 3):
            for i, wnid in enumerate(WNIDS[:2]):
                put(root / f"imagenet-c/{corruption}/{severity}/{wnid}/ILSVRC2012_val_{i + 1:08d}.JPEG")


def imagenet_es(root: Path) -> None:
    """By light and camera; the images that were photographed lie beside."""
    for place in ("auto_exposure/l1/param_1", "param_control/l5/param_27", "sampled_tin_no_resize2"):
        for wnid in ("n01443537", "n12267677"):
            put(root / f"ImageNet-ES/es-test/{place}/{wnid}/{wnid}_131.JPEG")


def imagenet_ood(root: Path) -> None:
    for wnid in ("n00440039", "n02056228"):
        put(root / f"imagenet-ood/{wnid}/{wnid}_10.JPEG")


def fgvc_aircraft(root: Path) -> None:
    """fgvc-aircraft-2013b.tar.gz: images by number, and a table per split and kind of label."""
    folder = root / "fgvc-aircraft-2013b/data"
    variants = ["707-320", *(f"A{i}" for i in range(98)), "Yak-42"]
    put(folder / "variants.txt", "".join(f"{variant}\n" for variant in variants))
    for start, split in ((0, "trainval"), (100, "test")):
        numbers = [f"{1025794 + start + i:07d}" for i in range(100)]
        for number in numbers:
            put(folder / f"images/{number}.jpg")
        lines = [f"{number} {variant}\n" for number, variant in zip(numbers, variants, strict=True)]
        put(folder / f"images_variant_{split}.txt", "".join(lines))


def medical(root: Path) -> None:
    """OpenOOD's chest X-rays and what they are told from: paths start from the folder of each set."""
    sets = {"bimcv": "medical/bimcv", "ct": "medical/ct", "xraybone": "medical/xraybone", "mnist": "classic"}
    sets |= {"cifar10": "classic", "texture": "classic", "tin": "classic"}
    for name, folder in sets.items():
        lines = []
        for i in range(2):
            put(root / f"images_{folder}/{name}_test/{i}.png", picture(kind="PNG"))
            lines.append(f"{name}_test/{i}.png {i if name == 'bimcv' else -1}\n")
        put(root / f"benchmark_imglist/covid/test_{name}.txt", "".join(lines))


def write_all(root: Path, lists: Path) -> None:
    """Every set below one folder; `lists` holds the WordNet ids of ImageNet-A and -R."""
    for write in (
        imagenet, imagenet_v2, imagenet_sketch, imagenet_o, cub200, waterbirds, placesbg, tiny_imagenet, mos, textures,
        ninco, openimage_o, openood, cifar, mnist, svhn, food101, oxford_pet, stanford_cars, places365,
        imagenet_c, imagenet_es, imagenet_ood, fgvc_aircraft, medical,
    ):  # fmt: skip
        write(root)
    imagenet_a(root, (lists / "imagenet_a.txt").read_text().split())
    imagenet_r(root, (lists / "imagenet_r.txt").read_text().split())
