"""The whole way from runs' folders to the page, the Markdown and the LaTeX of a report."""

import base64
import csv
import io
import json
import re
import statistics
import zlib
from html import unescape

import pytest
import torch
from fakes import write_pictures
from PIL import Image

from neglab.compose import compose
from neglab.metrics.intervals import percentile_interval, resampled_metrics
from neglab.plots.comparison import Bar, Chart, Line, Panel, Row
from neglab.plots.contact_sheet import Card
from neglab.plots.detection import roc_curves, score_histograms
from neglab.report.curves import Curves
from neglab.report.page import Block, Report, RunSection, report_page
from neglab.results.environment import write_environment
from neglab.results.examples import Example, write_examples
from neglab.results.results import measure, result_rows, write_results
from neglab.results.score_tables import write_scores
from neglab.results.tables import ReportTable
from neglab.tasks.report import run
from neglab.types import ScoredPair, ScoreTable, UserError, generator

SETS = ("near", "far")
SETTING = {"overrides": "", "backbone": "mini", "id_dataset": "pets", "stream": "none", "num_negatives": 5}


def scored(name, size, shift, noise, draw):
    paths = tuple(f"{name}/{i}.png" for i in reversed(range(size)))  # a run need not write them sorted
    labels = torch.zeros(size, dtype=torch.long) if name.startswith("id") else torch.full((size,), -1)
    scores = torch.linspace(0, 1, size) + shift + noise * torch.randn(size, generator=draw)
    return ScoreTable(name, scores, labels, torch.zeros(size, dtype=torch.long), paths)


def write_run(folder, method, seed, shift, arguments=None, id_names=("id", "id"), sets=SETS, **setting):
    """What a finished run leaves, by the very functions that write it."""
    (folder / ".hydra").mkdir(parents=True)
    overrides = [f"method={method}", f"seed.value={seed}"] if arguments is None else arguments
    (folder / ".hydra/overrides.yaml").write_text(json.dumps(overrides))
    (folder / ".hydra/hydra.yaml").write_text("hydra: {job: {config_name: evaluate}}")
    draw = generator(seed)
    known = {name: scored(name, 40, shift, 0.4, draw) for name in id_names}
    pairs = [ScoredPair(known[own], scored(name, 30, 0, 0.4, draw)) for own, name in zip(id_names, sets, strict=False)]
    metrics = measure(pairs)
    described = {"method": method, **SETTING, "seed": seed, **setting}
    write_results(folder, result_rows(described, metrics), metrics)
    write_scores(folder, pairs, ("cat",), "csv")
    write_environment(folder)
    both = {pair.ood_images.dataset: (pair.id_images.scores, pair.ood_images.scores) for pair in pairs}
    for name in ("score_histograms", "roc_curves"):
        Image.new("RGB", (120, 90)).save(folder / f"{name}.png")
    return metrics, both


def killed_run(folder, command="evaluate"):
    (folder / ".hydra").mkdir(parents=True)
    (folder / ".hydra/overrides.yaml").write_text("- method=csp\n- seed.value=2\n")
    (folder / ".hydra/hydra.yaml").write_text(f"hydra: {{job: {{config_name: {command}}}}}")


@pytest.fixture
def report(tmp_path, capsys):
    """Runs `neglab report` on a folder; returns what is in report.html, .md, .tex and .csv and on the console."""

    def make(*overrides):
        output = tmp_path / "report"
        output.mkdir(exist_ok=True)
        run(compose([f"runs={tmp_path}/multirun", f"pictures={tmp_path}", *overrides], "report", output))
        texts = [(output / f"report.{ending}").read_text() for ending in ("html", "md", "tex")]
        with (output / "report.csv").open(newline="") as file:
            return *texts, list(csv.DictReader(file)), capsys.readouterr().out

    return make


def page_tables(page):
    """By title, the lines of each table, as text."""
    found = re.findall(r"<h3>([^<]*)</h3>\s*<div class=\"scroll\"[^>]*><table>(.*?)</table>", page, re.DOTALL)
    rows = {title: re.findall(r"<tr>(.*?)</tr>", body, re.DOTALL)[1:] for title, body in found}
    return {
        unescape(title): [
            [unescape(re.sub("<.*?>", "", cell)) for cell in re.findall("<td>.*?</td>", row)] for row in body
        ]
        for title, body in rows.items()
    }


