"""The nouns and adjectives of WordNet, as the official corpus takes them or whole."""

from collections.abc import Iterator, Sequence
from typing import Any

from neglab.corpus.base import Corpus, Word, first_occurrences
from neglab.ranges import Count
from neglab.types import UserError, Words
from neglab.wordnet import Synset, synsets

# The order of the official lists, recovered from the labels that NegLabel released: the first list that holds a word
# decides its part of speech. The last two lists are not among the official ones.
LEXNAMES = (
    "noun.Tops", "noun.cognition", "noun.event", "noun.feeling", "noun.motive", "noun.phenomenon", "noun.possession",
    "noun.process", "noun.relation", "noun.shape", "noun.time", "adj.pert", "adj.all", "adj.ppl", "noun.quantity",
    "noun.state", "noun.artifact", "noun.person", "noun.attribute", "noun.substance", "noun.communication",
    "noun.plant", "noun.act", "noun.object", "noun.location", "noun.group", "noun.body", "noun.animal", "noun.food",
)  # fmt: skip
# NegRefine's released phrases show another one: adj.ppl before adj.all, and three noun lists after both.
LAST_NOUNS = ("noun.act", "noun.object", "noun.body")
ADJECTIVES = ("adj.pert", "adj.ppl", "adj.all")
FILE_ORDERS = {
    "authors": LEXNAMES,
    "negrefine_authors": (
        *(name for name in LEXNAMES if name not in LAST_NOUNS + ADJECTIVES), *ADJECTIVES, *LAST_NOUNS,
    ),
    "alphabetical": tuple(sorted(LEXNAMES)),
    # InterNeg's, OpenOOD-VLM's and TINS's code takes the nouns out of the adjectives.
    "nouns_first": tuple(sorted(LEXNAMES, key=lambda lexname: (not lexname.startswith("noun"), lexname))),
}  # fmt: skip
OFFICIAL = {
    "lexnames": LEXNAMES[:-2],
    "first_lemma_only": True,
    "min_length": 2,
    "drop_antonym_cluster_heads": True,
    "lower_case": True,
}
FLAVOURS: dict[str, dict[str, Any]] = {
    "official": OFFICIAL,
    "clean": {**OFFICIAL, "drop_antonym_cluster_heads": False},
    "full": {
        "lexnames": LEXNAMES,
        "first_lemma_only": False,
        "min_length": 1,
        "drop_antonym_cluster_heads": False,
        "lower_case": True,
    },
}


class WordNetCorpus(Corpus):
    """Nouns and adjectives of WordNet 3.1.

    Args:
        flavour: "official": what the released lists of NegLabel, CSP and NegRefine hold; "clean": the same with the
            adjectives that their parser lost; "full": every lemma, animals and food included.
        lexnames: lexicographer files that are read; None: as the flavour says.
        exclude: lexicographer files that are not read, such as "noun.person".
        file_order: which file is read first decides the part of speech of a word that stands in several. "authors":
            the order that reproduces the labels NegLabel released; "negrefine_authors": NegRefine's; "nouns_first":
            a word that is both is a noun, as for InterNeg, AdaNeg, TANL and TINS; "alphabetical"; "given": as
            `lexnames` has it.
        first_lemma_only: the first lemma of each synset alone; None: as the flavour says.
        min_length: shorter names, in characters, are dropped; None: as the flavour says.
        drop_antonym_cluster_heads: drop adjectives of adj.all that open an antonym cluster; None: as the flavour says.
        lower_case: write names in lower case; None: as the flavour says.

    Raises:
        UserError: an unknown flavour or lexname, or no word left.

    Source: NegLabel (Jiang et al., ICLR 2024), official code at 3253db6, its lists of 70,000 words.
    Differs: the released strings carry about 105 traces of parsing ("[aqueous", "pound1"); here they are clean, and
        within a list the words stand in the order of their synset's offset. `corpus=text_files` reads the released
        lists to the letter.
    """

    def __init__(
        self,
        flavour: str,
        lexnames: Sequence[str] | None,
        exclude: Sequence[str],
        file_order: str,
        first_lemma_only: bool | None,
        min_length: Count | None,
        drop_antonym_cluster_heads: bool | None,
        lower_case: bool | None,
    ) -> None:
        if flavour not in FLAVOURS:
            raise UserError(f"corpus.flavour must be one of {', '.join(FLAVOURS)}; got {flavour!r}.")
        rules = FLAVOURS[flavour]
        chosen = tuple(rules["lexnames"] if lexnames is None else lexnames)
        if unknown := [lexname for lexname in (*chosen, *exclude) if lexname not in LEXNAMES]:
            raise UserError(
                f"corpus.lexnames and corpus.exclude must be among {', '.join(LEXNAMES)}; got {', '.join(unknown)}."
            )
        if file_order not in (*FILE_ORDERS, "given"):
            raise UserError(f"corpus.file_order must be one of {', '.join(FILE_ORDERS)}, given; got {file_order!r}.")
        order = FILE_ORDERS.get(file_order, chosen)
        self.lexnames = tuple(lexname for lexname in order if lexname in chosen and lexname not in exclude)
        self.first_lemma_only = rules["first_lemma_only"] if first_lemma_only is None else first_lemma_only
        self.min_length = rules["min_length"] if min_length is None else min_length
        drop = rules["drop_antonym_cluster_heads"]
        self.drop_antonym_cluster_heads = drop if drop_antonym_cluster_heads is None else drop_antonym_cluster_heads
        self.lower_case = rules["lower_case"] if lower_case is None else lower_case

    def words(self, id_names: Sequence[str]) -> Words:
        by_lexname: dict[str, list[Synset]] = {lexname: [] for lexname in self.lexnames}
        for synset in synsets():
            if synset.lexname in by_lexname:
                by_lexname[synset.lexname].append(synset)
        words = first_occurrences(word for group in by_lexname.values() for s in group for word in self._names(s))
        if not len(words):
            raise UserError("The corpus must hold at least one word; corpus.lexnames and corpus.min_length leave none.")
        return words

    def _names(self, synset: Synset) -> Iterator[Word]:
        if self.drop_antonym_cluster_heads and synset.opens_antonym_cluster and synset.lexname == "adj.all":
            return
        for lemma in synset.lemmas[: 1 if self.first_lemma_only else None]:
            if len(lemma) >= self.min_length:
                yield (lemma.lower() if self.lower_case else lemma), synset.part_of_speech, synset.id
