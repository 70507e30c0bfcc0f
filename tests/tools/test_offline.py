"""Built pages fetch nothing."""

import importlib.util
from pathlib import Path
from types import SimpleNamespace

import pytest

PATH = Path(__file__).parents[2] / "tools/docs/offline.py"
MERMAID = (
    '<script type="module">const one = (await import("https://cdn.example/mermaid/11/mermaid.mjs")).default;</script>'
)


@pytest.fixture(scope="module")
def built():
    spec = importlib.util.spec_from_file_location("offline", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return lambda output: module.on_post_page(output, SimpleNamespace(file=SimpleNamespace(src_uri="a.md")), None)


def test_the_script_of_notebooks_goes_and_nothing_else(built):
    own = '<script src="assets/a.js"></script><a href="https://example.org">out</a><link rel="canonical" href="https://x">'
    assert built(f"<p>1</p>{MERMAID}{own}<p>2</p>") == f"<p>1</p>{own}<p>2</p>"
    assert built(own) == own


@pytest.mark.parametrize(
    "fetched",
    [
        '<script async src="https://example.org/a.js"></script>',
        '<img alt="a" src="//example.org/a.png">',
        '<link rel="stylesheet" href="https://example.org/a.css">',
        '<script type="module">await import("https://example.org/a.mjs")</script>',
        "<style>@import url(https://example.org/a.css);</style>",
    ],
)
def test_what_would_be_fetched_stops_the_build(built, fetched):
    with pytest.raises(ValueError, match=r"a\.md would fetch .*example\.org"):
        built(f"<p>1</p>{fetched}")
