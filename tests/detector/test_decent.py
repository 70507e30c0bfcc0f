from neglab.corpus.base import Corpus
from neglab.detector.decent import DecentCorpus, is_decent, listed
from neglab.types import Words
from neglab.wordnet import senses, synset


class Given(Corpus):
    def __init__(self, *names):
        self.names = names

    def words(self, id_names):
        return Words(self.names, ("noun",) * len(self.names), (None,) * len(self.names))


def test_a_list_without_synsets():
    given = Given("tractor", "prostitute", "buttocks", "xyzzy", "genitalia", "kite", "incest", "idiot", "spade")
    assert DecentCorpus(given).words(()).names == ("tractor", "xyzzy", "kite", "spade")


def test_a_meaning_is_judged_by_its_synset():
    """A word of a plain list goes only where all its meanings would."""
    by_file = {synset(meaning).lexname: meaning for meaning in senses("chest")}
    of_body, of_thing = by_file["noun.body"], by_file["noun.artifact"]
    assert not is_decent("chest", of_body) and is_decent("chest", of_thing) and is_decent("chest", None)


def test_the_short_list_is_sorted_lower_case():
    names = sorted(listed())
    assert len(names) > 50 and all(name == name.lower().strip() for name in names)
    assert not any(is_decent(name, None) for name in names)
