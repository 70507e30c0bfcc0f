"""From images to texts: how far a text lies from every ID class, and pseudo-words that say what an image shows."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import normalize

from neglab.on_device import places, rows_at_once
from neglab.types import LabelledEmbeddings, LabelSet, TextBank, TextEncoder, UserError

SLOT = "{}"
# Tokens of their own, whose embeddings are never used: CLIP's vocabulary has the first, as the official codes take it;
# the others are for tokenizers that drop punctuation.
PLACEHOLDERS = ("$", "X", "Z")
SIMILARITY_ELEMENTS = 2**24  # cosine similarities held at once: 64 MiB
# Token embeddings (images x tokens x width) that are optimised at once. A CLIP layer keeps about 20 values for each
# until the backward pass: 1 GiB in float32 for 12 layers.
TOKEN_ELEMENTS = 2**20


@dataclass(frozen=True)
class ClassAnchors:
    """What each ID class is compared with, and how near its own name is to that.

    Attributes:
        prototypes: p_c, [C, D], unit norm.
        base: cos(e_c, p_c), [C]: 1 less the base distance of InterNeg's Eq. 8.
    """

    prototypes: Float[Tensor, "C D"]
    base: Float[Tensor, " C"]


def image_anchors(id_labels: LabelSet, id_images: LabelledEmbeddings | None) -> ClassAnchors:
    """Each class's mean ID image, unit norm; images of no class (-1) are left out.

    Raises:
        UserError: there are no ID images, or a class has none.

    Source: InterNeg (Xu et al., CVPR 2026), Eq. 7 and 8, official code at e0162029.
    Differs: the sum is float32; the code sums float16 in the order of arrival. The paper does not normalise the mean,
        which changes no cosine.
    """
    if id_images is None or len(id_images) == 0:
        raise UserError("This method compares texts with ID images; got none. Choose id_images=..., such as emoji.")
    known = (id_images.labels >= 0).cpu()
    members, images = id_images.labels.cpu()[known], id_images.embeddings.cpu()[known]
    counts = torch.bincount(members, minlength=len(id_labels))
    missing = [id_labels.names[c] for c in (counts == 0).nonzero().flatten().tolist()]
    if missing:
        raise UserError(
            f"Every ID class needs an ID image; got none of {len(missing)} classes, the first is {missing[0]!r}. "
            "Add images of it to the set that id_images draws from."
        )
    # The sum has the mean's direction. On the CPU, since a GPU adds up in an order of its own.
    sums = torch.zeros(len(id_labels), images.shape[1]).index_add(0, members, images)
    prototypes = normalize(sums, dim=1).to(id_labels.embeddings.device)
    return ClassAnchors(prototypes, (id_labels.embeddings * prototypes).sum(dim=1))


def text_anchors(id_labels: LabelSet) -> ClassAnchors:
    """The ID class names themselves, for the ablation without ID images: the base distance is 0."""
    return ClassAnchors(id_labels.embeddings, id_labels.embeddings.square().sum(dim=1))


def deviation(
    embeddings: Float[Tensor, "N D"], anchors: ClassAnchors
) -> tuple[Bool[Tensor, " N"], Float[Tensor, " N"]]:
    """Whether a text is farther from every class than the class's own name, and by how much on average.

    Returns:
        The condition, strict in every class, and the deviation degree, higher is farther from ID. What is not finite
        never fulfils the condition.

    Source: InterNeg, Eq. 9 and 10, official code at e0162029; TINS (arXiv 2605.10756), eval_tins_w_init.py.
    Differs: the degree is the mean over classes, as in both codes; the paper's sum ranks alike.
    """
    passes, degrees = [], []
    for part in embeddings.split(rows_at_once(embeddings, len(anchors.base), SIMILARITY_ELEMENTS)):
        margins = anchors.base - part @ anchors.prototypes.T
        passes.append((margins > 0).all(dim=1))
        degrees.append(margins.mean(dim=1))
    return torch.cat(passes), torch.cat(degrees)


def new_negatives(
    texts: Float[Tensor, "B D"], anchors: ClassAnchors
) -> tuple[Int[Tensor, " K"], Float[Tensor, " K"], int]:
    """Which texts are finite and lie far enough from every class: their positions, their degrees.

    Also how many are not finite. Both are asked for at once, since a GPU is waited for.
    """
    passes, degrees = deviation(texts, anchors)
    finite = texts.isfinite().all(dim=1)
    accepted, failed = torch.stack([passes & finite, ~finite]).cpu()
    positions = places(accepted, texts.device)
    return positions, degrees[positions], int(failed.sum())


def enlarged(bank: TextBank, extras: Float[Tensor, "K D"]) -> TextBank:
    """The bank with nameless embeddings after its negatives."""
    own, count = bank.negatives, len(extras)
    negatives = LabelSet(
        own.names + ("",) * count,
        own.parts_of_speech + ("noun",) * count,
        torch.cat([own.embeddings, extras]),
        own.synsets + (None,) * count,
    )
    return replace(bank, negatives=negatives)


@dataclass(frozen=True)
class SlottedPrompts:
    """Tokenised prompts, some of whose tokens give way to trained vectors.

    Attributes:
        tokens: their token embeddings, [P, L, E].
        end: position of the end token, [P].
        slots: positions of the T trained vectors, [P, T].
    """

    tokens: Float[Tensor, "P L E"]
    end: Int[Tensor, " P"]
    slots: Int[Tensor, "P T"]


@dataclass(frozen=True)
class Descent:
    """How pseudo-words are optimised.

    Attributes:
        steps: S, of AdamW.
        learning_rate: of AdamW.
        weight_decay: of AdamW.
    """

    steps: int
    learning_rate: float
    weight_decay: float


def placeholder_prompts(
    encoder: TextEncoder, templates: Sequence[str], num_tokens: int, device: torch.device
) -> SlottedPrompts:
    """Templates with `num_tokens` free tokens in the place of `{}`.

    Raises:
        UserError: the tokenizer does not keep the placeholders apart.
    """
    for placeholder in PLACEHOLDERS:
        marks = " ".join([placeholder] * num_tokens)
        # Spaces around, as in the official code: "$." would be one token.
        ids, end = encoder.tokenize([template.replace(SLOT, f" {marks} ") for template in templates])
        alone, (alone_end, begin) = encoder.tokenize([placeholder, ""])
        is_slot = ids == alone[0, alone_end - 1]
        if alone_end > begin and (is_slot.sum(dim=1) == num_tokens).all():
            slots = is_slot.nonzero()[:, 1].view(len(ids), num_tokens)
            return _prompts(encoder, ids, end, slots, device)
    raise UserError(
        f"Inversion needs a tokenizer that keeps one of {', '.join(PLACEHOLDERS)} as a token of its own; got another "
        f"number than {num_tokens} of each in a template. Choose a CLIP backbone, and templates without them."
    )


def word_prompts(encoder: TextEncoder, template: str, words: Sequence[str], device: torch.device) -> SlottedPrompts:
    """A template around each word, the word's last token to be trained; its other tokens stay."""
    before = template[: template.index(SLOT)]
    ids, end = encoder.tokenize([template.replace(SLOT, word) for word in words])
    _, word_end = encoder.tokenize([before + word for word in words])
    return _prompts(encoder, ids, end, (word_end - 1)[:, None], device)


