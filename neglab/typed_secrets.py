"""Passwords and keys come from the environment alone: whatever is typed or set in a config is written into files."""

import re
from collections.abc import Iterator
from typing import Any

from neglab.errors import UserError

USER_INFO = re.compile(r"\w://[^/?#\s@]+@")  # https://user:password@host
QUERY = re.compile(
    r"[?&;][\w-]*(key|token|secret|password|passwd|signature|sig|auth|credential)[\w-]*=[^&\s]", re.IGNORECASE
)
# How the keys of well-known services begin.
KNOWN_KEYS = re.compile(r"\b(sk-[\w-]{16,}|hf_\w{16,}|gh[pousr]_\w{20,}|github_pat_\w{20,}|AKIA[0-9A-Z]{16})")
NAMES = re.compile(r"(^|[._])(api_?key|access_?key|password|passwd|secret|token)$", re.IGNORECASE)


def check_secrets(settings: Any) -> None:
    """Raise a UserError, without showing it, where a config holds what looks like a password or key.

    Args:
        settings: as plain values, with the overrides as they were typed, if there are any.
    """
    for key, text in _texts("", settings):
        name = text.partition("=")[0].lstrip("+~") if key.startswith("hydra.overrides.") else key
        typed = text if name == key else text.partition("=")[2]
        if any(shape.search(typed) for shape in (USER_INFO, QUERY, KNOWN_KEYS)) or (typed and NAMES.search(name)):
            raise UserError(
                f"Passwords and keys must come from the environment, since a run writes its config into files; {name} "
                "holds what looks like one. Leave it out, and put it into an environment variable: for a language "
                "model that which api_key_variable names, OPENAI_API_KEY, and for W&B WANDB_API_KEY."
            )


def _texts(key: str, node: Any) -> Iterator[tuple[str, str]]:
    if isinstance(node, dict):
        for name, value in node.items():
            yield from _texts(f"{key}.{name}".lstrip("."), value)
    elif isinstance(node, list):
        for number, value in enumerate(node):
            yield from _texts(f"{key}.{number}", value)
    elif isinstance(node, str):
        yield key, node
