"""Draws which room of neglab imports which, at two commits: docs/pictures/rooms.svg.

python tools/docs/rooms.py 3af8efb HEAD

A room is a folder of neglab/ or a module beside them. It stands above all that it imports; an import that follows from
others is not drawn.
"""

import ast
import subprocess
import sys
from collections import Counter, defaultdict
from html import escape
from pathlib import Path

import networkx as nx

PICTURE = Path(__file__).parents[2] / "docs/pictures/rooms.svg"
WIDTH, ROW, BOX, GAP = 980, 54, 22, 12
LETTER = 6.6  # of a name's width
LEFT_OUT = {"__init__", "assets", "moved"}  # the face, data, and the table of old paths


def git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], check=True, capture_output=True, text=True).stdout


def rooms(commit: str) -> tuple[nx.DiGraph, set[str]]:
    """The imports of a commit, from importer to imported, and which rooms are folders."""
    graph, folders = nx.DiGraph(), set()
    for path in git("ls-tree", "-r", "--name-only", commit, "neglab/").split():
        parts = path.removesuffix(".py").split("/")
        if not path.endswith(".py") or parts[1] in LEFT_OUT:
            continue
        room = parts[1]
        graph.add_node(room)
        folders |= {room} if len(parts) > 2 else set()
        for node in ast.walk(ast.parse(git("show", f"{commit}:{path}"))):
            names = [node.module] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if names == ["neglab"]:
                names = [f"neglab.{alias.name}" for alias in node.names]
            found = {name.split(".")[1] for name in names if name and name.startswith("neglab.")}
            graph.add_edges_from((room, other) for other in found - {room, "__version__", *LEFT_OUT})
    return graph, folders


def panel(commit: str, title: str, top: int) -> tuple[str, int]:
    """The drawing of a commit, and its height."""
    graph, folders = rooms(commit)
    levels = {room: number for number, row in enumerate(nx.topological_generations(graph.reverse())) for room in row}
    rows = defaultdict(list)
    for room in sorted(graph):
        rows[levels[room]].append(room)
    places = {}
    for number, row in rows.items():
        widths = [len(room) * LETTER + 16 for room in row]
        x = (WIDTH - sum(widths) - GAP * (len(row) - 1)) / 2
        for room, width in zip(row, widths, strict=True):
            places[room] = (x, top + 44 + (len(rows) - 1 - number) * ROW, width)
            x += width + GAP
    lines = []
    for above, below in sorted(nx.transitive_reduction(graph).edges):
        (x, y, width), (to_x, to_y, to_width) = places[above], places[below]
        start, end, middle = x + width / 2, to_x + to_width / 2, (y + BOX + to_y) / 2
        lines.append(
            f'<path d="M{start:.0f} {y + BOX}C{start:.0f} {middle:.0f} {end:.0f} {middle:.0f} {end:.0f} {to_y}"/>'
        )
    boxes = [
        f'<rect x="{x:.0f}" y="{y}" width="{width:.0f}" height="{BOX}" rx="5"{"" if room in folders else FILE}/>'
        f'<text x="{x + width / 2:.0f}" y="{y + 15}">{escape(room)}</text>'
        for room, (x, y, width) in places.items()
    ]
    kinds = Counter(room in folders for room in graph)
    count = graph.number_of_edges()
    head = f"{title}: {kinds[True]} folders and {kinds[False]} files on {len(rows)} levels, {count} imports"
    drawn = (
        f'<text class="head" x="20" y="{top + 24}">{head}</text><g class="lines">{"".join(lines)}</g>{"".join(boxes)}'
    )
    return drawn, 60 + len(rows) * ROW


FILE = ' class="file"'
STYLE = (
    "text{font:11px system-ui,sans-serif;text-anchor:middle;fill:#1f2937}.head{font-size:14px;text-anchor:start}"
    "rect{fill:#eef1fb;stroke:#4051b5}.file{fill:#fff;stroke:#9aa3b2}.lines{fill:none;stroke:#6b7280;stroke-opacity:.45}"
)

if __name__ == "__main__":
    before, height = panel(sys.argv[1], "Before", 0)
    now, more = panel(sys.argv[2], "Now", height)
    label = "Which room of neglab imports which, before and after the rooms were regrouped."
    PICTURE.write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height + more}" role="img" '
        f'aria-label="{label}">'
        f'<style>{STYLE}</style><path fill="#fff" d="M0 0H{WIDTH}V{height + more}H0z"/>{before}{now}</svg>\n'
    )
