import re

import pytest
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from neglab.results.tables import ReportTable, for_console, latex, markdown, read

TABLE = ReportTable(
    "Mean_1 [x]",
    ("method", "seeds", "AUROC ↑", "FPR95 (ID+) ↓"),
    (("mcm", "1", "91.20 ± 0.10", "9.50"), ("neglabel", "2", "91.20", "10.25"), ("a|b_*[c]", "3", "–", "30.00")),
    ("50% & more",),
)


def test_the_best_are_those_shown_best():
    assert TABLE.best() == {(0, 2), (1, 2), (0, 3)}  # 9.5 < 10.25 as numbers; equal values are both best
    assert TABLE._replace(rows=TABLE.rows[:1]).best() == set()  # nothing to beat
    assert TABLE._replace(compares=False).best() == set()
    by_set = ReportTable("AUROC ↑ by OOD set", ("method", "sun"), (("mcm", "80.00"), ("msp", "90.00"), ("gen", "")))
    assert by_set.best() == {(1, 1)}


def test_markdown():
    text = markdown([TABLE])
    assert "| mcm | 1 | **91.20 ± 0.10** | **9.50** |\n| neglabel | 2 | **91.20** | 10.25 |\n" in text
    assert r"| a\|b_\*\[c\] | 3 | – | 30.00 |" in text and "\n50% & more\n" in text


def test_latex_is_escaped():
    text = latex([TABLE._replace(rows=(*TABLE.rows, (r"\input{x}$#~^<>", "1", "90.00", "-1.00")))])
    assert r"mcm & 1 & \textbf{91.20 $\pm$ 0.10} & \textbf{9.50} \\" in text
    assert r"\caption{Mean\_1 [x]}" in text and r"{\footnotesize 50\% \& more\par}" in text
    command = r"\textbackslash{}input\{x\}\$\#\textasciitilde{}\textasciicircum{}\textless{}\textgreater{}"
    assert rf"{command} & 1 & 90.00 & $-$1.00 \\" in text
    assert text.index(r"\toprule") < text.index(r"\midrule") < text.index(r"\bottomrule") < text.index(r"\end{table}")


def test_the_console_shows_bold():
    console = Console(force_terminal=True, color_system="standard", width=120)
    with console.capture() as capture:
        console.print(*for_console(TABLE, console.width))
    text = capture.get()
    assert re.findall("\x1b\\[1m *([0-9.]+)", text) == ["91.20", "9.50", "91.20"]
    assert "a|b_*[c]" in text and "50% & more" in text


@pytest.mark.parametrize("width", [60, 80, 120])
def test_numbers_never_give_way(width):
    """Two long overrides, seven sets and deviations on a narrow screen: labels are folded, figures are whole."""
    names = ("method", *(f"a long name of set {i}" for i in range(7)))
    figures = [[f"{10 * i + j}.5{j} ± 1{i}.0{j}" for j in range(7)] for i in range(2)]
    labels = [f"neglabel id_dataset.root=/data/{'x' * 60}/{i} corpus.path=/words/{'y' * 60}/{i}" for i in range(2)]
    table = ReportTable("Mean", names, tuple((label, *row) for label, row in zip(labels, figures, strict=True)))
    console = Console(width=width)
    with console.capture() as capture:
        console.print(*for_console(table, width))
    text = capture.get()
    assert all(len(line) <= width for line in text.splitlines())
    found = set(re.findall(r"[\d.]+", text))
    assert {number for row in figures for cell in row for number in cell.split(" ± ")} <= found


@pytest.mark.parametrize("label", ["mcm", "x corpus.lexnames=[noun.act]"])
def test_lines_that_name_a_method_become_a_column(label):
    table = Table(title="Against it")
    for heading in ("OOD set", "AUROC ↑"):
        table.add_column(heading)
    for cells in ((escape(label), ""), ("sun", "90.00"), ("dtd", "80.00"), ("other", ""), ("sun", "70.00")):
        table.add_row(*cells)
    table.caption = "1: a note"
    found = read(table)
    assert found.headings == ("method", "OOD set", "AUROC ↑") and found.notes == ("1: a note",)
    assert found.rows == ((label, "sun", "90.00"), (label, "dtd", "80.00"), ("other", "sun", "70.00"))
    assert found.best() == set()  # sets do not compete


def test_words_of_a_label_stay_whole_on_a_narrow_screen():
    figures = ("1", "no", "72.93", "94.69", "39.93", "10.64")
    headings = ("method", "seeds", "ID images", "ID acc. ↑", "AUROC ↑", "FPR95 (ID+) ↓", "FPR95 (OOD+) ↓")
    means = ReportTable("Mean", headings, (("neglabel data.resize=pillow", *figures), ("mcm", *figures)))
    sets = tuple(f"activities {i}" for i in range(6))
    aurocs = ReportTable("AUROC ↑", ("method", *sets), (("neglabel data.resize=pillow", *figures),))
    for table in (means, aurocs):
        console = Console(width=80)
        with console.capture() as capture:
            console.print(*for_console(table, 80))
        assert "data.resize=pillow" in capture.get() and max(map(len, capture.get().splitlines())) <= 80
