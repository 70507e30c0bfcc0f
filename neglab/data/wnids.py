"""The classes of ImageNet by WordNet id, and what they are called."""

from collections.abc import Sequence

from open_clip import IMAGENET_CLASSNAMES
from timm.data.imagenet_info import ImageNetInfo

from neglab.wordnet import synset, synset_of_wnid

WNIDS: tuple[str, ...] = tuple(ImageNetInfo("imagenet-1k").label_names())  # sorted, so in the order of the class index
NAMES = dict(zip(WNIDS, IMAGENET_CLASSNAMES, strict=True))
BY_INDEX = {str(i): wnid for i, wnid in enumerate(WNIDS)}


def wnid_names(wnids: Sequence[str]) -> list[str] | None:
    """The names of ImageNet-1K's classes on the papers' list, of others the first of WordNet's; None: one has none."""
    names = [NAMES.get(wnid) or _first_lemma(wnid) for wnid in wnids]
    return None if None in names else [name for name in names if name is not None]


def _first_lemma(wnid: str) -> str | None:
    """WordNet ids are offsets in WordNet 3.0; the table that ships with neglab is 3.1's."""
    synset_id = synset_of_wnid(wnid)
    found = None if synset_id is None else synset(synset_id)
    return None if found is None else found.lemmas[0]