def shown_pictures(page):
    """By kind, the pictures that a reader sees, whole."""
    found = re.findall(r'src="data:image/(png|webp);base64,([^"]+)"', page)
    pictures = [(kind, Image.open(io.BytesIO(base64.b64decode(content)))) for kind, content in found]
    for _, picture in pictures:
        picture.load()
    return {kind: [picture for other, picture in pictures if other == kind] for kind in ("png", "webp")}


def curves(page):
    return " ".join(re.findall(r'points="([^"]*)"', page))


def test_the_page_of_a_killed_sweep_holds_its_rows_numbers_and_pictures(report, tmp_path):
    sweep = tmp_path / "multirun/day/time"
    mcm = [write_run(sweep / f"{seed}_mcm", "mcm", seed, 0.3)[0] for seed in (0, 1)]
    gen, scores = write_run(sweep / "2_gen", "gen", 0, 0.9, ["method=gen", "prompt.text=a; <b>"])
    score_histograms(scores, "gen", sweep / "2_gen/score_histograms.png")
    roc_curves(scores, {name: gen[f"ood/{name}/auroc"] for name in SETS}, "gen", sweep / "2_gen/roc_curves.png")
    killed_run(sweep / "3_csp")
    killed_run(sweep / "4_learn", command="learn")  # leaves no results.csv when it is done, either
    page, markdown, latex, _, console = report()
    tables = page_tables(page)
    assert [len(rows) for rows in tables.values()] == [2, 2, 2, 1]
    means, by_set = list(tables.values())[:2]
    auroc = [run["ood/mean/auroc"] for run in mcm]
    shown = f"{100 * statistics.mean(auroc):.2f} ± {100 * statistics.stdev(auroc):.2f}"
    fpr = [f"{100 * gen[f'ood/mean/fpr95_{side}_positive']:.2f}" for side in ("id", "ood")]
    assert (means[0][0], means[0][4]) == ("mcm", shown)
    assert means[1] == ["gen", "1", "no", "100.00", f"{100 * gen['ood/mean/auroc']:.2f}", *fpr]
    assert by_set[1] == ["gen", *(f"{100 * gen[f'ood/{name}/auroc']:.2f}" for name in SETS)]
    best = f"{100 * gen['ood/mean/auroc']:.2f}"
    assert f"<b>{best}</b>" in page and f"**{best}**" in markdown and rf"\textbf{{{best}}}" in latex
    pictures = shown_pictures(page)
    assert len(pictures["png"]) == 6 and all(picture.width > 100 for picture in pictures["png"])
    assert not pictures["webp"]
    assert len(re.findall('class="chart"', page)) == 3
    assert re.findall(r'class="bar series s(\d)"><span>(\w+)', page) == [("0", "mcm"), ("1", "gen")] * 3
    assert len(re.findall("<polyline", page)) == 2 * len(SETS) + 2 * 2  # a curve per set, two histograms per method
    assert all(
        0 <= float(x) <= 340 and 0 <= float(y) <= 232 for x, y in re.findall(r"([\d.-]+),([\d.-]+) ", curves(page))
    )
    assert "neglab method=gen &#39;prompt.text=a; &lt;b&gt;&#39;" in page  # as a shell takes it
    assert "neglab method=csp seed.value=2" in page and "3 finished runs, 1 without a result" in page
    assert all("3_csp" in text for text in (page, markdown, console)) and "4_learn" not in page + console
    assert "://" not in page and not re.search(r'(src|href)="(?!data:|#)', page)  # nothing is fetched
    assert page.count("<main>") == 1 and 'name="viewport"' in page
    links, targets = re.findall(r'href="#([^"]+)"', page), re.findall(r' id="([^"]+)"', page)
    assert {"block1", "runs"} <= set(links) <= set(targets) and len(targets) == len(set(targets))
    assert all(len(text) > 10 for text in re.findall(r'<img [^>]*alt="([^"]*)"', page))


