"""A filter whose questions a language model on this machine answers."""

from typing import Any

from neglab.chat.huggingface import HuggingFaceChat
from neglab.llm_filter.base import SYSTEM_PROMPT, ChatFilter


class HuggingFaceFilter(ChatFilter):
    """NegRefine's filter with a chat model of the transformers library; answers are stored.

    Args:
        num_nearest, max_unclear, store: see `ChatFilter`.
        model, revision, dtype, device_map, quantisation, batch_size, answer, max_new_tokens, seed: see
            `HuggingFaceChat`.

    Source: Ansari et al., "NegRefine", ICCV 2025; official code at 72e4b82d, neg_filter.py.
    """

    def __init__(
        self,
        model: str,
        revision: str | None,
        dtype: str,
        device_map: Any,
        quantisation: str | None,
        batch_size: int,
        answer: str,
        max_new_tokens: int,
        seed: int,
        num_nearest: int,
        max_unclear: int | float,
        store: str,
    ) -> None:
        chat = HuggingFaceChat(
            model=model,
            revision=revision,
            dtype=dtype,
            device_map=device_map,
            quantisation=quantisation,
            batch_size=batch_size,
            answer=answer,
            max_new_tokens=max_new_tokens,
            seed=seed,
            system_prompt=SYSTEM_PROMPT,
        )
        super().__init__(chat, num_nearest, max_unclear, store)
