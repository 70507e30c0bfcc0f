"""What a person may have meant by a name that there is none of."""

from collections.abc import Iterable
from difflib import get_close_matches


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The nearest known name as a question, after a space; empty where none is near."""
    found = get_close_matches(name, list(known), n=1)
    return f" Did you mean {found[0]}?" if found else ""
