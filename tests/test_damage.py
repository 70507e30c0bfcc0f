"""Every kind of file that neglab reads, with bits flipped, cut off, filled up and replaced by other JSON.

What comes back is what was written, a user's message, or, of what neglab makes itself, nothing, so that it is made
again. It is never another error, and of a file with a checksum never another content.
"""

import csv
import gzip
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import fakes
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision.transforms.functional import pil_to_tensor

from neglab.chat.answers import parse_answers
from neglab.chat.captions import parse_captions
from neglab.chat.recorded import RecordedChat
from neglab.columns import PathTexts
from neglab.context.checkpoint import PromptDescription, read_checkpoint, write_checkpoint
from neglab.corpus.file import FileCorpus
from neglab.corpus.pos_tags import PosTagsCorpus
from neglab.data.base import UnreadableImageError, read_image, read_undecoded
from neglab.data.image_list import ImageListFile
from neglab.data.names import given_names, read_lines
from neglab.data.sources import ImageFile
from neglab.data.tar import contents, members
from neglab.data.webdataset import WebDataset
from neglab.detector.saved import Recipe, Settings, read_detector, write_detector
from neglab.embedding.jpegs import Undecoded
from neglab.embedding.store import Store
from neglab.modules.training_state import TrainingState
from neglab.parts import RowsOf, read_parts, write_part
from neglab.report.runs import _read_environment
from neglab.results.aggregate import AVERAGED, read_results
from neglab.results.examples import COLUMNS, read_examples
from neglab.results.score_tables import read_scores, write_scores
from neglab.stream.file import FileStream
from neglab.tasks.compare_filters import read_verdicts
from neglab.text_rows import KeyedTexts, StoredRows
from neglab.types import ScoredPair, ScoreTable, UserError

GROUPS = {"backbone": {"_target_": "a"}, "prompt": {}, "score": {"x": [1, 2.5, None]}}
DESCRIPTION = PromptDescription("coop", ("cat", "dog"), "fingerprint", 0, 2, {"knob": 1}, 1, True)


class Kind(NamedTuple):
    """A kind of file: how one is written into a folder, and how that folder is read.

    Attributes:
        exact: it has a checksum, so that no damage may go unseen.
    """

    name: str
    write: Callable[[Path], Any]
    read: Callable[[Path], Any]
    exact: bool = False


def detector(folder):
    write_detector(folder, Settings(Recipe("m", GROUPS, 8, 8, 8, "f"), 0.5, None), fakes.text_bank(3, 4))


def prompts(folder):
    write_checkpoint(folder, DESCRIPTION, {"class_embeddings": fakes.unit(2), "negative_embeddings": fakes.unit(2)})


def read_prompts(folder):
    found = read_checkpoint(folder)
    return found.description, {name: tensor.tolist() for name, tensor in found.tensors.items()}


def read_bank(folder):
    found, bank = read_detector(folder)
    labels = [(part.words, part.embeddings.tolist()) for part in (bank.id_labels, bank.negatives)]
    return found, labels, bank.logit_scale


PARAMETERS = [torch.nn.Parameter(torch.ones(2, 3))]


def state(folder):
    TrainingState(1, list(PARAMETERS), {0: {"step": torch.tensor(1.0)}}, [{"loss": 0.5}]).write(folder / "state")


def read_state(folder):
    found = TrainingState.read(folder / "state", PARAMETERS)
    return found.num_epochs, [one.tolist() for one in found.parameters], found.curves


def entry(folder):
    Store(folder).entry({}).write(fakes.unit(3, 4), {1: "torn"})


def read_entry(folder):
    found = Store(folder).entry({}).read(3, 4)
    return None if found is None else (found[0].tolist(), found[1])


def part(folder):
    write_part(folder, {"index": torch.tensor([0, 1]), "embeddings": fakes.unit(2, 4)})


def rows(folder):
    StoredRows(folder, 4).add(KeyedTexts(["a", "b"]), fakes.unit(2, 4))


def table(folder):
    (folder / "image").mkdir(exist_ok=True)
    (folder / "image/a").write_bytes(b"content")
    Store(folder).file_marks(PathTexts.of([folder / "image/a"]))


def read_table(folder):
    (found,) = Store(folder).file_marks(PathTexts.of([folder / "image/a"])).texts(0, 1)
    return len(found)


