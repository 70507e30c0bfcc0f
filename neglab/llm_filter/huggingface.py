"""A filter whose questions a language model on this machine answers."""

from typing import Any

from neglab.chat.answers import StoredAnswers
from neglab.chat.huggingface import HuggingFaceChat
from neglab.llm_filter.base import SYSTEM_PROMPT, LabelFilter, QuestionFilter
from neglab.types import FilterResult, LabelSet, TextEncoder


class HuggingFaceFilter(LabelFilter):
    """NegRefine's filter with a chat model of the transformers library; answers are stored.

    Args:
        num_nearest: n, ID classes that a label is compared with (`QuestionFilter`).
        max_unclear: largest share of unclear answers (`QuestionFilter`).
        store: folder of the store.
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
        self.chat = HuggingFaceChat(
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
        self.questions = QuestionFilter(StoredAnswers(self.chat, store), num_nearest, max_unclear)

    def apply(self, negatives: LabelSet, id_labels: LabelSet, encoder: TextEncoder) -> FilterResult:
        return self.questions.apply(negatives, id_labels, encoder)
