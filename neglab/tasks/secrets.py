"""The guard at the door of every run: Hydra writes a config into files before the command begins."""

import sys
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

from neglab.typed_secrets import check_secrets
from neglab.types import UserError


class RefuseSecrets(Callback):
    """Stops a run or sweep before anything is written where a password or key stands in its config or was typed."""

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        try:
            check_secrets(OmegaConf.to_container(config))
        except UserError as error:
            sys.exit(f"\n{error}")  # Hydra turns all other exceptions of a callback into warnings

    on_multirun_start = on_run_start
