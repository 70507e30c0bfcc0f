"""InterNeg's score: NegLabel's, with negatives that are read off the most OOD-like images seen so far."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from neglab.inversion import (
    SLOT,
    ClassAnchors,
    Descent,
    SlottedPrompts,
    enlarged,
    image_anchors,
    invert,
    new_negatives,
    placeholder_prompts,
    text_anchors,
)
from neglab.ranges import Count, NotNegative, Positive, Seed, Share
from neglab.score.base import Judgement, Score
from neglab.score.neglabel import GroupedBank, NegLabelScore
from neglab.types import Outline, TextBank, TextEncoder, UserError, generator


@dataclass(frozen=True)
class InterNegState:
    """The text bank, the extra negatives of the images so far, and where the random templates stand.

    Attributes:
        text: the bank without extras.
        encoder: of the pseudo-words.
        anchors: what extras are compared with.
        prompts: the templates; None without extras.
        grouped: what NegLabel's score needs of bank and extras.
        extras: at most K embeddings by falling degree, [K, D].
        degrees: theirs, [K].
        template_stream: state of the Python generator that draws templates.
        num_inverted: images that were inverted.
        num_not_finite: inversions that failed and were dropped.
    """

    text: TextBank
    encoder: TextEncoder
    anchors: ClassAnchors
    prompts: SlottedPrompts | None
    grouped: GroupedBank
    extras: Float[Tensor, "K D"]
    degrees: Float[Tensor, " K"]
    template_stream: tuple[Any, ...]
    num_inverted: int
    num_not_finite: int


class InterNegScore(Score[InterNegState]):
    """NegLabel's score over a bank that grows with the stream. Higher is more ID; the score lies in [0, 1].

    Images that score below `threshold` are turned into texts by optimising pseudo-words. A text goes on as an extra
    negative where it is farther from every class's mean ID image than the class's name is; the K with the highest
    deviation degree stay. Then the images are scored again. The predicted class is the nearest text's, as in the
    official code.

    Args:
        num_groups: G, of negatives and extras; the remainder is dropped from the end, so extras of low degree first.
        temperature: tau, divides the cosine similarities.
        group_seed: of the groups' permutation, drawn anew for each length of the bank.
        threshold: beta, below which an image is inverted.
        strict_threshold: True: S < beta; False: S <= beta.
        extra: "inter": as above; "intra": the ablation, ID names in the place of mean images, so that all texts pass
            and the farthest from ID names stay; "none": no extras. Only "inter" takes ID images.
        templates: prompts of the pseudo-word, one drawn per image and step.
        num_tokens: T, pseudo-tokens of an image.
        initial_std: standard deviation of their first values.
        token_seed: of their first values, the same pattern in each batch.
        steps: S, of the optimiser.
        learning_rate: of AdamW.
        weight_decay: of AdamW.
        num_extras: K, extra negatives in use.
        rescore: "batch": all images of a batch again; "accepted": those alone whose text became a negative.
        update_size: images after which the bank changes; None: the batch; 1: the paper's Algorithm 1 to the letter.
        seed: of the templates.

    Raises:
        UserError: no ID images of a class, or fewer negatives than groups.

    Shapes: images [B, D] give [B], float64.

    Source: InterNeg (Xu et al., CVPR 2026), Algorithms 1 and 2; official code at e0162029,
        oneoodprompt_postprocessor.py.
    Differs: extras are float32, the code's float16. The code keeps every extra and uses the K highest; keeping those
        alone gives the same. Pseudo-tokens begin with CPU draws, the code's with CUDA's. Templates come from a Python
        generator as in the code, from its first draw on; the state holds its position. Inversions that are not finite
        are dropped and counted, the code stops in a debugger. The paper's code has no `intra` extras: that ablation
        follows Table 3's words.
    """

    order_dependent: ClassVar[bool] = True
    needs_encoder: ClassVar[bool] = True

    def __init__(
        self,
        num_groups: Count,
        temperature: Positive,
        group_seed: Seed,
        threshold: Share,
        strict_threshold: bool,
        extra: str,
        templates: Sequence[str],
        num_tokens: Count,
        initial_std: NotNegative,
        token_seed: Seed,
        steps: Count,
        learning_rate: Positive,
        weight_decay: NotNegative,
        num_extras: Count,
        rescore: str,
        update_size: Count | None,
        seed: Seed,
    ) -> None:
        self.neglabel = NegLabelScore(num_groups, temperature, group_seed)
        self.descent = Descent(steps, learning_rate, weight_decay)
        if extra not in ("inter", "intra", "none"):
            raise UserError(f"score.extra must be inter, intra or none; got {extra!r}.")
        if rescore not in ("batch", "accepted"):
            raise UserError(f"score.rescore must be batch or accepted; got {rescore!r}.")
        listed = [] if isinstance(templates, str) else [str(one) for one in templates]
        if not listed or any(one.count(SLOT) != 1 for one in listed):
            raise UserError(
                f"score.templates must be templates with one {SLOT} each; got {templates}. "
                f"Give a list, such as ['a photo of {SLOT}']."
            )
        self.threshold, self.strict_threshold, self.extra = threshold, strict_threshold, extra
        self.needs_id_images = extra == "inter"
        self.templates, self.num_tokens = tuple(listed), num_tokens
        self.initial_std, self.token_seed = initial_std, token_seed
        self.num_extras, self.rescore, self.update_size, self.seed = num_extras, rescore, update_size, seed

    @property
    def neutral(self) -> float:
        return 0.5

    def check(self, outline: Outline) -> None:
        self.neglabel.check(outline)

    def init(self, bank: TextBank, encoder: TextEncoder) -> InterNegState:
        embeddings, prompts = bank.id_labels.embeddings, None
        inter = self.extra == "inter"
        anchors = image_anchors(bank.id_labels, bank.id_images) if inter else text_anchors(bank.id_labels)
        if self.extra != "none":
            prompts = placeholder_prompts(encoder, self.templates, self.num_tokens, embeddings.device)
        return InterNegState(
            text=bank,
            encoder=encoder,
            anchors=anchors,
            prompts=prompts,
            grouped=self.neglabel.prepare(bank),
            extras=embeddings[:0],
            degrees=embeddings.new_zeros(0),
            template_stream=random.Random(self.seed).getstate(),
            num_inverted=0,
            num_not_finite=0,
        )

    def step(self, state: InterNegState, images: Float[Tensor, "B D"]) -> tuple[Judgement, InterNegState]:
        scores = []
        for part in images.split(self.update_size or max(1, len(images))):
            values, state = self._update(state, part)
            scores.append(values)
        return Judgement(torch.cat(scores)), state

    def _update(self, state: InterNegState, images: Float[Tensor, "B D"]) -> tuple[Float[Tensor, " B"], InterNegState]:
        (scores, _), _ = self.neglabel.step(state.grouped, images)
        active = scores < self.threshold if self.strict_threshold else scores <= self.threshold
        active = active.nonzero().flatten()
        if state.prompts is None or not len(active):
            return scores, state
        texts, state = self._invert(state, state.prompts, images[active])
        accepted, state = self._with_extras(state, texts)
        if not len(accepted):
            return scores, state
        (again, _), _ = self.neglabel.step(state.grouped, images)
        if self.rescore == "batch":
            return again, state
        changed = active[accepted]
        return scores.index_copy(0, changed, again[changed]), state

    def _invert(
        self, state: InterNegState, prompts: SlottedPrompts, images: Float[Tensor, "B D"]
    ) -> tuple[Float[Tensor, "B D"], InterNegState]:
        stream = random.Random()
        stream.setstate(state.template_stream)
        choices = [stream.choices(range(len(self.templates)), k=len(images)) for _ in range(self.descent.steps)]
        drawn = torch.tensor(choices, device=images.device)
        shape = (len(images), self.num_tokens, prompts.tokens.shape[2])
        start = torch.randn(shape, generator=generator(self.token_seed)) * self.initial_std
        texts = invert(state.encoder, prompts, drawn, start.to(images.device), images, self.descent, None)
        num_inverted = state.num_inverted + len(images)
        return texts, replace(state, template_stream=stream.getstate(), num_inverted=num_inverted)

    def _with_extras(
        self, state: InterNegState, texts: Float[Tensor, "B D"]
    ) -> tuple[Int[Tensor, " K"], InterNegState]:
        """Which texts became negatives, and the state with them among the extras."""
        accepted, degrees, num_failed = new_negatives(texts, state.anchors)
        state = replace(state, num_not_finite=state.num_not_finite + num_failed)
        if not len(accepted):
            return accepted, state
        joined = torch.cat([state.degrees, degrees])
        # Stable: of equal degrees the older comes first.
        order = joined.argsort(descending=True, stable=True)[: self.num_extras]
        extras = torch.cat([state.extras, texts[accepted]])[order]
        grouped = self.neglabel.prepare(enlarged(state.text, extras))
        return accepted, replace(state, extras=extras, degrees=joined[order], grouped=grouped)