def test_runs_share_the_table_of_their_environment(report, tmp_path):
    for i in range(3):
        write_run(tmp_path / f"multirun/{i}", "mcm", i, 0.3)
    other = tmp_path / "multirun/2/environment.json"
    content = json.loads(other.read_text())
    other.write_text(json.dumps({**content, "torch": "<1.0>", "command": "neglab -m seed=0,1,2"}))
    page = report("bootstrap.resamples=null")[0]
    tables = re.findall(r'<p class="note">([^<]*)</p>\s*<table class="environment">(.*?)</table>', page)
    assert [titles for titles, _ in tables] == ["mcm seed 0, mcm seed 1, this report", "mcm seed 2"]
    assert f"<td>torch</td><td>{content['torch']}</td>" in tables[0][1]
    assert "<td>torch</td><td>&lt;1.0&gt;</td>" in tables[1][1]
    assert page.count("typed as") == 3 and page.count("neglab -m seed=0,1,2") == 1
    assert [number for number in re.findall(r">environment (\d)<", page)] == ["1", "1", "2"]


def test_examples_are_shown_with_what_decided(report, tmp_path):
    write_run(tmp_path / "multirun/0", "neglabel", 0, 0.3)
    write_pictures(tmp_path / "pictures", 3, seed=0)
    paths = [*map(str, sorted((tmp_path / "pictures").iterdir())), "archive.tar/x.png"]
    examples = [
        Example(name, path, "cat" if name == "id" else "", 0.5, "dog", 0.25, (("rust", 0.125), ("sand", 0.0625)))
        for name in ("id", "near")
        for path in paths
    ]
    write_examples(tmp_path / "multirun/0/examples.csv", examples)
    page = report("bootstrap.resamples=null")[0]
    cards = re.findall("<figure.*?</figure>", page, re.DOTALL)
    assert len(cards) == 8 and [name for name in re.findall("<h4>(.*?)</h4>", page)] == [
        "id: least like ID",
        "near: most like ID",
    ]
    pictures = shown_pictures(page)["webp"]
    assert len(pictures) == 6 and all(picture.width > 0 for picture in pictures)
    assert "cat: x.png" in cards[3] and "img" not in cards[3]  # what is no file is text
    labels = re.findall("<span>([^<]*)</span><em>(.*?)</em>", cards[7])
    assert labels == [("dog", "25.0%"), ("rust", "12.5%"), ("sand", "6.2%")]
    assert len(re.findall("<figure", report("bootstrap.resamples=null", "num_examples=1")[0])) == 2
    assert "<figure" not in report("bootstrap.resamples=null", "num_examples=0")[0]


def test_a_run_of_someone_else_shows_no_picture_of_mine(report, tmp_path):
    write_run(tmp_path / "multirun/0", "neglabel", 0, 0.3)
    private, shared = tmp_path / "private", tmp_path / "shared"
    for folder in (private, shared):
        write_pictures(folder, 1, seed=0)
    (name,) = (path.name for path in private.iterdir())
    (shared / "mine").symlink_to(private)  # the owner's own link
    paths = [f"{private}/{name}", f"{shared}/../private/{name}", f"{shared}/{name}", f"{shared}/mine/{name}"]
    examples = [Example("near", path, "", 0.5, "dog", 0.25, (("rust", 0.125),)) for path in paths]
    write_examples(tmp_path / "multirun/0/examples.csv", examples)
    drawn = tmp_path / "multirun/0/roc_curves.png"
    drawn.unlink()
    drawn.symlink_to(private / name)
    page = report("bootstrap.resamples=null", f"pictures=[{shared}]")[0]
    cards = re.findall("<figure.*?</figure>", page, re.DOTALL)
    assert ["<img" in card for card in cards] == [False, False, True, True]
    assert all("not shown" in card for card in cards[:2])
    assert len(shown_pictures(page)["png"]) == 1
    assert len(shown_pictures(report("bootstrap.resamples=null", f"pictures={shared}")[0])["webp"]) == 2


