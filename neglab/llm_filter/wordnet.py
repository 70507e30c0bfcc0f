"""WordNet itself as the judge: proper nouns and subcategories of ID classes, without a language model."""

import logging
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch

from neglab.llm_filter.base import LabelFilter
from neglab.types import FilterResult, LabelSet, PartOfSpeech, TextEncoder, UserError
from neglab.wordnet import below, is_proper, normalized, senses

logger = logging.getLogger(__name__)

PARENTHESIS = re.compile(r"\(([^()]*)\)")
NUM_SHOWN = 5  # names in a warning


@dataclass(frozen=True)
class IDTree:
    """The ID classes in WordNet. Each value is the position of an ID class, the first of those that apply.

    Attributes:
        names: by the class's own name, normalized.
        synsets: by a synset of the class.
        subcategories: by a synset strictly below one of the class.
    """

    names: dict[str, int]
    synsets: dict[str, int]
    subcategories: dict[str, int]


class WordNetFilter(LabelFilter):
    """Drops negative nouns that are proper nouns, and those that are an ID class or a kind of one.

    A noun is a proper noun when every noun sense of it is an instance (a city, a person), or when it is a taxon name by
    its prefix. It is "the same" as an ID class when it has its name or shares a synset, and its "subcategory" when it
    lies strictly below in the hyponym tree. The label's sense is the one under which the corpus took it; where that is
    unknown every noun sense counts, and any of them below an ID class drops the label. The synsets of an ID class are
    the one it brings, else all noun senses of its name. Adjectives are kept, and so are words that WordNet does not
    know, such as the phrases of CSP. Kept labels keep their order and their names.

    Args:
        drop_proper_nouns: ask the first question.
        drop_subcategories: ask the second question.
        taxon_prefixes: beginnings that make a proper noun of a name, in any case, such as "genus ".

    Raises:
        UserError: taxon_prefixes is not a list of texts, or no label is left.

    Source: NegRefine (Ansari et al., ICCV 2025) drops proper nouns and subcategories; WordNet's pointers `@i` and `@`.
    Differs: NegRefine asks Qwen2.5-14B about each label, and about each of its 10 nearest ID classes; here WordNet is
        looked up, and every ID class counts. On the nouns of NegRefine's released ImageNet log, which does not ship,
        the two agree with Qwen at precision .953 and recall .827 on proper nouns, and at .485 and .156 on
        subcategories, measured with ImageNet's classes by name alone; their WordNet ids, which `id_dataset=imagenet1k`
        and its like bring since, take the labels dropped against Qwen's word from 31 to 17. NegRefine also judges
        adjective phrases (none of them a proper noun, 32 a subcategory). An ID class without a synset whose name is
        ambiguous counts in all its senses: with "crane" the machines and the birds are both dropped.
    """

    def __init__(self, drop_proper_nouns: bool, drop_subcategories: bool, taxon_prefixes: Sequence[str]) -> None:
        if isinstance(taxon_prefixes, str) or not all(isinstance(text, str) and text for text in taxon_prefixes):
            raise UserError(
                "llm_filter.taxon_prefixes must be a list of texts that are not empty; "
                f"got {taxon_prefixes!r}. For one prefix: 'llm_filter.taxon_prefixes=[\"genus \"]'"
            )
        self.drop_proper_nouns = drop_proper_nouns
        self.drop_subcategories = drop_subcategories
        self.taxon_prefixes = tuple(prefix.lower() for prefix in taxon_prefixes)

    def apply(self, negatives: LabelSet, id_labels: LabelSet, encoder: TextEncoder) -> FilterResult:
        tree = id_tree(id_labels) if self.drop_subcategories else IDTree({}, {}, {})
        labels = zip(negatives.names, negatives.parts_of_speech, negatives.synsets, strict=True)
        judged = [self._judge(tree, *label) for label in labels]
        kept = [i for i, (reason, _) in enumerate(judged) if not reason]
        if judged and not kept:
            self._refuse(Counter(reason for reason, _ in judged))
        verdicts = tuple(
            {
                "label": name,
                "name": name,
                "verdict": "dropped" if reason else "kept",
                "reason": reason,
                "class": "" if position is None else id_labels.names[position],
                "unclear": "0",  # a look-up always answers
            }
            for name, (reason, position) in zip(negatives.names, judged, strict=True)
        )
        return FilterResult(
            torch.tensor(kept, dtype=torch.int64), tuple(negatives.names[position] for position in kept), verdicts
        )

    def _judge(
        self, tree: IDTree, name: str, part_of_speech: PartOfSpeech, synset: str | None
    ) -> tuple[str, int | None]:
        """Why a label is dropped, "" if it is kept, and the position of its ID class where it has one."""
        if part_of_speech != "noun":
            return "", None
        own_name = normalized(name)
        if self.drop_proper_nouns and (own_name.startswith(self.taxon_prefixes) or is_proper(name)):
            return "proper noun", None
        # A phrase that a corpus made of an adjective may bring the adjective's synset.
        own = (synset,) if synset is not None and synset.endswith("-n") else senses(name)
        same = [tree.names.get(own_name), *(tree.synsets.get(sense) for sense in own)]
        if (position := _first(same)) is not None:
            return "the same", position
        if (position := _first(tree.subcategories.get(sense) for sense in own)) is not None:
            return "subcategory", position
        return "", None

    def _refuse(self, counts: Counter[str]) -> None:
        found = ", ".join(f"{count} as {reason}" for reason, count in counts.items())
        raise UserError(
            f"A filter must leave at least one negative label; llm_filter=wordnet dropped all {counts.total()} "
            f"({found}). Select more with negative_selector.fraction or negative_selector.num_labels, set "
            "llm_filter.drop_proper_nouns or llm_filter.drop_subcategories to false, or take llm_filter=none."
        )


def id_tree(id_labels: LabelSet) -> IDTree:
    """Where the ID classes and what lies below them stand in WordNet; warns of classes that WordNet does not know."""
    tree = IDTree({}, {}, {})
    unknown = []
    for position, (name, synset) in enumerate(zip(id_labels.names, id_labels.synsets, strict=True)):
        own = (synset,) if synset is not None else class_senses(name)
        if not own:
            unknown.append(name)
        tree.names.setdefault(normalized(name), position)
        for found, ids in ((tree.synsets, own), (tree.subcategories, below(own))):
            for synset_id in ids:
                found.setdefault(synset_id, position)
    if unknown:
        logger.warning(
            "WordNet knows no noun for %d of %d ID classes, so no negative label counts as their subcategory: %s%s",
            len(unknown),
            len(id_labels),
            ", ".join(unknown[:NUM_SHOWN]),
            ", ..." if len(unknown) > NUM_SHOWN else "",
        )
    return tree


def class_senses(name: str) -> tuple[str, ...]:
    """The noun synsets of an ID class's name.

    A name that WordNet does not know whole is tried piecewise: "swim trunks / shorts" has the senses of both parts; of
    "crane (machine)" those of crane that lie below machine, or all of them where none does.
    """
    if whole := senses(name):
        return whole
    found: dict[str, None] = {}
    for piece in name.split("/"):
        own = senses(PARENTHESIS.sub(" ", piece))
        meant = below(sense for hint in PARENTHESIS.findall(piece) for sense in senses(hint))
        found |= dict.fromkeys([sense for sense in own if sense in meant] or own)
    return tuple(found)


def _first(positions: Iterable[int | None]) -> int | None:
    """The smallest position, None where there is none."""
    return min((position for position in positions if position is not None), default=None)
