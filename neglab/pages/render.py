"""Pages from templates: everything that is put in is escaped, and a page needs no other file."""

import base64
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from neglab.digits import percent, shown

FOLDER = Path(__file__).parent


def render(template: str, **values: Any) -> str:
    """The page of a template of this folder.

    Args:
        template: its file's name.
        values: what it shows, as plain text; HTML in it is shown as it is written.
    """
    return _environment().get_template(template).render(values)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"digits": shown, "percent": percent, "base64": _base64}
    return environment


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()
