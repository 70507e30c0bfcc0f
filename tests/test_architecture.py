"""The house rules, held against the code."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "neglab"
MODULES = sorted(PACKAGE.rglob("*.py"))
LEVELS = [
    {
        "moved",
        "errors",
        "config_files",
        "ranges",
        "csv_cells",
        "columns",
        "nearest",
        "digits",
        "run_log",
        "sigterm",
        "on_device",
    },
    {"types", "config_check", "typed_secrets", "typed_overrides"},
    {"files", "mistakes"},
    {"mapped"},
    {"parts", "places"},
    {"text_rows"},
    {"weights"},
    {"wordnet", "backbone", "inversion", "pages"},
    {"context", "chat", "saved_config"},
    {
        "corpus",
        "prompt_learner",
        "data",
        "prompt",
        "negative_selector",
        "llm_filter",
        "score",
        "stream",
        "metrics",
        "plots",
        "logger",
    },
    {"passes"},
    {"embedding"},
    {"modules"},
    {"pipeline"},
    {"compose"},
    {"detector"},
    {"helper", "results", "service"},
    {"report"},
    {"tasks", "help", "__init__"},
    {"cli"},
]
LEVEL = {room: number for number, rooms in enumerate(LEVELS) for room in rooms}
ALLOWED_IMPORTS = {
    "wandb": {"logger"},
    "ray": {"passes", "embedding"},
    "fsspec": {"places"},
    "lightning": {"passes", "embedding", "modules", "prompt_learner", "logger", "tasks"},
    "hydra": {"cli", "mistakes", "compose", "helper", "results", "tasks"},
    "omegaconf": {"cli", "mistakes", "compose", "results", "report", "tasks"},
}
METHOD_GROUPS = ("backbone", "corpus", "prompt", "negative_selector", "llm_filter", "score")


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_rooms_import_only_what_lies_below_them(path):
    own = room(path)
    for name in imports(path):
        parts = name.split(".")
        if parts[0] == "neglab" and len(parts) > 1 and parts[1] in LEVEL and parts[1] != own:
            assert LEVEL[parts[1]] < LEVEL[own], f"{path} imports {name}"
        if parts[0] in ALLOWED_IMPORTS:
            assert own in ALLOWED_IMPORTS[parts[0]], f"{path} imports {name}"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_modules_and_functions_stay_small(path):
    text = path.read_text()
    assert len(text.splitlines()) <= 300
    assert "from __future__ import annotations" not in text
    assert path.stem not in {"utils", "common", "helpers"}
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno - node.lineno < 60, f"{path}: {node.name}"


# What reads code, or runs what it reads.
FORBIDDEN_IMPORTS = {"pickle", "_pickle", "cPickle", "dill", "cloudpickle", "marshal", "shelve", "jsonpickle"}
FORBIDDEN_CALLS = {"eval", "exec", "__import__", "execfile", "os.system", "os.popen", "runpy.run_path"}
FORBIDDEN_CALLS |= {"yaml.load", "yaml.load_all", "yaml.unsafe_load", "yaml.full_load", "read_pickle", "pandas.eval"}
# Those that do so unless they are told not to.
NEEDED_KEYWORDS = {"torch.load": ("weights_only", True)}
FORBIDDEN_KEYWORDS = {("allow_pickle", True), ("weights_only", False), ("trust_remote_code", True), ("shell", True)}


def forbidden(tree: ast.AST) -> list[str]:
    """What a module does that could run what it reads."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = {getattr(node, "module", None), *(alias.name for alias in node.names)}
            found += [name for name in names if name and FORBIDDEN_IMPORTS & {*name.split(".")}]
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            keywords = {(key.arg, getattr(key.value, "value", None)) for key in node.keywords}
            found += [name] * (name in FORBIDDEN_CALLS or name.rpartition(".")[2] == "read_pickle")
            found += [f"{name}({key}={value})" for key, value in keywords & FORBIDDEN_KEYWORDS]
            found += [name] * (name in NEEDED_KEYWORDS and NEEDED_KEYWORDS[name] not in keywords)
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_nothing_that_is_read_is_run(path):
    assert not forbidden(ast.parse(path.read_text()))


@pytest.mark.parametrize(
    "line",
    [
        "import pickle",
        "from cloudpickle import loads",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "np.load(path, allow_pickle=True)",
        "yaml.load(text, yaml.Loader)",
        "eval(text)",
        "AutoModel.from_pretrained(name, trust_remote_code=True)",
        "subprocess.run(line, shell=True)",
        "pandas.read_pickle(path)",
    ],
)
def test_what_would_run_is_seen(line):
    assert forbidden(ast.parse(line))


@pytest.mark.parametrize("line", ["torch.load(path, weights_only=True)", "np.load(path)", "re.compile(text)"])
def test_what_runs_nothing_is_allowed(line):
    assert not forbidden(ast.parse(line))


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("__init__.py")), ids=lambda path: path.parent.name)
def test_init_files_hold_no_code(path):
    allowed = (ast.Import, ast.ImportFrom, ast.Expr, ast.Assign)
    others = [node for node in ast.parse(path.read_text()).body if not isinstance(node, allowed)]
    if path == PACKAGE / "__init__.py":  # neglab.Detector is imported when it is asked for
        assert [getattr(node, "name", "if") for node in others] == ["if", "__dir__", "__getattr__"]
    elif path == PACKAGE / "metrics" / "__init__.py":  # so are the metrics: a report needs no torchmetrics
        assert [getattr(node, "name", "if") for node in others] == ["if", "__getattr__"]
    else:
        assert not others


@pytest.mark.parametrize("group", METHOD_GROUPS)
def test_one_name_in_four_places(group):
    yamls = "".join(path.read_text() for path in (ROOT / "configs" / group).glob("*.yaml"))
    for path in (PACKAGE / group).glob("*.py"):
        if path.stem not in {"__init__", "base"}:
            assert f"neglab.{group}.{path.stem}." in yamls, f"no YAML in configs/{group} builds {path}"
            assert (ROOT / "tests" / group / f"test_{path.stem}.py").is_file(), f"{path} has no test"


def test_the_help_page_needs_no_torch():
    for path in (PACKAGE / name for name in ("__init__.py", "cli.py", "compose.py", "help.py")):
        tree = ast.parse(path.read_text())
        top = {name for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom) for name in _names(node)}
        assert not {"torch", "neglab.types", "neglab.tasks"} & top


def _names(node):
    return {node.module} if isinstance(node, ast.ImportFrom) else {alias.name for alias in node.names}