def test_a_number_that_a_sweep_varied_is_drawn(report, tmp_path):
    for i, count in enumerate((1, 10)):
        write_run(tmp_path / f"multirun/{i}", "neglabel", 0, 0.3, overrides=f"score.num_groups={count}")
    page = report("bootstrap.resamples=null")[0]
    assert "<h3>score.num_groups on pets</h3>" in page
    assert len(shown_pictures(page)["png"]) == 1 + 4  # two of each run


def test_intervals_are_those_of_the_images(report, tmp_path):
    """Paths are sorted before images are drawn; seeds are averaged draw by draw."""
    runs = [write_run(tmp_path / f"multirun/{seed}", "mcm", seed, 0.4)[1] for seed in (0, 1)]
    page, _, _, rows, _ = report("bootstrap.resamples=50", "bootstrap.level=0.8", "bootstrap.seed=7")
    order = {size: sorted(range(size), key=lambda i, size=size: f"{size - 1 - i}.png") for size in (40, 30)}
    drawn = {}
    for name, row in zip(SETS, rows, strict=True):
        seed = 7 + 1 + zlib.crc32(name.encode())
        values = [
            resampled_metrics(found[name][0].double()[order[40]], found[name][1].double()[order[30]], 50, 7, seed)
            for found in runs
        ]
        drawn[name] = sum(value["auroc"] for value in values) / 2
        assert (float(row["auroc_low"]), float(row["auroc_high"])) == pytest.approx(
            percentile_interval(drawn[name], 0.8)
        )
        assert float(row["auroc_low"]) < float(row["auroc_mean"]) < float(row["auroc_high"])
    low, high = percentile_interval((drawn["near"] + drawn["far"]) / 2, 0.8)
    assert f"[{100 * low:.2f}, {100 * high:.2f}]" in page and "80% bootstrap intervals" in page


def test_the_two_best_are_paired_on_the_same_images(report, tmp_path):
    for i, (method, shift) in enumerate((("worst", 0.1), ("best", 1.5), ("second", 0.5))):
        write_run(tmp_path / f"multirun/{i}", method, 3, shift)
    ((best, second, difference, interval, p),) = page_tables(report("bootstrap.resamples=199")[0])[
        "The two best by mean AUROC, paired over the images, in percent"
    ]
    assert (best, second, p) == ("best", "second", "0.0100")  # 2 / 200: no resample has it otherwise
    low, high = map(float, interval.strip("[]").split(", "))
    assert 0 < low < float(difference) < high
    path = tmp_path / "multirun/2/scores/far.csv"
    path.write_text(path.read_text().replace("far/0.png", "far/other.png"))
    page = report("bootstrap.resamples=199")[0]
    assert "not both have their scores of the same images" in page and "0.0100" not in page


def test_adaptive_scores_stand_apart_with_their_own_id_scores(report, tmp_path):
    write_run(tmp_path / "multirun/0", "mcm", 0, 0.3)
    stream = {"stream": "shuffled, batches of 256", "stream_seed": 0}
    write_run(tmp_path / "multirun/1", "adaneg", 0, 0.9, id_names=("id_near", "id_far"), **stream)
    tables = page_tables(report("bootstrap.resamples=20")[0])
    assert [len(rows) for rows in tables.values()] == [1, 1, 1]  # each title twice: for either benchmark
    assert "<b>" not in report("bootstrap.resamples=20")[0]  # neither beats the other
    assert "learning from the stream (shuffled, batches of 256)</h2>" in report("bootstrap.resamples=20")[0]


def test_id_sets_do_not_compete(report, tmp_path):
    write_run(tmp_path / "multirun/0", "mcm", 0, 0.3)
    write_run(tmp_path / "multirun/1", "mcm", 0, 0.9, id_dataset="birds")
    page, markdown, *_ = report("bootstrap.resamples=null")
    assert re.findall(r'<h2 id="block\d">(.*?)</h2>', page) == ["pets against near, far", "birds against near, far"]
    assert markdown.count("birds against near, far. ") == 2


