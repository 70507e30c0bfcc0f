import errno
import io
from pathlib import Path

import pytest
import torch
from pyarrow import parquet

from neglab.csv_cells import TableReader
from neglab.files import open_table
from neglab.metrics import DetectionMetrics
from neglab.report.runs import Run
from neglab.results import examples, results, score_tables
from neglab.results.results import measure
from neglab.results.score_tables import find_table, merged_metrics, read_batches, read_scores, write_scores
from neglab.tasks import evaluate
from neglab.types import ScoredPair, ScoreTable, UserError, generator

NAMES = ("cat", "=dog, big", "cat")


def scored(name, count, seed, kind=torch.float32, classes=True):
    draw = generator(seed)
    predicted = torch.randint(len(NAMES), (count,), generator=draw)
    labels = torch.randint(len(NAMES), (count,), generator=draw) if classes else torch.full((count,), -1)
    paths = tuple(f"-{name}/{i % 7}é {i}.png" for i in range(count))
    return ScoreTable(name, torch.randn(count, generator=draw).to(kind), labels, predicted, paths)


@pytest.fixture
def pairs():
    known = scored("id", 23, 0)
    return [ScoredPair(known, scored("far", 10, 1, torch.float64, False)), ScoredPair(known, scored("near", 9, 2))]


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    monkeypatch.setattr(score_tables, "CHUNK", 4)
    monkeypatch.setattr(score_tables, "BATCH", 6)


def rows_of(path):
    if path.suffix == ".parquet":
        return parquet.read_table(path).to_pylist()
    with open_table(path) as file:
        return [{**row, "id_score": float(row["id_score"])} for row in TableReader(file)]


def test_both_forms_hold_the_same(tmp_path, pairs):
    for form in ("csv", "parquet"):
        (tmp_path / form).mkdir()
        write_scores(tmp_path / form, pairs, NAMES, form)
        assert {path.name for path in (tmp_path / form / "scores").iterdir()} == {
            f"{name}.{form}" for name in ("id", "far", "near")
        }
    for name in ("id", "far", "near"):
        one, other = (find_table(tmp_path / form, name) for form in ("csv", "parquet"))
        assert rows_of(one) == rows_of(other)
        assert read_scores(one)[0] == read_scores(other)[0] and torch.equal(read_scores(one)[1], read_scores(other)[1])
    table = pairs[0].ood_images
    assert torch.equal(torch.cat(list(read_batches(other.with_name("far.parquet")))), table.scores)
    assert rows_of(other.with_name("far.parquet"))[0]["class"] == ""
    assert parquet.ParquetFile(other.with_name("id.parquet")).num_row_groups == 6
    assert find_table(tmp_path / "csv", "none") is None


def test_a_report_reads_either_form(tmp_path, pairs):
    found = []
    for form in ("csv", "parquet"):
        (tmp_path / form).mkdir()
        write_scores(tmp_path / form, pairs, NAMES, form)
        found.append(Run(tmp_path / form, tuple({"ood_dataset": name} for name in ("far", "near", "mean"))).scores())
    assert list(found[0]) == list(found[1]) == ["far", "near"]
    for one, other in zip(*(scores.values() for scores in found), strict=True):
        for (paths, values), (other_paths, other_values) in zip(one, other, strict=True):
            assert paths == other_paths and torch.equal(values, other_values)
    (tmp_path / "parquet/scores/near.parquet").unlink()
    assert Run(tmp_path / "parquet", ({"ood_dataset": "near"},)).scores() is None


def test_the_text_of_a_table_does_not_hang_on_chunks(tmp_path, pairs, monkeypatch):
    content = []
    for chunk in (1, 1000):
        monkeypatch.setattr(score_tables, "CHUNK", chunk)
        write_scores(tmp_path, pairs, NAMES, "csv")
        content.append((tmp_path / "scores/id.csv").read_bytes())
    assert content[0] == content[1]
    first, second = content[0].decode().split("\n")[:2]
    table = pairs[0].id_images
    assert first == "path,id_score,class,predicted_class"
    assert second.startswith(f"'{table.paths[0]},{table.scores[0].item()},")


