import pytest
from hydra.utils import instantiate

from neglab.compose import compose
from neglab.corpus.base import Corpus
from neglab.corpus.csp import CSPCorpus
from neglab.types import UserError, Words
from neglab.wordnet import synsets

SUPERCLASSES = (
    "environment", "space", "object", "scene", "place", "item", "area", "view", "thing", "pattern", "structure",
    "landscape", "vista", "creature",
)  # fmt: skip
# What the official code draws with seed 0: Python's own stream.
FIRST_DRAWS = (13, 6, 12, 6, 0, 4, 8, 7, 6, 12, 13, 4)


class Given(Corpus):
    def __init__(self, words):
        self.given = words

    def words(self, id_names):
        return self.given


def mixed(count):
    """Nouns and adjectives in turn."""
    names = tuple(f"word{i}" for i in range(2 * count))
    return Words(names, ("noun", "adjective") * count, (None,) * (2 * count))


def test_the_draws_are_the_official_ones():
    words = CSPCorpus(Given(mixed(12)), SUPERCLASSES, seed=0).words(())
    assert words.names[0::2] == tuple(f"word{i}" for i in range(0, 24, 2))  # nouns as they are, and no draw for them
    assert words.names[1::2] == tuple(f"word{2 * i + 1} {SUPERCLASSES[k]}" for i, k in enumerate(FIRST_DRAWS))


def test_the_seed_alone_decides_the_draws():
    first, second, again = (CSPCorpus(Given(mixed(40)), SUPERCLASSES, seed).words(()).names for seed in (0, 1, 0))
    assert first == again != second


def test_no_superclass_is_a_mistake():
    with pytest.raises(UserError, match="superclasses"):
        CSPCorpus(Given(mixed(1)), (), seed=0)


@pytest.mark.parametrize("option", ["csp", "negrefine"])
def test_the_yamls_leave_four_lists_out_and_keep_the_official_superclasses(option):
    config = compose([f"corpus={option}", "seed.value=7"]).corpus
    corpus = instantiate(config)
    assert corpus.superclasses == SUPERCLASSES
    assert corpus.seed == 7
    known = {synset.lexname for synset in synsets()}
    left_out = {"noun.person", "noun.quantity", "noun.group", "adj.pert", "noun.animal", "noun.food"}
    assert set(corpus.base.lexnames) == known - left_out


def test_negrefine_reads_three_noun_lists_last():
    lexnames = instantiate(compose(["corpus=negrefine"]).corpus).base.lexnames
    assert lexnames[-5:] == ("adj.ppl", "adj.all", "noun.act", "noun.object", "noun.body")


@pytest.mark.parametrize("option", ["csp", "negrefine"])
def test_the_released_lists_can_stand_in(option, tmp_path):
    (tmp_path / "adj.all.txt").write_text("rocky\nliving\n")
    (tmp_path / "noun.act.txt").write_text("living\nrun\n")
    (tmp_path / "noun.person.txt").write_text("baker\n")
    overrides = [f"corpus={option}", "corpus@corpus.words=text_files", f"corpus.words.path={tmp_path}"]
    words = instantiate(compose(overrides).corpus).words(())
    assert words.names == ("rocky creature", "living area", "run")  # draws 13 and 6
