"""What a causal language model says next after many prompts: one forward pass each, and the shared beginning once."""

import copy
import inspect
import logging
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

import torch
from torch import Tensor

logger = logging.getLogger(__name__)

# Relative difference of the two roads' logits at the check: rounding alone, in full and in half precision.
TOLERANCES = {torch.float32: 1e-4}
HALF_TOLERANCE = 5e-2


class NextToken:
    """Next-token logits of a transformers model.

    The short road pads prompts on the left and computes what they all begin with (the system prompt and the fixed
    words of the question) once, as a key-value cache. The plain road batches prompts of one length, without padding
    or cache, and is right for every model. `check` decides which one this model takes.

    Args:
        model: a causal language model of transformers.
        batch_size: prompts per forward pass.
    """

    def __init__(self, model: Any, batch_size: int) -> None:
        self.model = model
        self.batch_size = batch_size
        self.shares_prefix = False
        # A model's own signature: hooks of accelerate wrap the instance's.
        accepted = inspect.signature(type(model).forward).parameters
        self._last_only = {"logits_to_keep": 1} if "logits_to_keep" in accepted else {}

    @torch.inference_mode()
    def check(self, prompts: Sequence[list[int]]) -> None:
        """Take the short road if it gives the plain one's logits on these prompts, which must differ in length."""
        precision = getattr(self.model, "dtype", None)
        tolerance = TOLERANCES.get(precision, HALF_TOLERANCE) if isinstance(precision, torch.dtype) else HALF_TOLERANCE
        plain = _in_order(self._plain(prompts), len(prompts))
        try:
            short = _in_order(self._with_shared_prefix(prompts), len(prompts))
        except (RuntimeError, TypeError, ValueError, AttributeError, NotImplementedError, IndexError) as error:
            logger.info("This language model's cache cannot be shared (%s); prompts are computed whole", error)
            return
        difference = (short - plain).norm(dim=1) / plain.norm(dim=1)
        self.shares_prefix = bool((difference <= tolerance).all())
        if not self.shares_prefix:
            logger.info("A shared cache changes this language model's logits; prompts are computed whole")

    @torch.inference_mode()
    def logits(self, prompts: Sequence[list[int]]) -> Iterator[tuple[list[int], Tensor]]:
        """Batches of positions among the prompts, and their logits [B, V], float32, the longest prompts first."""
        short = self.shares_prefix and len(prompts) > 1
        yield from self._with_shared_prefix(prompts) if short else self._plain(prompts)

    def _plain(self, prompts: Sequence[list[int]]) -> Iterator[tuple[list[int], Tensor]]:
        for _, group in groupby(longest_first(prompts), key=lambda i: len(prompts[i])):
            for positions in batches(list(group), self.batch_size):
                ids = torch.tensor([prompts[i] for i in positions], device=self.model.device)
                output = self.model(input_ids=ids, attention_mask=torch.ones_like(ids), **self._last_only)
                yield positions, output.logits[:, -1].float()

    def _with_shared_prefix(self, prompts: Sequence[list[int]]) -> Iterator[tuple[list[int], Tensor]]:
        device = self.model.device
        # At least one token of each prompt is left: its logits are wanted.
        shared = min(common_length(prompts), min(map(len, prompts)) - 1)
        cache = None
        if shared:
            prefix = torch.tensor([prompts[0][:shared]], device=device)
            cache = self.model(input_ids=prefix, use_cache=True, **self._last_only).past_key_values
        for positions in batches(longest_first(prompts), self.batch_size):
            ids, mask = pad_left([prompts[i][shared:] for i in positions])
            places = shared + (mask.cumsum(dim=1) - 1).clamp(min=0)
            arguments: dict[str, Any] = {"position_ids": places.to(device), "use_cache": True, **self._last_only}
            if cache is not None:
                # The forward pass writes into the cache that it is given.
                arguments["past_key_values"] = batch_cache = copy.deepcopy(cache)
                batch_cache.batch_repeat_interleave(len(positions))
                mask = torch.cat([mask.new_ones(len(positions), shared), mask], dim=1)
            output = self.model(input_ids=ids.to(device), attention_mask=mask.to(device), **arguments)
            yield positions, output.logits[:, -1].float()


def common_length(prompts: Sequence[list[int]]) -> int:
    """Tokens that all prompts begin with: the smallest and the largest in order share no more than all do."""
    pairs = zip(min(prompts), max(prompts), strict=False)
    return next((i for i, (one, other) in enumerate(pairs) if one != other), min(map(len, prompts)))


def longest_first(prompts: Sequence[list[int]]) -> list[int]:
    """Positions by falling length: little padding, and a batch that does not fit the memory fails at once."""
    return sorted(range(len(prompts)), key=lambda i: -len(prompts[i]))


def batches(positions: Sequence[int], batch_size: int) -> Iterator[list[int]]:
    """Runs of at most so many positions."""
    for start in range(0, len(positions), batch_size):
        yield list(positions[start : start + batch_size])


def pad_left(prompts: Sequence[list[int]], padding: int = 0) -> tuple[Tensor, Tensor]:
    """Token ids [B, L] that all end at the right, and the mask [B, L] of the real ones."""
    longest = max(map(len, prompts))
    ids = torch.tensor([[padding] * (longest - len(prompt)) + list(prompt) for prompt in prompts])
    mask = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts])
    return ids, mask


def _in_order(found: Iterator[tuple[list[int], Tensor]], count: int) -> Tensor:
    rows = {i: row for positions, logits in found for i, row in zip(positions, logits, strict=True)}
    return torch.stack([rows[i] for i in range(count)])