def _prompts(encoder: TextEncoder, ids: Tensor, end: Tensor, slots: Tensor, device: torch.device) -> SlottedPrompts:
    # Lightning predicts in inference mode, whose tensors no backward pass may use.
    with torch.inference_mode(False), torch.no_grad():
        tokens = encoder.embed_tokens(ids.clone().to(device)).float().clone()
        return SlottedPrompts(tokens, end.clone().to(device), slots.clone().to(device))


def invert(
    encoder: TextEncoder,
    prompts: SlottedPrompts,
    drawn: Int[Tensor, "S B"],
    start: Float[Tensor, "B T E"],
    images: Float[Tensor, "B D"],
    descent: Descent,
    repulsion: Float[Tensor, " D"] | None,
) -> Float[Tensor, "B D"]:
    """Texts that say what the images show: each image's own T token embeddings, optimised towards it.

    Per image the loss is 1 - cos(f, h) + cos(f, r), with f the text's embedding, h the image and r the repulsion; the
    optimiser sees the mean over the batch. All images are optimised side by side, in chunks that change nothing but
    rounding, with prompts cut at their end token.

    Args:
        encoder: its door for token embeddings.
        prompts: P prompts with T free tokens.
        drawn: the prompt of each image in each of the S steps; the last one's is the result's too.
        start: the first token embeddings.
        images: unit norm.
        descent: how to optimise.
        repulsion: r; None: no such term. Need not have unit norm.

    Returns:
        Unit-norm embeddings [B, D], not finite where the optimisation failed. They need no gradient.

    Source: InterNeg, Algorithm 2, official code at e0162029, oneoodprompt_postprocessor.py; TINS, eval_tins_w_init.py.
    Differs: the parameters and the optimiser are float32 whatever the backbone's precision, without autocast and its
        loss scaler; gradients are taken of the sum and divided by the number of images, so that in float16 they do not
        underflow with a large batch.
    """
    rows = max(1, TOKEN_ELEMENTS // prompts.tokens[0].numel())
    with torch.inference_mode(False), torch.enable_grad():
        target = images.clone() if repulsion is None else images - repulsion
        parts = zip(drawn.clone().split(rows, dim=1), start.split(rows), target.split(rows), strict=True)
        found = [_descend(encoder, prompts, *part, descent, len(images)) for part in parts]
    return torch.cat(found)


def _descend(
    encoder: TextEncoder,
    prompts: SlottedPrompts,
    drawn: Int[Tensor, "S B"],
    start: Float[Tensor, "B T E"],
    target: Float[Tensor, "B D"],
    descent: Descent,
    num_images: int,
) -> Float[Tensor, "B D"]:
    vectors = start.clone().requires_grad_()
    optimizer = torch.optim.AdamW([vectors], lr=descent.learning_rate, weight_decay=descent.weight_decay)
    # Of all steps at once, since reading a number off a device waits for all its work.
    lengths: list[int] = (prompts.end[drawn].amax(dim=1) + 1).tolist()
    for choice, length in zip(drawn, lengths, strict=True):
        # 1 - cos(f, h) + cos(f, r) is 1 - f(h - r).
        loss = (1 - (encode_slotted(encoder, prompts, choice, length, vectors) * target).sum(dim=1)).sum()
        vectors.grad = torch.autograd.grad(loss, vectors)[0] / num_images
        optimizer.step()
    with torch.no_grad():
        return encode_slotted(encoder, prompts, drawn[-1], lengths[-1], vectors)


def encode_slotted(
    encoder: TextEncoder,
    prompts: SlottedPrompts,
    choice: Int[Tensor, " B"],
    length: int,
    vectors: Float[Tensor, "B T E"],
) -> Float[Tensor, "B D"]:
    """Embeddings of the chosen prompts with these vectors in their slots, differentiable in the vectors.

    Args:
        encoder: its door for token embeddings.
        prompts: with T slots each.
        choice: of prompts.
        length: tokens of the longest chosen one.
        vectors: for the slots.
    """
    tokens = prompts.tokens[choice, :length]
    slots = prompts.slots[choice, :, None].expand(-1, -1, tokens.shape[2])
    return encoder.encode_tokens(tokens.scatter(1, slots, vectors), prompts.end[choice])
