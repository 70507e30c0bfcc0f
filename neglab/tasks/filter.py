"""`neglab filter`: which of these labels go on beside these classes, without images."""

from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import torch
from jaxtyping import Float
from omegaconf import DictConfig
from rich.console import Console
from torch import Tensor

from neglab.compose import make
from neglab.embedding.embedder import Embedder
from neglab.embedding.store import Store
from neglab.pipeline import ClassNames
from neglab.prompt.templates import PromptTemplates
from neglab.results.environment import write_environment
from neglab.results.results import write_csv
from neglab.types import FilterResult, LabelSet, TextEncoder, UserError, Words

COLUMNS = ("rank", "label", "part_of_speech", "synset")  # those that `corpus=file` reads


AS_GIVEN = PromptTemplates(["{}"], ["{}"], normalise_before_mean=True)  # filters compare names without a prompt


class LateEncoder(TextEncoder):
    """The run's encoder of texts, made when a filter first asks for one: WordNet and official logs need no model."""

    def __init__(self, config: DictConfig) -> None:
        self.config = config

    @cached_property
    def _embedder(self) -> Embedder:
        backbone, devices, loading = (make(self.config[group]) for group in ("backbone", "trainer", "data"))
        return Embedder(backbone, AS_GIVEN, Store(self.config.paths.store), devices, loading)

    def encode_texts(self, texts: Sequence[str]) -> Float[Tensor, "N D"]:
        return self._embedder.encode_texts(texts)


def run(config: DictConfig) -> None:
    """Filter a list of labels; writes negative_labels.csv and filter_verdicts.csv.

    Raises:
        UserError: no labels, no classes, or what the filter says.
    """
    console, folder = Console(), Path(config.paths.output)
    write_environment(folder)
    label_filter = make(config.llm_filter)
    label_filter.check()
    classes = class_names(config)
    labels = make(config.corpus).words(classes.names)
    encoder = LateEncoder(config)  # pyright: ignore[reportAbstractUsage] - a filter asks for `encode_texts` alone
    result: FilterResult = label_filter.apply(_unembedded(labels), _unembedded(classes), encoder)
    kept = labels.take(result.positions.tolist())
    rows = [
        (rank, name, part_of_speech, synset or "")
        for rank, (name, part_of_speech, synset) in enumerate(
            zip(result.names, kept.parts_of_speech, kept.synsets, strict=True), start=1
        )
    ]
    write_csv(folder / "negative_labels.csv", COLUMNS, rows)
    if result.verdicts:
        verdicts = [list(verdict.values()) for verdict in result.verdicts]
        write_csv(folder / "filter_verdicts.csv", list(result.verdicts[0]), verdicts)
    console.print(summary(labels, kept, result), highlight=False, markup=False, soft_wrap=True)
    console.print(f"Everything is in {folder}", highlight=False, markup=False, soft_wrap=True)


def class_names(config: DictConfig) -> Words:
    """The ID classes: those that are named, else those of the ID set.

    Raises:
        UserError: there is neither.
    """
    if config.class_names is not None:
        return ClassNames(config.class_names).class_names()
    if config.get("id_dataset") is None:
        raise UserError(
            "A filter holds labels against class names; got none. Set class_names to a list or a file, or choose "
            "id_dataset=, such as imagenet1k."
        )
    return make(config.id_dataset).class_names()


def summary(labels: Words, kept: Words, result: FilterResult) -> str:
    """What went in, what goes on and why the rest does not."""
    before, after = Counter(labels.parts_of_speech), Counter(kept.parts_of_speech)
    counts = ", ".join(f"{after[kind]} of {count} {kind}s go on" for kind, count in before.items())
    reasons = Counter(verdict["reason"] for verdict in result.verdicts if verdict["verdict"] == "dropped")
    dropped = ", ".join(f"{count} {reason}" for reason, count in reasons.most_common())
    return f"{counts}; dropped: {dropped or 'none'}"


def _unembedded(words: Words) -> LabelSet:
    """Labels for a filter, which judges names alone."""
    return LabelSet(words.names, words.parts_of_speech, torch.empty(len(words), 0), words.synsets)
