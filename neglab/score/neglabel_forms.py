"""The other forms of NegLabel's score: linear and proportional, with and without softmax, counts, other distances."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from neglab.on_device import rows_at_once
from neglab.ranges import Count, NotNegative, Positive, Seed
from neglab.score.base import ROW_BLOCK, BankScore
from neglab.score.neglabel import check_groups
from neglab.types import Outline, TextBank, UserError, generator

CHUNK_ELEMENTS = 2**23  # float64 similarities held at once: 64 MiB
SOFTMAX_FORMS = ("sum_softmax", "max_softmax")
COSINE_FORMS = ("proportional_sum", "proportional_max")  # a share of negated distances would rank upside down
BINARIZED_FORMS = ("linear_binarized", "negative_binarized", "proportional_binarized")
FORMS = ("linear_sum", "linear_max", *BINARIZED_FORMS, *SOFTMAX_FORMS, *COSINE_FORMS)
SIMILARITIES = ("cosine", "l1", "kl")


@dataclass(frozen=True)
class DealtBank:
    """The ID classes [C, D] and the negatives of the fused groups [G * M/G, D], group after group."""

    id_embeddings: Float[Tensor, "C D"]
    negative_embeddings: Float[Tensor, "K D"]


def similarities(images: Float[Tensor, "B D"], labels: Float[Tensor, "N D"], kind: str) -> Float[Tensor, "B N"]:
    """How near images and labels are, float64, higher is nearer; no [B, N, D] tensor is made.

    Args:
        images: unit norm.
        labels: unit norm.
        kind: cosine; l1, the negative sum of absolute differences; kl, the negative divergence
            KL(softmax(image) || softmax(label)) in nats, the softmax over the D coordinates.
    """
    if kind == "l1":
        return -torch.cdist(images, labels, p=1.0).double()
    if kind == "kl":
        log_images, log_labels = images.double().log_softmax(dim=1), labels.double().log_softmax(dim=1)
        return log_images.exp() @ log_labels.T - (log_images.exp() * log_images).sum(dim=1, keepdim=True)
    return (images @ labels.T).double()


class NegLabelFormScore(BankScore[DealtBank]):
    """A fusion of the similarities s to ID classes i and negative labels j, averaged over groups. Higher is more ID.

    The forms by their rows in Table 12, with w the factor that balances ID and negative labels (negative_weight), tau
    the temperature and b the binarization threshold:

    - linear_sum (1, Eq. 10): sum_i s - w sum_j s
    - linear_max (2, Eq. 10 without its negative term): max_i s
    - linear_binarized (3, Eq. 10 of the binarized s): sum_i 1[s >= b] - w sum_j 1[s >= b]
    - negative_binarized (4, the toy score function of section 3.3): -sum_j 1[s >= b]
    - sum_softmax (5, Eq. 6, which is Eq. 11 of e^(s/tau)): sum_i e^(s/tau) / (sum_i e^(s/tau) + sum_j e^(s/tau))
    - max_softmax (6, Eq. 11): max_i e^(s/tau) / (sum_i e^(s/tau) + sum_j e^(s/tau))
    - proportional_sum (7, Eq. 11 without exponential): sum_i s / (sum_i s + sum_j s)
    - proportional_max (8, Eq. 11 without exponential): max_i s / (sum_i s + sum_j s)
    - proportional_binarized (9, Eq. 11 of the binarized s): sum_i 1[s >= b] / (sum_i 1[s >= b] + sum_j 1[s >= b])

    Args:
        form: one of the above.
        similarity: s: cosine, l1 or kl (Table 17); see `similarities`.
        temperature: tau, of the softmax forms.
        threshold: b, of the binarized forms, in units of the similarity.
        negative_weight: w, of linear_sum and linear_binarized.
        num_groups: G; the remainder of M / G is dropped from the end of the bank, before the permutation. 1: no groups.
        num_fused_groups: the mean runs over the first so many groups (Table 16); None: over all.
        group_seed: of the permutation that deals the negatives out to groups.

    Raises:
        UserError: an unknown form or similarity, or fewer negatives than groups.

    Shapes: images [B, D] and a bank of C + M labels give [B]; float64.

    Source: Jiang et al., ICLR 2024, appendix A.5: Eq. 9 to 11, Tables 12, 15, 16 and 17. Of these forms the official
        code (3253db6) has the sum-softmax on cosines alone.
    Differs: the official code's `group_fuse_num=n` averages n - 1 groups; n groups are averaged here. The paper does
        not say how a distance becomes a similarity (negated here), over what KL's distributions run (a softmax over
        the coordinates at temperature 1, image before label), at which temperature Table 17 ran, nor what 0 / 0 is
        (0: no label speaks for ID). Table 12 has no groups; w is not rescaled with their size.
        proportional_sum and proportional_max take cosines alone: a share of negated distances ranks upside down.
    """

    def __init__(
        self,
        form: str,
        similarity: str,
        temperature: Positive,
        threshold: float,
        negative_weight: NotNegative,
        num_groups: Count,
        num_fused_groups: Count | None,
        group_seed: Seed,
    ) -> None:
        fused = num_groups if num_fused_groups is None else num_fused_groups
        for name, value, options in (("form", form, FORMS), ("similarity", similarity, SIMILARITIES)):
            if value not in options:
                raise UserError(f"score.{name} must be one of {', '.join(options)}; got {value}. Choose one of these.")
        if form in COSINE_FORMS and similarity != "cosine":
            raise UserError(
                f"score.form={form} needs positive similarities; got similarity={similarity}, a negated distance. Set "
                "score.similarity=cosine or another form."
            )
        if fused > num_groups:
            raise UserError(
                f"score.num_fused_groups must be at most num_groups; got num_fused_groups={fused} with "
                f"num_groups={num_groups}. Set it to null to fuse all groups."
            )
        self.form, self.similarity = form, similarity
        self.temperature, self.threshold, self.negative_weight = temperature, threshold, negative_weight
        self.num_groups, self.num_fused_groups, self.group_seed = num_groups, fused, group_seed

    @property
    def neutral(self) -> float | None:
        return 0.5 if self.form == "sum_softmax" else None

    def check(self, outline: Outline) -> None:
        check_groups(self.num_groups, outline)

    def prepare(self, bank: TextBank) -> DealtBank:
        self.check(Outline.of(bank))
        count = len(bank.negatives)
        size = count // self.num_groups
        order = torch.randperm(size * self.num_groups, generator=generator(self.group_seed))
        fused = order[: size * self.num_fused_groups].to(bank.negatives.embeddings.device)
        return DealtBank(bank.id_labels.embeddings, bank.negatives.embeddings[fused])

    def score(self, images: Float[Tensor, "B D"], prepared: DealtBank) -> Float[Tensor, " B"]:
        labels = len(prepared.id_embeddings) + len(prepared.negative_embeddings)
        rows = rows_at_once(images, labels, CHUNK_ELEMENTS, ROW_BLOCK)
        return torch.cat([self._score_chunk(part, prepared) for part in images.split(rows)])

    def _score_chunk(self, images: Float[Tensor, "B D"], bank: DealtBank) -> Float[Tensor, " B"]:
        to_id = similarities(images, bank.id_embeddings, self.similarity)
        to_negatives = similarities(images, bank.negative_embeddings, self.similarity)
        to_groups = to_negatives.unflatten(1, (self.num_fused_groups, -1))
        if self.form in SOFTMAX_FORMS:
            return self._softmax_share(to_id / self.temperature, to_groups / self.temperature).mean(dim=1)
        if self.form in BINARIZED_FORMS:
            to_id, to_groups = (to_id >= self.threshold).double(), (to_groups >= self.threshold).double()
        return self._fuse(to_id, to_groups).mean(dim=1)

    def _softmax_share(self, to_id: Float[Tensor, "B C"], to_groups: Float[Tensor, "B G K"]) -> Float[Tensor, "B G"]:
        id_mass, group_mass = to_id.logsumexp(dim=1, keepdim=True), to_groups.logsumexp(dim=2)
        share = torch.sigmoid(id_mass - group_mass)
        if self.form == "sum_softmax":
            return share
        return (to_id.amax(dim=1, keepdim=True) - id_mass).exp() * share

    def _fuse(self, to_id: Float[Tensor, "B C"], to_groups: Float[Tensor, "B G K"]) -> Float[Tensor, "B G"]:
        id_sum, group_sums = to_id.sum(dim=1, keepdim=True), to_groups.sum(dim=2)
        id_top = to_id.amax(dim=1, keepdim=True)
        if self.form in ("linear_sum", "linear_binarized"):
            return id_sum - self.negative_weight * group_sums
        if self.form == "linear_max":
            return id_top.expand_as(group_sums)
        if self.form == "negative_binarized":
            return -group_sums
        total = id_sum + group_sums
        part = id_top if self.form == "proportional_max" else id_sum
        return torch.where(total == 0, 0.0, part / total)
