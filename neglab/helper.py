"""What a process does that helps the first one: it encodes its share, with the backbone of its own config."""

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.utils import instantiate

from neglab.saved_config import construct

if TYPE_CHECKING:
    from neglab.backbone.base import Backbone
    from neglab.passes.prediction import Devices


class Helper:
    """Takes the tasks of one run.

    Args:
        config: the run's, as this process composed it from the same arguments.
    """

    def __init__(self, config: Any) -> None:
        self.config = config

    def __call__(self, content: bytes) -> None:
        """Encode this process's share of a task.

        Raises:
            UserError: the task is none, or for another backbone.
        """
        # Here: every run makes a helper, and most have nobody to help.
        import torch

        from neglab.embedding.module import EmbeddingModule
        from neglab.embedding.store import Store
        from neglab.embedding.task import read_task

        task = read_task(content)
        torch.set_num_threads(task.num_threads)
        batches, folders = task.work(self._backbone, Store(self.config.paths.store))
        devices: Devices = instantiate(self.config.trainer)
        devices.run_share(EmbeddingModule(self._backbone), batches, folders, task.num_workers)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()  # the first process may want this GPU too, for a language model

    @cached_property
    def _backbone(self) -> "Backbone":
        if (saved := self.config.get("detector")) is None:
            return instantiate(self.config.backbone)
        from neglab.detector.saved import read_detector

        settings, _ = read_detector(Path(saved).expanduser())
        return construct("backbone", settings.recipe.groups["backbone"])
