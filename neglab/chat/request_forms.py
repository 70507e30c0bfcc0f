"""Switches of chat servers by one name each, whatever field of the request they are in."""

from typing import Any

from neglab.chat.base import require_choice

_SCHEMA = {
    "type": "object",
    "properties": {"answer": {"type": "string", "enum": ["Yes", "No"]}},
    "required": ["answer"],
    "additionalProperties": False,
}
# What holds a server to yes or no. "json_schema" is OpenAI's, and known to vLLM, Ollama and llama.cpp; "choice" is
# vLLM's, "guided_choice" that of vLLM before 0.12.
ANSWER_FORMS: dict[str | None, dict[str, Any]] = {
    None: {},
    "json_schema": {
        "response_format": {"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": _SCHEMA}}
    },
    "choice": {"structured_outputs": {"choice": ["Yes", "No"]}},
    "guided_choice": {"guided_choice": ["Yes", "No"]},
}
# How long a model thinks first. "template_off" is the switch of chat templates such as Qwen 3's, which vLLM, SGLang and
# llama.cpp hand on; the others are OpenAI's `reasoning_effort`, which Ollama knows too.
REASONING: dict[str | None, dict[str, Any]] = {
    None: {},
    "template_off": {"chat_template_kwargs": {"enable_thinking": False}},
    **{effort: {"reasoning_effort": effort} for effort in ("none", "minimal", "low", "medium", "high")},
}


def chosen(name: str, value: str | None, forms: dict[str | None, dict[str, Any]]) -> dict[str, Any]:
    """The fields of a switch.

    Raises:
        UserError: it has no such value.
    """
    require_choice(name, value, forms)
    return forms[value]