def tar(folder):
    with tarfile.open(folder / "a.tar", "w", format=tarfile.PAX_FORMAT) as archive:
        for name in ("a.jpg", "a.cls", f"{'x' * 120}é.jpg", f"{'x' * 120}é.cls"):
            member = tarfile.TarInfo(name)
            member.size, member.mtime = 1, 0.5
            archive.addfile(member, io.BytesIO(b"1" * member.size))


def read_members(path):
    with contents(path) as content:
        return list(members(path, content))


def scores_read(path):
    names, scores = read_scores(path)
    return names, scores.tolist()


def score_table(folder):
    columns = (torch.tensor([0.5, 0.25]), torch.tensor([0, -1]), torch.tensor([0, 0]), ("a.png", "b.png"))
    table = ScoreTable("id", *columns)
    write_scores(folder, [ScoredPair(table, table)], ("cat",), "parquet")


def text(name, content):
    return lambda folder: (folder / name).write_text(content)


def picture(ending):
    return lambda folder: Image.linear_gradient("L").resize((20, 20)).convert("RGB").save(folder / f"a.{ending}")


def read_picture(folder):
    (path,) = folder.iterdir()
    return read_image(ImageFile(path), lambda image: torch.zeros(3, *image.size)).shape


def read_by_device(folder):
    (path,) = folder.iterdir()
    (found,) = Undecoded.of([read_undecoded(ImageFile(path), pil_to_tensor)]).decoded()
    return None if found is None else found.tolist()


def images_of_list(folder):
    (folder / "a.png").touch()
    return ImageListFile(str(folder), str(folder / "l.txt"), True, ["cat", "dog"], None).images().labels


def tagged(folder):
    knobs = {"num_words": None, "seed": 0, "expected_count": None}
    return PosTagsCorpus(str(folder / "a.csv"), "s", ["word", "tag"], ["NN"], ["JJ"], **knobs).words(())


def table_of(path, read):
    return lambda folder: read(folder / path)


def csv_text(*lines):
    content = io.StringIO()
    csv.writer(content).writerows(lines)
    return content.getvalue()


ANSWER = {"kind": "proper_noun", "label": "a", "class": None, "question": "q", "answer": "no"}
CAPTION = json.dumps({"picture": "ab12", "question": "q?", "max_new_tokens": 9, "answer": "a", "model": "m"})
MESSAGE = {"role": "user", "content": "q"}
RESULT = {"method": "mcm", "overrides": "", "ood_dataset": "mean", "num_negatives": 3, **dict.fromkeys(AVERAGED, 0.5)}
EXAMPLE = dict.fromkeys(COLUMNS, "") | {"id_score": 1, "class_share": 0.5}
KINDS = [
    Kind("detector", detector, read_bank, exact=True),
    Kind("prompts", prompts, read_prompts, exact=True),
    Kind("state", state, read_state, exact=True),
    Kind("entry", entry, read_entry, exact=True),
    Kind(
        "part", part, lambda folder: [one["index"].tolist() for one in read_parts(folder, RowsOf(2, (4,)))], exact=True
    ),
    Kind("rows", rows, lambda folder: StoredRows(folder, 4).lacking(KeyedTexts(["a", "b"])).texts, exact=True),
    Kind("table", table, read_table),
    Kind("tar", tar, table_of("a.tar", read_members)),
    Kind("shards", tar, lambda folder: WebDataset(str(folder), True, None, "cls", ["a", "b"], None).images().labels),
    Kind("names", text("a.txt", "cat\n\ndog\n"), table_of("a.txt", read_lines)),
    Kind("names in JSON", text("a.json", '{"0": "cat", "1": "dog"}'), table_of("a.json", given_names)),
    Kind("names in YAML", text("a.yaml", "names:\n  0: cat\n  1: dog\n"), table_of("a.yaml", given_names)),
    Kind("names in a table", text("a.csv", "index,name\n0,cat\n1,dog\n"), table_of("a.csv", given_names)),
    Kind("list", text("l.txt", "a.png 0\nb c.png 1\n"), images_of_list),
    Kind("words", text("a.txt", "cat\nbig dog\n"), table_of("a.txt", lambda path: FileCorpus(str(path)).words(()))),
    Kind(
        "labels",
        text("a.csv", csv_text(["label", "part_of_speech"], ["cat", "noun"], ["big", "adjective"])),
        table_of("a.csv", lambda path: FileCorpus(str(path)).words(())),
    ),
    Kind(
        "packed words",
        lambda folder: (folder / "a.gz").write_bytes(gzip.compress(b"cat\ndog\n")),
        table_of("a.gz", lambda path: FileCorpus(str(path)).words(())),
    ),
    Kind("tags", text("a.csv", csv_text(["word", "tag"], ["cat", "NN"], ["big", "JJ"])), tagged),
    Kind(
        "stream",
        text("a.txt", "2\n0\n1\n3\n"),
        table_of("a.txt", lambda path: FileStream(str(path), 2, True).draw(2, 2).order.tolist()),
    ),
    Kind(
        "answers", text("a.jsonl", f"{json.dumps(ANSWER)}\n" * 2), lambda f: parse_answers((f / "a.jsonl").read_bytes())
    ),
    Kind("captions", text("a.jsonl", f"{CAPTION}\n" * 2), lambda f: parse_captions((f / "a.jsonl").read_bytes())),
    Kind(
        "recorded replies",
        text("a.json", json.dumps([{"messages": [MESSAGE], "reply": "- a"}])),
        table_of("a.json", lambda path: RecordedChat(str(path), "m").complete([[MESSAGE]], 9)),
    ),
    Kind("results", text("a.csv", csv_text(RESULT, RESULT.values())), table_of("a.csv", read_results)),
    Kind(
        "examples",
        text("a.csv", csv_text(EXAMPLE, EXAMPLE.values())),
        table_of("a.csv", read_examples),
    ),
    Kind("scores", text("a.csv", csv_text(["path", "id_score"], ["a", 1], ["b", 2])), table_of("a.csv", scores_read)),
    Kind("scores in Parquet", score_table, table_of("scores/id.parquet", scores_read)),
    Kind("environment", text("a.json", '{"neglab": "0.1", "seed": 3}'), table_of("a.json", _read_environment)),
    Kind(
        "verdicts",
        text("a.csv", csv_text(["label", "verdict", "reason", "class"], ["a", "kept", "", ""])),
        table_of("a.csv", lambda path: read_verdicts(str(path), "reference")),
    ),
    Kind("jpg for the device", picture("jpg"), read_by_device),
    *(Kind(ending, picture(ending), read_picture) for ending in ("png", "jpg", "bmp", "gif", "tif", "webp", "ppm")),
]

