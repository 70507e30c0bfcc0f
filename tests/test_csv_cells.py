"""Text in a CSV file is no formula in a spreadsheet, and is read back as it was written."""

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neglab.csv_cells import TableReader, guarded, guarded_column, unguarded
from neglab.results.results import write_csv, write_rows

CELLS = st.text(st.sampled_from("=+-@'\t\r\n,;\"1.e cmd|"), max_size=6)


@given(CELLS)
def test_no_cell_is_a_formula_and_each_is_read_back(text):
    cell = guarded(text)
    if cell[:1] in tuple("=+-@\t\r"):
        assert cell == text and float(text) is not None  # a number, which stays one
    assert unguarded(cell) == text


@pytest.mark.parametrize("value", ["-1", "+1.5", "-0.250000", "-1e-05", -0.5, -3, None, True, float("-inf")])
def test_numbers_stay_numbers(value):
    assert guarded(value) is value


@pytest.mark.parametrize(
    "text", ["=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "\t=1", "\r=1", "'=1", "''-x", "-1-1"]
)
def test_a_formula_is_shown_as_text(text):
    assert guarded(text) == f"'{text}"


def test_every_table_is_guarded_and_read_back(tmp_path):
    names = ["=HYPERLINK(1)", "'@x", 'plain, "quoted"', "-0.5"]
    write_csv(tmp_path / "cells.csv", ("name", "score"), [(name, -0.5) for name in names])
    write_rows(tmp_path / "rows.csv", [{"name": name, "score": -0.5} for name in names])
    for path in (tmp_path / "cells.csv", tmp_path / "rows.csv"):
        text = path.read_text()
        assert not any(cell.startswith(("=", "@")) for row in csv.reader(io.StringIO(text)) for cell in row)
        assert [row["name"] for row in TableReader(io.StringIO(text))] == names
        assert {row["score"] for row in TableReader(io.StringIO(text))} == {"-0.5"}


@given(st.lists(CELLS))
def test_a_column_is_guarded_as_its_cells_are(texts):
    assert list(guarded_column(texts)) == [guarded(text) for text in texts]


def test_a_column_without_formulas_is_left_as_it_is():
    assert guarded_column(texts := ["a=1", "b", "", "x - y"]) is texts
