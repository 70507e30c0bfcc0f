"""Local embeddings of CLIP's image towers, from their weights, patch by patch. Imports nothing from neglab.

GL-MCM's official code at 8708a08, clip/model.py: every block of the transformer as usual, and beside the last one the
path of its values alone.
"""

import math


def transformer_patches(weights, pixels, patch_size, num_heads, num_layers):
    """Of one image [3, H, W]; `weights` are those of the image tower. A list with a vector per patch, row by row."""
    tokens = first_tokens(weights, pixels, patch_size)
    for layer in range(num_layers - 1):
        tokens = block(tokens, weights, f"transformer.resblocks.{layer}", num_heads)
    last = f"transformer.resblocks.{num_layers - 1}"
    found = []
    for token in tokens[1:]:
        token = token + projected_value(norm(token, weights, f"{last}.ln_1"), weights, last)
        token = token + mlp(norm(token, weights, f"{last}.ln_2"), weights, last)
        found.append(norm(token, weights, "ln_post") @ weights["proj"])
    return found


def transformer_image(weights, pixels, patch_size, num_heads, num_layers):
    """The image's own embedding, by the same steps: what the library must give."""
    tokens = first_tokens(weights, pixels, patch_size)
    for layer in range(num_layers):
        tokens = block(tokens, weights, f"transformer.resblocks.{layer}", num_heads)
    return norm(tokens[0], weights, "ln_post") @ weights["proj"]


def first_tokens(weights, pixels, size):
    tokens = [weights["class_embedding"]]
    for y in range(0, pixels.shape[1], size):
        for x in range(0, pixels.shape[2], size):
            patch = pixels[:, y : y + size, x : x + size]
            tokens.append((weights["conv1.weight"] * patch).sum(dim=(1, 2, 3)))
    positions = weights["positional_embedding"]
    return [norm(t + p, weights, "ln_pre") for t, p in zip(tokens, positions, strict=True)]


def resnet_places(weights, features):
    """Of the last feature map [F, h, w] of one image: values and their projection, without attention or positions."""
    found = []
    for y in range(features.shape[1]):
        for x in range(features.shape[2]):
            value = weights["attnpool.v_proj.weight"] @ features[:, y, x] + weights["attnpool.v_proj.bias"]
            found.append(weights["attnpool.c_proj.weight"] @ value + weights["attnpool.c_proj.bias"])
    return found


def block(tokens, weights, name, num_heads):
    normed = [norm(token, weights, f"{name}.ln_1") for token in tokens]
    width = len(tokens[0])
    triples = [weights[f"{name}.attn.in_proj_weight"] @ t + weights[f"{name}.attn.in_proj_bias"] for t in normed]
    size, result = width // num_heads, []
    for i, token in enumerate(tokens):
        mixed = token * 0
        for head in range(num_heads):
            part = slice(head * size, (head + 1) * size)
            query = triples[i][:width][part]
            scores = [float(query @ t[width : 2 * width][part]) / math.sqrt(size) for t in triples]
            powers = [math.exp(s - max(scores)) for s in scores]
            for power, triple in zip(powers, triples, strict=True):
                mixed[part] += power / sum(powers) * triple[2 * width :][part]
        out = weights[f"{name}.attn.out_proj.weight"] @ mixed + weights[f"{name}.attn.out_proj.bias"]
        after = token + out
        result.append(after + mlp(norm(after, weights, f"{name}.ln_2"), weights, name))
    return result


def projected_value(token, weights, name):
    width = len(token)
    value = weights[f"{name}.attn.in_proj_weight"][2 * width :] @ token
    value = value + weights[f"{name}.attn.in_proj_bias"][2 * width :]
    return weights[f"{name}.attn.out_proj.weight"] @ value + weights[f"{name}.attn.out_proj.bias"]


def mlp(token, weights, name):
    hidden = weights[f"{name}.mlp.c_fc.weight"] @ token + weights[f"{name}.mlp.c_fc.bias"]
    hidden = hidden * (1 + (hidden / math.sqrt(2)).erf()) / 2
    return weights[f"{name}.mlp.c_proj.weight"] @ hidden + weights[f"{name}.mlp.c_proj.bias"]


def norm(token, weights, name):
    centred = token - token.mean()
    return centred / (centred.square().mean() + 1e-5).sqrt() * weights[f"{name}.weight"] + weights[f"{name}.bias"]
