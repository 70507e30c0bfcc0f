"""What `neglab --help` prints: readable without knowing Hydra, and without importing torch."""

from textwrap import fill

from neglab import __version__
from neglab.compose import configs_folder

WIDTH = 120
ROOT_SETTINGS = ("hydra", "paths", "debug")


def version() -> str:
    return __version__


def first_comment(text: str) -> str:
    """The header of a YAML, without the package line."""
    lines = [line[1:].strip() for line in text.splitlines() if line.startswith("#") and "@package" not in line]
    return lines[0] if lines else ""


def groups() -> dict[str, list[str]]:
    """The options of each config group."""
    folders = sorted(path for path in configs_folder().iterdir() if path.is_dir() and path.name not in ROOT_SETTINGS)
    return {folder.name: sorted(path.stem for path in folder.glob("*.yaml")) for folder in folders}


def _wrapped(name: str, options: list[str]) -> str:
    return fill(", ".join(options), WIDTH, initial_indent=f"  {name:18} ", subsequent_indent=" " * 21)


def general_help(commands: list[str]) -> str:
    """The help page."""
    about = {name: first_comment((configs_folder() / f"{name}.yaml").read_text()) for name in commands}
    lines = [
        "neglab: out-of-distribution detection with vision-language models and negative labels",
        "",
        "usage: neglab [command] [group=option ...] [key=value ...]",
        "       neglab -m [command] ...        a sweep: comma-separated values are run one by one",
        "",
        "commands",
        *(f"  {name:16} {text}{'  (default)' if name == 'evaluate' else ''}" for name, text in about.items()),
        "",
        "groups and their options",
        *(_wrapped(name, options) for name, options in groups().items()),
        "",
        "examples",
        "  neglab method=neglabel                             one method on the shipped benchmark",
        "  neglab -m method=mcm,neglabel seed=0,1,2           a table with mean and deviation over seeds",
        "  neglab method=neglabel score.num_groups=1          any value of any YAML can be set",
        "  neglab trainer=gpus backbone=clip_vit_b16          every GPU, a real CLIP",
        "  neglab detect images=photos/ class_names=[cat,dog] which of my images do not belong?",
        "  neglab experiment=neglabel_imagenet1k_four_ood     a published row, beside the paper's numbers",
        "  neglab --cfg job method=neglabel                   show the whole config without running it",
        "",
        "Results lie in outputs/ (one run) and multirun/ (sweeps); embeddings in the store (NEGLAB_STORE).",
        "Hydra's own options: neglab --hydra-help",
    ]
    return "\n".join(lines)
