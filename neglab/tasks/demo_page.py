"""`neglab demo_page`: a saved detector on a page in the browser."""

import os
from importlib import import_module

from omegaconf import DictConfig
from rich.console import Console

from neglab.detector import Detector
from neglab.service.page import make_page
from neglab.types import UserError


def run(config: DictConfig) -> None:
    """Show the page until Ctrl-C.

    Raises:
        UserError: no such detector, a method that learns while it tests, a port in use, or Gradio is missing.
    """
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # the page stays on this machine
    try:
        import_module("gradio")  # before the weights are loaded
    except ModuleNotFoundError as error:
        raise UserError(f"The page needs the package {error.name}: pip install 'neglab[page]'") from error
    page = make_page(Detector.load(config.detector, config.device), config.num_negatives)
    console = Console()
    console.print(f"The page is http://{config.host}:{config.port}. Ctrl-C ends it.", highlight=False)
    try:
        page.launch(server_name=config.host, server_port=config.port, share=False, show_error=True, quiet=True)
    except OSError as error:
        raise UserError(f"Port {config.port} of {config.host} cannot be had: {error}. Choose another port=.") from error
    console.print("Stopped.")
