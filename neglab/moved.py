"""Import paths of version 0.1, as scripts and YAMLs of one's own may hold them, lead to where the modules are now."""

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

MOVED = {
    "neglab.calibration": "neglab.detector.calibration",
    "neglab.embedder": "neglab.embedding.embedder",
    "neglab.modules.prediction": "neglab.passes.prediction",
    "neglab.predictions": "neglab.detector.predictions",
    "neglab.prototypes": "neglab.weights.prototypes",
    "neglab.pytorch_ood": "neglab.detector.pytorch_ood",
    "neglab.store": "neglab.embedding.store",
    "neglab.tasks.aggregate": "neglab.results.aggregate",
    "neglab.tasks.published": "neglab.results.published",
    "neglab.tasks.results": "neglab.results.results",
    "neglab.text_encoder": "neglab.embedding.text_encoder",
}


class MovedModules(MetaPathFinder, Loader):
    """Answers for a module that has moved by one whose names are the new module's."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        return ModuleSpec(fullname, self) if fullname in MOVED else None

    def exec_module(self, module: ModuleType) -> None:
        now = import_module(MOVED[module.__name__])
        module.__dict__.update({name: value for name, value in vars(now).items() if not name.startswith("__")})


def install() -> None:
    """Asked last, so that it costs nothing while all is where it should be."""
    if not any(isinstance(finder, MovedModules) for finder in sys.meta_path):
        sys.meta_path.append(MovedModules())