places = st.floats(0, 1, exclude_max=True)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
damages = st.one_of(
    st.tuples(st.just("flip"), places, st.integers(0, 7)),
    st.tuples(st.just("cut"), places, st.none()),
    st.tuples(st.just("leave out"), places, places),
    st.tuples(st.just("put in"), places, st.binary(min_size=1, max_size=40)),
    st.tuples(st.just("replace"), st.none(), values.map(lambda value: json.dumps(value).encode())),
    st.tuples(st.just("replace"), st.none(), st.sampled_from([b"", b"[" * 100_000, b'"\\ud800"', b"NaN", b"\xff\xfe"])),
)


def as_json(content: bytes) -> Any:
    """Spaces between its parts do not count."""
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return content


def damaged(content: bytes, how: str, place: Any, what: Any) -> bytes:
    if how == "replace":
        return what
    start = int(place * len(content))
    if how == "flip":
        return content[:start] + bytes([content[start] ^ (1 << what)]) + content[start + 1 :]
    if how == "cut":
        return content[:start]
    if how == "leave out":
        end = start + 1 + int(what * (len(content) - start))
        return content[:start] + content[end:]
    return content[:start] + what + content[start:]


@pytest.mark.parametrize("kind", KINDS, ids=[kind.name for kind in KINDS])
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(damage=damages, which=st.integers(0, 9))
@pytest.mark.filterwarnings("ignore::UserWarning:PIL")  # of damaged TIFF files
def test_damage_is_seen_or_said(kind, damage, which):
    with TemporaryDirectory() as place:
        folder = Path(place)
        kind.write(folder)
        whole = kind.read(folder)
        files = sorted(path for path in folder.rglob("*") if path.is_file() and path.stat().st_size)
        path = files[which % len(files)]
        content = path.read_bytes()
        changed = damaged(content, *damage)
        path.write_bytes(changed)
        try:
            found = kind.read(folder)
        except (UserError, UnreadableImageError) as error:
            assert str(error)
            return
        if kind.exact and as_json(changed) != as_json(content):
            assert found != whole


def test_all_kinds_are_read_as_they_were_written(tmp_path):
    for kind in KINDS:
        (tmp_path / kind.name).mkdir()
        kind.write(tmp_path / kind.name)
        first = kind.read(tmp_path / kind.name)
        assert kind.read(tmp_path / kind.name) == first
