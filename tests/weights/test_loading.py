import torch

from neglab.weights.loading import fixed_random_weights


def test_networks_have_the_same_weights_at_every_start():
    found = []
    for _ in range(2):
        with fixed_random_weights():
            found.append((torch.randn(4), torch.empty(1000)))
    assert torch.equal(found[0][0], found[1][0])
    assert all(empty.isnan().all() for _, empty in found)  # not what happened to lie in memory
    assert not torch.are_deterministic_algorithms_enabled()
