"""NegRefine's questions to a language model: one forward pass per batch behind a shared beginning, against generation
one by one.

The model has random weights and the form of Qwen2.5, small enough for a CPU; its tokenizer is learned from the
questions. An instruct model answers in two tokens, Yes or No and its end, so the plain way generates as many.
"""

from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

from benchmarks.figure import Figure, Ratio, report, seconds
from neglab.chat.huggingface import HuggingFaceChat
from neglab.llm_filter.base import SYSTEM_PROMPT, subcategory_question
from neglab.wordnet import synsets

ANSWER_TOKENS = 2
TEMPLATE = (
    "{% for message in messages %}<s>{{ message.role }}\n{{ message.content }}</s>\n{% endfor %}"
    "{% if add_generation_prompt %}<s>assistant\n{% endif %}"
)


def write_model(folder: Path, texts: list[str], hidden_size: int, num_layers: int) -> None:
    """A chat model with random weights."""
    learned = Tokenizer(models.BPE())
    learned.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=4000,
        special_tokens=["<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    learned.train_from_iterator([*texts, "Yes", "No"], trainer)
    learned.add_tokens(["Yes", "No"])
    words = PreTrainedTokenizerFast(
        tokenizer_object=learned, eos_token="</s>", pad_token="</s>", chat_template=TEMPLATE
    )
    words.save_pretrained(folder)
    config = Qwen2Config(
        vocab_size=len(words),
        hidden_size=hidden_size,
        intermediate_size=4 * hidden_size,
        num_hidden_layers=num_layers,
        num_attention_heads=8,
        num_key_value_heads=2,
        bos_token_id=None,
        eos_token_id=words.eos_token_id,
        pad_token_id=words.pad_token_id,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        Qwen2ForCausalLM(config).save_pretrained(folder)


def chat(folder: Path, batch_size: int, dtype: str = "float32") -> HuggingFaceChat:
    return HuggingFaceChat(
        model=str(folder),
        revision=None,
        dtype=dtype,
        device_map=None,
        quantisation=None,
        batch_size=batch_size,
        answer="logits",
        max_new_tokens=ANSWER_TOKENS,
        seed=0,
        system_prompt=SYSTEM_PROMPT,
    )


class OneByOne:
    """The plain way: each question's whole conversation, generated alone."""

    def __init__(self, folder: Path) -> None:
        self.words = AutoTokenizer.from_pretrained(folder)
        self.network = AutoModelForCausalLM.from_pretrained(folder).eval()
        self.network.to("cuda" if torch.cuda.is_available() else "cpu")
        self.yes, self.no = self.words.convert_tokens_to_ids(["Yes", "No"])

    @torch.inference_mode()
    def ask(self, questions: list[str]) -> list[str]:
        """Yes or No, whichever is likelier as the first token, so that the ways can be compared."""
        answers = []
        for question in questions:
            messages = [{"role": "system", "content": SYSTEM_PROMPT}, {"role": "user", "content": question}]
            text = self.words.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
            ids = self.words([text], add_special_tokens=False, return_tensors="pt")["input_ids"]
            output = self.network.generate(
                ids.to(self.network.device),
                attention_mask=torch.ones_like(ids).to(self.network.device),
                max_new_tokens=ANSWER_TOKENS,
                min_new_tokens=ANSWER_TOKENS,
                do_sample=False,
                return_dict_in_generate=True,
                output_logits=True,
            )
            first = output.logits[0][0]
            answers.append("Yes" if first[self.yes] > first[self.no] else "No")
        return answers


def questions_of(count: int) -> list[str]:
    """Whether words from all of WordNet are kinds of a class."""
    labels = list(dict.fromkeys(synset.lemmas[0] for synset in synsets()))[:: 80_000 // count]
    return [subcategory_question(label, "tree frog").text for label in labels[:count]]


def measure(
    num_questions: int = 512,
    num_plain: int = 32,
    hidden_size: int = 512,
    num_layers: int = 12,
    batch_size: int = 64,
) -> Figure:
    """See `questions_of`."""
    questions = questions_of(num_questions)
    with TemporaryDirectory() as place:
        folder = Path(place)
        write_model(folder, [SYSTEM_PROMPT, *questions], hidden_size, num_layers)
        model, plain = chat(folder, batch_size), OneByOne(folder)
        found = [reply.text for _, reply in sorted(model.ask(questions), key=lambda answered: answered[0])]
        expected = plain.ask(questions[:num_plain])
        times = seconds(
            {"ours": lambda: list(model.ask(questions)), "plain": lambda: plain.ask(questions[:num_plain])}, repeats=3
        )
    per_second = {"ours": len(questions) / times["ours"], "plain": num_plain / times["plain"]}
    return Figure(
        what=f"language model filter, {len(questions)} questions",
        plain=f"generated one by one, {num_plain} of them",
        ratios=(Ratio("plain way / ours, per question", per_second["ours"] / per_second["plain"], 30),),
        difference=float(sum(one != other for one, other in zip(found, expected, strict=False))),
        tolerance=0.0,
        details={"questions per second": per_second, "answers": {word: found.count(word) for word in ("Yes", "No")}},
    )


if __name__ == "__main__":
    report("llm_filter", measure)
