"""What a backbone owes to methods that feed vectors in the place of words: the words' own vectors give the words."""

import torch
from fakes import NoEncoder
from torch.nn.functional import cosine_similarity, normalize

from neglab.context.prompts import TokenTower, context_prompts
from neglab.inversion import Descent, encode_slotted, invert, placeholder_prompts, word_prompts

CPU = torch.device("cpu")


class UnitTexts(NoEncoder):
    """A backbone as a TextEncoder."""

    def __init__(self, backbone):
        self.backbone, self.tokenize, self.embed_tokens = backbone, backbone.tokenize, backbone.embed_tokens

    def encode_texts(self, texts):
        return normalize(self.backbone.encode_text(texts), dim=1)

    def encode_tokens(self, token_embeddings, end):
        return normalize(self.backbone.encode_tokens(token_embeddings, end), dim=1)


def assert_vectors_do_what_words_do(backbone):
    encoder = UnitTexts(backbone)
    as_words = encoder.encode_texts(["a photo of cat.", "a photo of polar bear."])
    word_ids, ends = backbone.tokenize(["a photo of", ""])
    context = backbone.embed_tokens(word_ids)[:1, None, int(ends[1]) : int(ends[0])]
    assert context.shape[2] == 3, word_ids
    learned = TokenTower(backbone, 64)(*context_prompts(backbone, ["cat", "polar bear"], 3, True, CPU)(context))
    assert torch.allclose(learned[0], as_words, atol=1e-5)

    slotted = placeholder_prompts(encoder, ["a photo of {}.", "{} the cat."], 2, CPU)
    vectors = context[:, 0, :2].expand(2, -1, -1)
    both = encode_slotted(encoder, slotted, torch.tensor([0, 1]), slotted.tokens.shape[1], vectors)
    assert torch.allclose(both, encoder.encode_texts(["a photo of a photo.", "a photo the cat."]), atol=1e-5)

    words = word_prompts(encoder, "a photo of {}.", ["cat", "bear"], CPU)
    own = words.tokens[torch.arange(2), words.slots[:, 0]][:, None]
    unchanged = encode_slotted(encoder, words, torch.tensor([0, 1]), words.tokens.shape[1], own)
    assert torch.allclose(unchanged, encoder.encode_texts(["a photo of cat.", "a photo of bear."]), atol=1e-5)
    target = normalize(torch.randn(2, unchanged.shape[1], generator=torch.Generator().manual_seed(0)), dim=1)
    found = invert(encoder, words, torch.tensor([[0, 1]] * 20), own, target, Descent(20, 0.05, 0.0), None)
    gain = cosine_similarity(found, target) - cosine_similarity(unchanged, target)
    assert (gain > 0.01).all(), gain