def test_a_run_on_fewer_sets_wins_nothing(report, tmp_path):
    """Its mean is over easier sets: it stands in a table of its own."""
    write_run(tmp_path / "multirun/0", "mcm", 0, 0.3)
    write_run(tmp_path / "multirun/1", "gen", 0, 0.6)
    write_run(tmp_path / "multirun/2", "easy", 0, 3.0, sets=("far",))
    page, markdown, _, _, console = report("bootstrap.resamples=null")
    blocks = page.split("<section>")[1:]
    assert ["easy" in block for block in blocks[:2]] == [False, True] and "<b>" not in blocks[1]
    assert "pets against far. " in markdown and "pets against far. " in " ".join(console.split())


def test_lost_scores_leave_the_intervals_out(report, tmp_path):
    write_run(tmp_path / "multirun/0", "mcm", 0, 0.3)
    (tmp_path / "multirun/0/scores/far.csv").unlink()
    page, _, _, rows, _ = report()
    assert "scores/ are gone" in page and "auroc_low" not in rows[0]


DAMAGED = {
    "scores/far.csv": (b"path,id_score\na.png,high\n", "ValueError"),
    "environment.json": (b'{"torch": ', "DamagedError"),
    "examples.csv": (b"dataset,path\nid,a.png\n", "KeyError"),
    "roc_curves.png": (b"\x89PNG\r\n\x1a\n", "SyntaxError|OSError|UnidentifiedImageError"),
}


def test_damaged_files_are_named_and_stop_nothing(report, tmp_path):
    write_run(tmp_path / "multirun/0", "mcm", 0, 0.3)
    write_run(tmp_path / "multirun/1", "gen", 0, 0.6)
    for name, (content, _) in DAMAGED.items():
        (tmp_path / "multirun/0" / name).write_bytes(content)
    (tmp_path / "multirun/0/.hydra/overrides.yaml").write_text("[")
    (tmp_path / "multirun/0/.hydra/hydra.yaml").write_text("hydra:")
    page, markdown, _, rows, console = report("bootstrap.resamples=20")
    for name, (_, error) in DAMAGED.items():
        for text in (unescape(page), markdown, console):
            assert len(re.findall(rf"multirun/0/{name} cannot be read \(({error})", text)) == 1
    assert [("auroc_low" in row and row["auroc_low"] != "") for row in rows] == [False, False, True, True]
    assert len(shown_pictures(page)["png"]) == 2 and "2 finished runs" in page


@pytest.mark.parametrize("override", ["resamples=0", "resamples=many", "level=1", "level=95", "seed=-1"])
def test_a_bootstrap_that_cannot_be(report, override):
    with pytest.raises(UserError, match=r"bootstrap\.(resamples|level|seed) must"):
        report(f"bootstrap.{override}")


def test_names_are_escaped():
    table = ReportTable("<var>", ("<u>", "AUROC ↑"), (("<script>", "1"), ("b", "2")), ("<s>",))
    cards = {"<h5>": [Card("<q>", "", b"", 0.5, None, (("<dfn>", 0.5, True),))]}
    section = RunSection("<sup>\"'", "<a>", "<tt>", "<kbd>", [(b"x", "<sup>\"'")], cards, {"<b3>": "<b4>"})
    curves, unfinished, damaged = [Curves('<h6>"', b"x")], [("<del>", "<ins>", "<b5>")], ["<mark>"]
    chart = Chart("<b7>", [("<b9>", "s0")], [Panel("<em2>", [Row(0, "<i2>", Bar(2, 1, 3))]), Panel('<p2>"', lines=[
        Line("<title2>", "s0", [(0, 0), (1, 1)])], across="<text2>", guide_up=(0.5, "<path2>"))])  # fmt: skip
    blocks = [Block("<b6>", [table], [chart], ["<b8>"])]
    page = report_page(Report("<b1>", ["<b2>"], blocks, [table], curves, [section], unfinished, damaged, {}))
    unsafe = "var|u|s|sup|a|tt|kbd|q|dfn|h5|h6|del|ins|mark|b[1-9]|(em|i|p|title|text|path)2"
    assert not re.search(f'<({unsafe})>|<script>"', page) and page.count("<script>") == 1
    assert "&lt;script&gt;" in page and 'alt="&lt;sup&gt;&#34;&#39;"' in page and "<b>2</b>" in page
