"""A filter whose questions a language model behind a server answers."""

from collections.abc import Mapping
from typing import Any

from neglab.chat.openai_api import OpenAIChat
from neglab.llm_filter.base import SYSTEM_PROMPT, ChatFilter


class OpenAIAPIFilter(ChatFilter):
    """NegRefine's filter with any server that speaks OpenAI's chat completions; answers are stored.

    Args:
        num_nearest, max_unclear, store: see `ChatFilter`.
        base_url, model, concurrency, retries, timeout, temperature, max_tokens, limit_field, system_role, extra_fields,
            api_key_variable, reasoning, answer_form: see `OpenAIChat`.

    Source: Ansari et al., "NegRefine", ICCV 2025; official code at 72e4b82d, neg_filter.py.
    Differs: the official code runs the model itself.
    """

    def __init__(
        self,
        base_url: str,
        model: str,
        concurrency: int,
        retries: int,
        timeout: int | float,
        temperature: int | float | None,
        max_tokens: int,
        limit_field: str,
        system_role: str | None,
        extra_fields: Mapping[str, Any],
        api_key_variable: str,
        reasoning: str | None,
        answer_form: str | None,
        num_nearest: int,
        max_unclear: int | float,
        store: str,
    ) -> None:
        chat = OpenAIChat(
            base_url=base_url,
            model=model,
            concurrency=concurrency,
            retries=retries,
            timeout=timeout,
            temperature=temperature,
            max_tokens=max_tokens,
            limit_field=limit_field,
            system_role=system_role,
            extra_fields=extra_fields,
            api_key_variable=api_key_variable,
            system_prompt=SYSTEM_PROMPT,
            reasoning=reasoning,
            answer_form=answer_form,
        )
        super().__init__(chat, num_nearest, max_unclear, store)
