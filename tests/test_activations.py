"""Which filters answer, and which never do."""

import torch
from torch import nn

from competition.analysis.activations import DeadFilters, activation_maps, count_dead, strongest

torch.set_num_threads(1)


def network_with_dead_filters():
    """Four filters of which 1 and 3 are pushed below zero for every picture."""
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 16, 8), nn.GELU())
    with torch.no_grad():
        network[0].weight.fill_(0.5)
        network[0].bias.copy_(torch.tensor([0.0, -100.0, 0.0, -100.0]))
    return network.eval()


def test_dead_filters_are_counted_over_all_batches():
    batches = [torch.rand(4, 3, 4, 4) for _ in range(2)]
    first, second = count_dead(network_with_dead_filters(), batches)
    assert first == DeadFilters("1", 2, 4)
    assert (second.layer, second.dead, second.filters) == ("4", 0, 8)


def test_a_filter_that_answers_in_one_batch_alone_is_alive():
    network = network_with_dead_filters()
    bright = torch.rand(4, 3, 4, 4) + 100
    assert count_dead(network, [torch.rand(4, 3, 4, 4), bright])[0].dead == 0


def test_maps_are_the_layers_own_in_the_asked_order():
    network = nn.Sequential(nn.Conv2d(3, 2, 1), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(2)).eval()
    images = torch.randn(1, 3, 4, 4)
    maps = activation_maps(network, images, ["2", "0"])
    assert maps["0"].min() < 0, "what the layer in place after it has made of it"
    torch.testing.assert_close(maps["0"], network[0](images).detach())
    assert list(maps) == ["2", "0"]
    assert maps["2"].shape == (1, 2, 2, 2)
    assert maps["0"].shape == (1, 2, 4, 4)


def test_the_strongest_filters_vary_most_within_the_picture():
    maps = torch.zeros(4, 2, 2)
    maps[0] += 9.0  # high everywhere tells nothing of the picture
    maps[1, 0, 0], maps[3, 1, 1] = 2.0, 5.0
    assert strongest(maps, 2) == [1, 3]
