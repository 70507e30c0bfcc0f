"""InterNeg's selection: words that are farther from the ID images of every class than the class's name is."""

import logging
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from neglab.inversion import deviation, image_anchors
from neglab.negative_selector.base import NegativeSelector
from neglab.negative_selector.neglabel import CHUNK_ELEMENTS
from neglab.on_device import rows_at_once
from neglab.ranges import Count, CountOrZero, Share
from neglab.types import LabelledEmbeddings, LabelSet, UserError, Words

logger = logging.getLogger(__name__)


class InterNegSelector(NegativeSelector):
    """Keeps the words with the highest deviation degree among those that pass the inter-modal condition.

    With p_c a class's mean ID image and e_c its name: a word t passes where cos(t, p_c) < cos(e_c, p_c) in every class,
    and its degree is the mean over classes of cos(e_c, p_c) - cos(t, p_c).

    Args:
        num_labels: M; where fewer words pass, all of them are taken, with a warning.
        allocation: "joint": the M highest degrees; "per_part_of_speech": adjectives get their share of the words that
            pass, rounded down, and come first, nouns the rest.
        minimum_per_part: labels that each part of speech gets at least where it has any, in `per_part_of_speech`.
        modality: "inter": as above; "intra": AdaNeg's mining and InterNeg's ablation: all words pass, without ID
            images, and the degree is the negative of the similarity to the ID names.
        quantile: q; a word's similarity is the one at index int(q C), counted from 0, of its rising cosines to the C
            ID names, in `intra` alone.

    Raises:
        UserError: no ID images of a class, or no word passes.

    Shapes: a corpus [W, D], ID labels [C, D] and ID images [N, D] give at most M positions (M + `minimum_per_part`
        where a minimum lifts a share); each part of speech, or all (`joint`), by falling degree.

    Source: InterNeg (Xu et al., CVPR 2026), section 4.2.1 and Table 3; official code at e0162029,
        clip_fixed_ood_prompt.py. TINS (arXiv 2605.10756) selects alike, with at least one of each part of speech.
        AdaNeg mines by "intra": OpenOOD-VLM at 804f331, clip_fixed_ood_prompt.py.
    Differs: similarities are float32, the code's float16, where hundreds of words tie at the cut; ties keep the
        corpus's order. OpenOOD-VLM mines with ViT-B/16 and "This is a X photo", whatever backbone and prompt score
        images. Words that are an ID class name to the letter are no candidates, as in the code; InterNeg's paper only
        says that the two sets are disjoint.
    """

    def __init__(
        self, num_labels: Count, allocation: str, minimum_per_part: CountOrZero, modality: str, quantile: Share
    ) -> None:
        if allocation not in ("joint", "per_part_of_speech"):
            raise UserError(f"negative_selector.allocation must be joint or per_part_of_speech; got {allocation!r}.")
        if modality not in ("inter", "intra"):
            raise UserError(f"negative_selector.modality must be inter or intra; got {modality!r}.")
        self.num_labels, self.allocation, self.modality = num_labels, allocation, modality
        self.minimum_per_part, self.quantile = minimum_per_part, quantile
        self.needs_id_images = modality == "inter"

    def most(self, corpus: Words, id_names: Sequence[str]) -> int:
        return min(self.num_labels + self.minimum_per_part, len(corpus))

    def select(
        self, corpus: LabelSet, id_labels: LabelSet, id_images: LabelledEmbeddings | None = None
    ) -> Int[Tensor, " M"]:
        passes, degrees = self._judge(corpus, id_labels, id_images)
        known = set(id_labels.names)
        passes &= torch.tensor([name not in known for name in corpus.names], dtype=torch.bool)
        count = int(passes.sum())
        if count == 0:
            raise UserError(
                "At least one word must be farther from the ID images of every class than the class's name; none of "
                f"{len(corpus)} is. Give a larger corpus, or check that id_images shows the ID classes."
            )
        if count < self.num_labels:
            logger.warning(
                "negative_selector.num_labels=%d, but only %d of %d words are candidates: all are taken",
                self.num_labels,
                count,
                len(corpus),
            )
        if self.allocation == "joint":
            return _highest(degrees, passes, self.num_labels)
        is_noun = torch.tensor([part == "noun" for part in corpus.parts_of_speech], dtype=torch.bool)
        adjectives, nouns = passes & ~is_noun, passes & is_noun
        share = int(self.num_labels * (int(adjectives.sum()) / count))
        quotas = (max(self.minimum_per_part, share), max(self.minimum_per_part, self.num_labels - share))
        chosen = [_highest(degrees, part, quota) for part, quota in zip((adjectives, nouns), quotas, strict=True)]
        return torch.cat(chosen)

    def similarity(self, labels: LabelSet, id_labels: LabelSet) -> Float[Tensor, " N"]:
        """The cosine at index int(q C) of the rising ones to the ID names; `inter` does not select by it."""
        num_classes = len(id_labels)
        num_largest = num_classes - min(int(self.quantile * num_classes), num_classes - 1)
        parts = labels.embeddings.split(rows_at_once(labels.embeddings, num_classes, CHUNK_ELEMENTS))
        largest = [(part @ id_labels.embeddings.T).topk(num_largest, dim=1).values for part in parts]
        return torch.cat([values[:, -1] for values in largest]).cpu()

    def _judge(
        self, corpus: LabelSet, id_labels: LabelSet, id_images: LabelledEmbeddings | None
    ) -> tuple[Bool[Tensor, " W"], Float[Tensor, " W"]]:
        if len(corpus) == 0:
            return torch.zeros(0, dtype=torch.bool), torch.zeros(0)
        if self.modality == "intra":
            return torch.ones(len(corpus), dtype=torch.bool), -self.similarity(corpus, id_labels)
        passes, degrees = deviation(corpus.embeddings, image_anchors(id_labels, id_images))
        return passes.cpu(), degrees.cpu()


def _highest(degrees: Float[Tensor, " W"], candidates: Bool[Tensor, " W"], count: int) -> Int[Tensor, " K"]:
    positions = candidates.nonzero().flatten()
    return positions[degrees[positions].argsort(descending=True, stable=True)[:count]]
