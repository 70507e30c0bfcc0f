"""Prompts whose context is a row of vectors instead of words: where the vectors go, and what encodes the result."""

from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import normalize, relu
from torch.utils.checkpoint import checkpoint

from neglab.backbone.base import Backbone
from neglab.types import TextEncoder, UserError

# Unit-norm embeddings [S, N, D] of beginnings [S, M, P, E], endings [N, R, E] and positions of end tokens [N].
TokenEncoder = Callable[[Tensor, Tensor, Tensor], Tensor]

PLACEHOLDER = "X"  # one token, whose embedding is never used; the official codes' choice
# Prompts that a CPU takes at once: what a layer computes of them stays in its cache, and few are much shorter than the
# longest. A GPU is busy with large passes alone.
PROMPTS_ON_CPU = 32
UNIFORM_BOUND = 1.0  # nn.Linear draws its first values from [-b, b] with b = bound / sqrt(width of the input)


class ContextPrompts(nn.Module):
    """The prompts "X ... X name." of N names with room for a context: token embeddings, looked up once.

    Args:
        tokens: of the whole prompts, cut at the longest, [N, L, E].
        end: position of each end token, [N]; stays on the CPU, since the shape of a pass hangs on it.
        num_tokens: n, vectors of a context.
        begin: B, tokens before a text, behind which a context stands: 1, or 0 where the tokenizer has no begin token.
    """

    prefix: Tensor
    suffix: Tensor

    def __init__(self, tokens: Float[Tensor, "N L E"], end: Int[Tensor, " N"], num_tokens: int, begin: int) -> None:
        super().__init__()
        self.num_tokens, self.end = num_tokens, end
        # Buffers move with the module; they can always be looked up again, so no checkpoint holds them.
        self.register_buffer("prefix", tokens[:1, :begin], persistent=False)
        self.register_buffer("suffix", tokens[:, begin + num_tokens :], persistent=False)

    def __len__(self) -> int:
        return len(self.end)

    def forward(
        self, context: Float[Tensor, "S M n E"]
    ) -> tuple[Float[Tensor, "S M P E"], Float[Tensor, "N R E"], Int[Tensor, " N"]]:
        """The prompts with S contexts each.

        Args:
            context: M is 1 for contexts that all names share, or N.

        Returns:
            Token embeddings of the P = B + n tokens up to the name and of what follows, and the position of each end
            token in its whole prompt.
        """
        begin = self.prefix.expand(*context.shape[:2], -1, -1)
        return torch.cat([begin, context], dim=2), self.suffix, self.end


def context_prompts(
    encoder: Backbone | TextEncoder, names: Sequence[str], num_tokens: int, class_name: bool, device: torch.device
) -> ContextPrompts:
    """Tokenize "X ... X name." for every name.

    Args:
        encoder: gives tokens and their embeddings.
        names: as a person writes them.
        num_tokens: n, vectors of a context.
        class_name: False: the prompt is the context and a full stop, the same for every name.
        device: where the encoder is.

    Raises:
        UserError: a prompt is longer than the tower reads, or the tokenizer does not take the placeholder as one token.

    Source: CoOp (Zhou et al., IJCV 2022), official code at ff61507c, trainers/coop.py, class token at the end.
    """
    endings = _endings(names, class_name)
    texts = [" ".join([PLACEHOLDER] * num_tokens + [ending]) for ending in endings]
    ids, end = encoder.tokenize(texts)
    begin = int(encoder.tokenize([""])[1])
    if (ids[:, begin : begin + num_tokens] != ids[0, begin]).any():
        raise UserError(
            f"Learned contexts need a tokenizer that takes {PLACEHOLDER!r} as one token; this backbone's does not. "
            "Choose another backbone, such as backbone=mini."
        )
    with torch.no_grad():
        tokens = encoder.embed_tokens(ids.to(device)).detach().float()
    return ContextPrompts(tokens, end, num_tokens, begin)


