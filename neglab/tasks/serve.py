"""`neglab serve`: a saved detector behind HTTP."""

import logging
import os
from ipaddress import ip_address

from hydra.utils import instantiate
from omegaconf import DictConfig
from rich.console import Console

from neglab.detector import Detector
from neglab.types import UserError

TOKEN = "NEGLAB_TOKEN"

logger = logging.getLogger(__name__)


def run(config: DictConfig) -> None:
    """Answer until SIGINT or SIGTERM.

    Raises:
        UserError: no such detector, a method that learns while it tests, a port in use, or a package that is missing.
    """
    try:
        from neglab.service.app import Judging, make_app
        from neglab.service.server import listen, make_server
    except ModuleNotFoundError as error:
        raise UserError(f"A server needs the package {error.name}: pip install 'neglab[serve]'") from error
    token = os.environ.get(TOKEN) or None
    with listen(config.host, config.port) as place:  # before the weights are loaded
        detector, limits = Detector.load(config.detector, config.device), instantiate(config.limits)
        judging = Judging(detector, instantiate(config.batches), limits, config.num_negatives)
        app = make_app(judging, list(config.url_hosts), token)
        if token is None and not is_loopback(config.host):
            logger.warning("Whoever reaches %s may ask this server: set %s to a token of your own", config.host, TOKEN)
        port = place.getsockname()[1]
        shown = f"[{config.host}]" if ":" in config.host else config.host
        console = Console()
        console.print(repr(detector), highlight=False, markup=False, soft_wrap=True)
        console.print(f"Serving http://{shown}:{port}/v1/detect; the page is /docs. Ctrl-C ends it.", highlight=False)
        try:
            make_server(app, limits).run(sockets=[place])
        except KeyboardInterrupt:  # what it held is answered
            console.print("Stopped.")


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches it."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
