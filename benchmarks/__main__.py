"""`python -m benchmarks [name ...]`: run the benchmarks one after the other and print their table of ratios.

All but `gpu`, which needs one and runs by its name alone, with its sizes: `python -m benchmarks gpu images=20000`.

Each runs in a process of its own, alone on the machine. The figures are kept in outputs/benchmarks as JSON, and the
table beside them as table.md.
"""

import json
import subprocess
import sys
import time
from pathlib import Path

from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks.figure import FOLDER, Ratio
from neglab.results.results import pipe_table

HERE = Path(__file__).parent
ON_A_GPU = "gpu"
SHARED = {"__main__", "figure", "labels"}
HEADINGS = ("what", "ratio", "measured", "target", "met")


def names() -> list[str]:
    """One benchmark per file, beside what they share."""
    return sorted(path.stem for path in HERE.glob("*.py") if path.stem not in SHARED)


def rows(figure: dict) -> list[list[str]]:
    """A table row per ratio; the work stands in the first one."""
    found = []
    for i, ratio in enumerate(Ratio(**values) for values in figure["ratios"]):
        verdict, goal = "", ""
        if ratio.target is not None:
            verdict, goal = "yes" if ratio.is_met else "no", f"{'≤' if ratio.at_most else '≥'} {ratio.target:g}"
        found.append([figure["what"] if i == 0 else "", ratio.name, f"{ratio.value:.3g}", goal, verdict])
    return found


def main() -> None:
    sizes = [word for word in sys.argv[1:] if "=" in word]
    typed = [word for word in sys.argv[1:] if "=" not in word]
    if sizes and typed != [ON_A_GPU]:
        raise SystemExit(f"Sizes, such as {sizes[0]}, are those of `python -m benchmarks {ON_A_GPU}`.")
    unknown = sorted(set(typed) - set(names()))
    if unknown:
        raise SystemExit(f"There is no benchmark {', '.join(unknown)}; there are {', '.join(names())}.")
    begin, found, failed = time.perf_counter(), [], []
    for name in track(typed or [name for name in names() if name != ON_A_GPU], "Measuring"):
        finished = subprocess.run(
            [sys.executable, "-m", f"benchmarks.{name}", *sizes], cwd=HERE.parent, capture_output=True, text=True
        )
        if finished.returncode:
            failed.append(f"{name} failed:\n{finished.stderr[-2000:]}")
        else:
            found.append(json.loads((FOLDER / f"{name}.json").read_text()))
    lines = [line for figure in found for line in rows(figure)]
    table = Table(*HEADINGS, title="Ratios, each taken in one run", title_justify="left")
    for line in lines:
        table.add_row(*line)
    console = Console()
    console.print(table)
    if found:
        facts = ", ".join(f"{key} {value}" for key, value in found[0]["machine"].items())
        console.print(f"{facts}; {time.perf_counter() - begin:.0f} s in all", highlight=False)
        text = pipe_table(HEADINGS, ["---", "---", "---:", "---:", "---"], lines)
        (FOLDER / "table.md").write_text(f"{text}\n{facts}\n")
    if failed:
        raise SystemExit("\n".join(failed))


if __name__ == "__main__":
    main()
