"""What loading a model of any library needs: fixed random weights, short errors, a digest of the words."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

RANDOM_WEIGHTS_SEED = 0
MESSAGE_LENGTH = 300  # characters of a library's own error that a user sees: some list every weight


@contextmanager
def fixed_random_weights() -> Iterator[None]:
    """What a library draws while it builds a network comes from one seed, and what it leaves unset is NaN.

    open_clip leaves CoCa's last projection so, which embeddings do not need. The global state is untouched.
    """
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    with torch.random.fork_rng(devices=[]):
        # torch.manual_seed would reseed the GPUs too.
        torch.default_generator.manual_seed(RANDOM_WEIGHTS_SEED)
        torch.use_deterministic_algorithms(True, warn_only=True)
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(before[0], warn_only=before[1])


def brief(error: Exception | str) -> str:
    """A library's error, or a part of it, on one line, cut where it is long."""
    message = " ".join(str(error).split()) or type(error).__name__
    return message if len(message) <= MESSAGE_LENGTH else f"{message[:MESSAGE_LENGTH]} ..."


def vocabulary_digest(tokenizer: Any) -> str:
    """Of a transformers tokenizer: its words and rules."""
    rules = getattr(tokenizer, "backend_tokenizer", None)  # tokenizers written in Python alone have none
    content = rules.to_str() if rules is not None else json.dumps(tokenizer.get_vocab(), sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()