def test_images_without_paths(tmp_path, pairs):
    table = pairs[0].id_images
    table = ScoreTable("id", table.scores, table.labels, table.predicted)
    write_scores(tmp_path, [ScoredPair(table, table)], NAMES, "parquet")
    assert {row["path"] for row in rows_of(tmp_path / "scores/id.parquet")} == {""}


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_tables_are_measured_as_one(tmp_path, pairs, form):
    write_scores(tmp_path, pairs, NAMES, form)
    paths = {name: find_table(tmp_path, name) for name in ("id", "far", "near")}
    found = merged_metrics([paths["id"]], [paths["far"], paths["near"]])
    expected = DetectionMetrics()
    for table in (pairs[0].id_images, pairs[0].ood_images, pairs[1].ood_images):
        expected.update(table.scores, torch.full((len(table.scores),), table.dataset == "id"))
    assert found == pytest.approx({name: float(value) for name, value in expected.compute().items()}, abs=1e-12)


def test_many_scores_are_sorted_on_the_disk(pairs, monkeypatch):
    expected = measure(pairs)
    monkeypatch.setattr(results, "IN_MEMORY", 1)
    monkeypatch.setattr("neglab.metrics.detection.DetectionMetrics", None)
    assert measure(pairs) == pytest.approx(expected, abs=1e-12)


def test_tables_of_others(tmp_path, pairs):
    write_scores(tmp_path, pairs, NAMES, "parquet")
    path = tmp_path / "scores/id.parquet"
    parquet.write_table(parquet.read_table(path).rename_columns(["path", "score", "class", "other"]), path)
    for read in (read_scores, lambda path: list(read_batches(path))):
        with pytest.raises(UserError, match=r"as the run left them; .*id.parquet cannot be read"):
            read(path)


class Full(io.FileIO):
    """A file on a disk that has no room left."""

    def write(self, content):
        raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_a_full_disk_is_said_and_leaves_no_half_table(tmp_path, pairs, monkeypatch, form):
    monkeypatch.setattr(Path, "open", lambda path, mode: Full(path, mode))
    with pytest.raises(UserError, match=rf"The disk is full: \S+id\.{form} does not fit"):
        write_scores(tmp_path, pairs, NAMES, form)
    assert not list((tmp_path / "scores").iterdir())


def test_a_full_disk_is_said_while_scores_are_sorted(tmp_path, pairs, monkeypatch):
    write_scores(tmp_path, pairs, NAMES, "csv")
    monkeypatch.setattr(Path, "open", lambda path, mode: Full(path, mode))
    with pytest.raises(UserError, match=r"The disk is full: \S+0\.safetensors needs"):
        merged_metrics([tmp_path / "scores/id.csv"], [tmp_path / "scores/far.csv"])


@pytest.mark.parametrize("form", ["csv", "parquet"])
@pytest.mark.parametrize("content", [None, b"", b"PAR1", b"path,id_score\n\xff,1\n", "folder"])
def test_tables_that_cannot_be_read_are_one_message(tmp_path, pairs, form, content):
    write_scores(tmp_path, pairs, NAMES, form)
    path = tmp_path / f"scores/id.{form}"
    path.unlink()
    if content == "folder":
        path.mkdir()
    elif content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=rf"must be as the run left them; \S+id\.{form} cannot be read"):
        read_scores(path)
    with pytest.raises(UserError, match=rf"id\.{form} cannot be read|Metrics need ID and OOD images; got 0 ID"):
        merged_metrics([path], [tmp_path / f"scores/far.{form}"])


def test_many_scores_are_drawn_evenly_spaced(monkeypatch):
    scores = torch.arange(10.0)
    assert torch.equal(evaluate._spaced(scores), scores) and not len(evaluate._spaced(scores[:0]))
    monkeypatch.setattr(evaluate, "DRAWN", 4)
    assert evaluate._spaced(scores).tolist() == [0.0, 3.0, 6.0, 9.0]


@pytest.mark.parametrize("descending", [True, False])
def test_the_first_scores_do_not_hang_on_chunks(monkeypatch, descending):
    scores = torch.randint(30, (200,), generator=generator(0)).float()  # with ties
    expected = scores.argsort(descending=descending, stable=True)[: examples.NUM_EXAMPLES].tolist()
    for chunk in (1, 7, 1000):
        monkeypatch.setattr(examples, "CHUNK", chunk)
        assert examples._first(scores, descending) == expected
    assert examples._first(scores[:3], False) == scores[:3].argsort(stable=True).tolist()
