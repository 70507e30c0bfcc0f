"""Chat models of the transformers library, on this machine's devices."""

import hashlib
import importlib.util
import logging
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
import transformers
from jinja2 import TemplateError

from neglab.chat.base import KEPT, Chat, Message, question_messages, require_choice, require_count, without_system
from neglab.chat.next_token import NextToken, batches, longest_first, pad_left
from neglab.chat.replies import Reply
from neglab.types import UserError
from neglab.weights.files import look_for_hub

logger = logging.getLogger(__name__)

DTYPES = ("auto", "float32", "bfloat16", "float16")
QUANTISATIONS = {None: {}, "4bit": {"load_in_4bit": True}, "8bit": {"load_in_8bit": True}}
ANSWERS = ("logits", "generate")
CHECK_QUESTIONS = ("Is water wet?", "Is a mountain that stands far away always taller than the nearest house?")
SAMPLES, SAMPLE_SIZE = 64, 65536  # blocks of a weight file that its digest reads, and their bytes


class HuggingFaceChat(Chat):
    """A causal language model with a chat template, loaded at the first question.

    Args:
        model: a model id on the Hugging Face hub, or a local folder.
        revision: branch, tag or commit on the hub; a local folder is known by its content instead.
        dtype: "auto" (as the weights are stored), "float32", "bfloat16" or "float16".
        device_map: transformers' placement of layers, such as "auto" (needs accelerate); None: the first GPU, else
            the CPU.
        quantisation: None, "4bit" or "8bit" (needs bitsandbytes).
        batch_size: prompts per pass.
        answer: "logits": Yes where its first token's next-token logit is above No's, in one deterministic forward
            pass; "generate": the text that the model generates under its own generation_config, which may sample.
        max_new_tokens: longest generated answer.
        seed: of sampled answers. A batch draws by this seed and its own questions; the global state is untouched.
        system_prompt: opens every question's conversation; where a template refuses a system role it stands before
            the question.

    Raises:
        UserError: an argument is out of range; the model, its chat template or a package is missing; no memory.

    Source: the chat road of NegRefine's official code at 72e4b82d, neg_filter.py:56-72, which is "generate".
    Differs: "logits" asks for the likelier of two words where the official code samples; prompts go in batches.
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
        system_prompt: str,
    ) -> None:
        require_choice("dtype", dtype, DTYPES)
        require_choice("quantisation", quantisation, QUANTISATIONS)
        require_choice("answer", answer, ANSWERS)
        require_count("batch_size", batch_size, 1)
        require_count("max_new_tokens", max_new_tokens, 1)
        self.model = model
        self.revision = revision
        self.dtype = dtype
        self.device_map = device_map
        self.quantisation = quantisation
        self.batch_size = batch_size
        self.answer = answer
        self.max_new_tokens = max_new_tokens
        self.seed = seed
        self.system_prompt = system_prompt

    @property
    def identity(self) -> dict[str, Any]:
        model, revision = self._source
        sampling = {"max_new_tokens": self.max_new_tokens, "seed": self.seed} if self.answer == "generate" else {}
        return {
            "chat": "huggingface",
            "model": model,
            "revision": revision,
            "dtype": self.dtype,
            "quantisation": self.quantisation,
            "answer": self.answer,
            "system_prompt": self.system_prompt,
            **sampling,
        }

    @cached_property
    def _source(self) -> tuple[str, str]:
        """Model and revision; a local folder counts by its content, wherever it lies."""
        folder = Path(self.model).expanduser()
        if folder.is_dir():
            return folder.resolve().name, f"sha256:{folder_digest(folder)}"
        return self.model, self.revision or "main"

    def ask(self, questions: Sequence[str]) -> Iterator[tuple[int, Reply]]:
        prompts = self._prompts([question_messages(self.system_prompt, question) for question in questions])
        try:
            if self.answer == "generate":
                yield from self._generate(prompts, self.max_new_tokens)
                return
            yes, no = self._yes_and_no
            for positions, logits in self._next_token.logits(prompts):
                likelier = (logits[:, yes] > logits[:, no]).tolist()
                yield from (
                    (i, Reply("Yes" if is_yes else "No")) for i, is_yes in zip(positions, likelier, strict=True)
                )
        except torch.OutOfMemoryError as error:
            raise self._memory_error(error, asking=True) from error

    def complete(self, conversations: Sequence[Sequence[Message]], max_new_tokens: int) -> list[Reply]:
        try:
            found = dict(self._generate(self._prompts(conversations), max_new_tokens))
        except torch.OutOfMemoryError as error:
            raise self._memory_error(error) from error
        return [found[i] for i in range(len(conversations))]

    @torch.inference_mode()
    def _generate(self, prompts: Sequence[list[int]], max_new_tokens: int) -> Iterator[tuple[int, Reply]]:
        padding = self._tokenizer.pad_token_id
        if padding is None:
            padding = self._tokenizer.eos_token_id or 0
        for positions in batches(longest_first(prompts), self.batch_size):
            ids, mask = pad_left([prompts[i] for i in positions], padding)
            devices = list(range(torch.cuda.device_count())) if torch.cuda.is_available() else []
            with torch.random.fork_rng(devices):
                torch.manual_seed(_batch_seed(self.seed, [prompts[i] for i in positions]))
                output = self._network.generate(
                    input_ids=ids.to(self._network.device),
                    attention_mask=mask.to(self._network.device),
                    max_new_tokens=max_new_tokens,
                    pad_token_id=padding,
                )
            written = output[:, ids.shape[1] :]
            texts = self._tokenizer.batch_decode(written, skip_special_tokens=True)
            ended = torch.isin(written, self._ends.to(written.device)).any(dim=1).tolist()
            for i, text, has_end in zip(positions, texts, ended, strict=True):
                yield i, Reply.of(text, cut=not has_end)

    def _prompts(self, conversations: Sequence[Sequence[Message]]) -> list[list[int]]:
        """Token ids of each conversation, up to where the model's own message begins."""
        if not conversations:
            return []
        texts = [self._render(messages) for messages in conversations]
        # The template has written the special tokens already.
        return self._tokenizer(texts, add_special_tokens=False)["input_ids"]

    def _render(self, messages: Sequence[Message]) -> str:
        chosen = [dict(message) for message in (messages if self._takes_system else without_system(messages))]
        # Models that can think aloud would begin with their thoughts; templates that know no such switch ignore it.
        return self._tokenizer.apply_chat_template(
            chosen, tokenize=False, add_generation_prompt=True, enable_thinking=False
        )

    @cached_property
    def _ends(self) -> torch.Tensor:
        """The tokens that end a message; one without any of them was cut."""
        found = self._network.generation_config.eos_token_id
        return torch.tensor(found if isinstance(found, list) else [-1 if found is None else found])

    @cached_property
    def _takes_system(self) -> bool:
        messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}]
        try:
            return "Be brief." in self._tokenizer.apply_chat_template(messages, tokenize=False)
        except TemplateError:
            return False

    @cached_property
    def _yes_and_no(self) -> tuple[int, int]:
        """The first token of either word."""
        yes, no = (self._tokenizer(word, add_special_tokens=False)["input_ids"][:1] for word in ("Yes", "No"))
        if not yes or not no or yes == no or self._tokenizer.unk_token_id in (*yes, *no):
            raise UserError(
                f"The language model's answer=logits compares the first tokens of Yes and No, and the tokenizer of "
                f"{self.model} does not tell them apart. Set answer=generate."
            )
        return yes[0], no[0]

    @cached_property
    def _next_token(self) -> NextToken:
        next_token = NextToken(self._network, self.batch_size)
        next_token.check(self._prompts([question_messages(self.system_prompt, text) for text in CHECK_QUESTIONS]))
        return next_token

    @cached_property
    def _tokenizer(self) -> Any:
        if not Path(self.model).exists():
            look_for_hub()
        try:
            tokenizer = transformers.AutoTokenizer.from_pretrained(self.model, revision=self.revision or "main")
        except Exception as error:
            raise self._loading_error(error) from error
        if not tokenizer.chat_template:
            raise UserError(
                f"The language model must be a chat model; {self.model} has no chat template. Choose one that was "
                "tuned for chat, such as Qwen/Qwen2.5-14B-Instruct-1M."
            )
        return tokenizer

    @cached_property
    def _network(self) -> Any:
        needed = ["accelerate"] if self.device_map is not None or self.quantisation else []
        needed += ["bitsandbytes"] if self.quantisation else []
        if missing := [name for name in needed if importlib.util.find_spec(name) is None]:
            raise UserError(
                f"The language model's device_map={self.device_map} with quantisation={self.quantisation} needs "
                f"{' and '.join(missing)}, not installed here: pip install {' '.join(missing)}. Without accelerate: "
                "device_map=null quantisation=null"
            )
        dtype: Any = self.dtype if self.dtype == "auto" else getattr(torch, self.dtype)
        # transformers 5 has renamed the argument.
        dtype_argument = "dtype" if int(transformers.__version__.split(".")[0]) >= 5 else "torch_dtype"
        settings: dict[str, Any] = {dtype_argument: dtype, "device_map": self.device_map}
        if self.quantisation:
            settings["quantization_config"] = transformers.BitsAndBytesConfig(**QUANTISATIONS[self.quantisation])
        logger.info("Loading %s", self.model)
        try:
            network: Any = transformers.AutoModelForCausalLM.from_pretrained(
                self.model, revision=self.revision or "main", **settings
            )
            if self.device_map is None and not self.quantisation:
                network.to("cuda" if torch.cuda.is_available() else "cpu")
        except torch.OutOfMemoryError as error:
            raise self._memory_error(error) from error
        except Exception as error:
            raise self._loading_error(error) from error
        return network.requires_grad_(False).eval()

    def _loading_error(self, error: Exception) -> UserError:
        return UserError(
            f"The language model {self.model} at revision {self.revision or 'main'} could not be loaded: "
            f"{str(error).strip() or type(error).__name__} Name a model of huggingface.co or a local folder that "
            "holds its weights and tokenizer; without a connection, only a model downloaded before can be had."
        )

    def _memory_error(self, error: Exception, asking: bool = False) -> UserError:
        return UserError(
            f"The device's memory must hold {self.model} and a batch of {self.batch_size} prompts; it does not "
            f"({str(error).splitlines()[0]}). Lower its batch_size, or set its "
            f"quantisation to 8bit or 4bit. {KEPT if asking else ''}".rstrip()
        )


def folder_digest(folder: Path) -> str:
    """SHA-256 of a model folder's files, so that other weights under an old name are never taken for the old ones.

    Of a file too large to be read whole in no time, evenly spaced blocks stand for the rest.
    """
    content = hashlib.sha256()
    for path in sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith(".")):
        size = path.stat().st_size
        content.update(f"{path.name}:{size}:".encode())
        with path.open("rb") as file:
            if size <= SAMPLES * SAMPLE_SIZE:
                content.update(file.read())
                continue
            for i in range(SAMPLES):
                file.seek(i * (size - SAMPLE_SIZE) // (SAMPLES - 1))
                content.update(file.read(SAMPLE_SIZE))
    return content.hexdigest()


def _batch_seed(seed: int, prompts: list[list[int]]) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed}:{prompts}".encode()).digest()[:7], "big")
