"""Streams that are shuffled, or meet one kind of image first."""

import torch

from neglab.ranges import Count, Positive, Seed
from neglab.stream.base import StreamPlan
from neglab.types import Stream, UserError, generator

ORDERS = ("shuffled", "id_first", "ood_first")


class ArrangedStream(StreamPlan):
    """ID and OOD images in a random order, all mixed or one kind after the other.

    Args:
        order: "shuffled", "id_first" or "ood_first"; within one kind the order is random too.
        seed: of the order, and of the choice of images where a ratio leaves some out.
        id_per_ood: ID images per OOD image, such as 0.01 or 1000; images of the kind that is too many are left out at
            random. None: all images.
        batch_size, reset: see `StreamPlan`.

    Raises:
        UserError: an unknown order.

    Source: the mixed stream of AdaNeg, InterNeg and TANL (OpenOOD-VLM at 804f331, fsood_evaluator_clip.py); the ratios
        of InterNeg's Figure 3.
    Differs: the official order comes from a global random state that is never set for it.
    """

    def __init__(self, order: str, seed: Seed, id_per_ood: Positive | None, batch_size: Count, reset: bool) -> None:
        super().__init__(batch_size, seed, reset)
        if order not in ORDERS:
            raise UserError(f"stream.order must be one of {', '.join(ORDERS)}; got {order!r}.")
        self.order, self.id_per_ood = order, id_per_ood

    def draw(self, num_id: int, num_ood: int) -> Stream:
        random = generator(self.seed)
        id_positions = torch.randperm(num_id, generator=random)
        ood_positions = torch.randperm(num_ood, generator=random) + num_id
        if self.id_per_ood is not None:
            wanted_id, wanted_ood = round(num_ood * self.id_per_ood), round(num_id / self.id_per_ood)
            id_positions = id_positions[: max(1, wanted_id)]
            ood_positions = ood_positions[: max(1, wanted_ood)]
        if self.order == "ood_first":
            order = torch.cat([ood_positions, id_positions])
        else:
            order = torch.cat([id_positions, ood_positions])
        if self.order == "shuffled":
            order = order[torch.randperm(len(order), generator=random)]
        return Stream(order, self.batch_size, self.seed)

    def describe(self) -> str:
        ratio = "" if self.id_per_ood is None else f", {self.id_per_ood:g} ID per OOD image"
        carried = "" if self.reset else ", never reset"
        return f"{self.order}, batches of {self.batch_size}{ratio}{carried}"