def check_length(backbone: Backbone, names: Sequence[str], num_tokens: int, class_name: bool) -> None:
    """Raise a UserError that names the longest name, where its prompt does not fit the tower.

    The endings are tokenized alone: the whole prompt would be cut, or refused without saying what made it so long.
    """
    end = backbone.tokenize(_endings(names, class_name))[1]
    needed = num_tokens + int(end.max()) + 1
    if needed > backbone.context_length:
        raise UserError(
            f"A prompt must fit the {backbone.context_length} tokens that the text tower reads; with {num_tokens} "
            f"context vectors that of {names[int(end.argmax())]!r} has {needed}. Lower context.num_tokens, or shorten "
            "the class name."
        )


def _endings(names: Sequence[str], class_name: bool) -> list[str]:
    return [f"{name}." if class_name else "." for name in names]


class TokenTower(nn.Module):
    """The text tower behind the learners: unit-norm embeddings of token embeddings.

    Args:
        backbone: frozen.
        prompts_per_pass: more prompts go through in chunks, whose activations are computed again for the gradient.
    """

    def __init__(self, backbone: Backbone, prompts_per_pass: int) -> None:
        super().__init__()
        self.backbone, self.prompts_per_pass = backbone, prompts_per_pass

    def forward(
        self, beginnings: Float[Tensor, "S M P E"], endings: Float[Tensor, "N R E"], end: Int[Tensor, " N"]
    ) -> Float[Tensor, "S N D"]:
        count = len(beginnings) * len(endings)
        size = min(PROMPTS_ON_CPU, self.prompts_per_pass) if endings.device.type == "cpu" else self.prompts_per_pass
        if count <= size:
            return self._encode(beginnings, endings, end)
        encode = self._encode if count <= self.prompts_per_pass or not torch.is_grad_enabled() else self._encode_again
        by_length = end.argsort(stable=True)  # names of like length together, cut at their longest
        parts = []
        for rows in by_length.split(size):
            own = beginnings if beginnings.shape[1] == 1 else beginnings[:, rows]
            cut = endings[rows, : int(end[rows[-1]]) + 1 - beginnings.shape[2]]
            sets = own.split(max(1, size // len(rows)))
            parts.append(torch.cat([encode(some, cut, end[rows]) for some in sets]))
        return torch.cat(parts, dim=1)[:, by_length.argsort()]

    def _encode(self, beginnings: Tensor, endings: Tensor, end: Tensor) -> Tensor:
        return normalize(self.backbone.encode_continuations(beginnings, endings, end), dim=2)

    def _encode_again(self, *prompts: Tensor) -> Tensor:
        # The towers draw no random numbers, so there is no state to keep for the second time.
        result: Any = checkpoint(self._encode, *prompts, use_reentrant=False, preserve_rng_state=False)
        return result


class MetaNet(nn.Module):
    """CoCoOp's: from an image's embedding to one vector that is added to every vector of the context.

    Args:
        embedding_dim: D.
        token_width: E.
        generator: of the first values, drawn as nn.Linear draws them.

    Source: CoCoOp (Zhou et al., CVPR 2022), Sec. 3.2; official code at ff61507c, trainers/cocoop.py: Linear(D,
        D // 16), ReLU, Linear(D // 16, E).
    """

    def __init__(self, embedding_dim: int, token_width: int, generator: torch.Generator) -> None:
        super().__init__()
        hidden = max(1, embedding_dim // 16)
        # `skip_init`: nn.Linear would draw from the global random state.
        self.down = cast(nn.Linear, nn.utils.skip_init(nn.Linear, embedding_dim, hidden))
        self.up = cast(nn.Linear, nn.utils.skip_init(nn.Linear, hidden, token_width))
        for layer in (self.down, self.up):
            bound = UNIFORM_BOUND / layer.in_features**0.5
            for parameter in (layer.weight, layer.bias):
                nn.init.uniform_(parameter, -bound, bound, generator=generator)

    def forward(self, images: Float[Tensor, "B D"]) -> Float[Tensor, "B E"]:
        return self.up(relu(self.down(images)))


def conditional_texts(
    encode: TokenEncoder,
    prompts: ContextPrompts,
    context: Float[Tensor, "1 1 n E"],
    meta_net: MetaNet,
    images: Float[Tensor, "B D"],
) -> Float[Tensor, "B N D"]:
    """The names' unit-norm embeddings for each image, whose share is added to every vector of the context."""
    shifted = context + meta_net(images)[:, None, None]
    return encode(*prompts(shifted))
