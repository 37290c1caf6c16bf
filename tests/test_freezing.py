"""Which parameters train, and what stays in eval mode while they do."""

import pytest
import torch

from competition.models.factory import create_network
from competition.models.freezing import freeze, set_train_mode

torch.set_num_threads(1)


def trainable_modules(network):
    """Names of trainable parameters without their last part, in order, once each."""
    return list(dict.fromkeys(name.rpartition(".")[0] for name, p in network.named_parameters() if p.requires_grad))


@pytest.mark.parametrize(
    ("name", "classifier", "last_block"),
    [
        ("resnet10t", ["fc"], "layer4.0"),
        ("mobilenetv2_050", ["classifier"], ("conv_head", "bn2")),
        ("mobilenetv3_small_050", ["classifier"], "conv_head"),
        ("vit_tiny_patch16_224", ["head"], ("blocks.11", "norm")),
        ("mycnn", ["classifier"], "blocks.7"),
        ("imp_cnn", ["classifier"], "blocks.2"),
        ("mlp", ["classifier"], "blocks.layers.2"),
        ("resnet_small", ["classifier"], "dense"),
    ],
)
def test_parts_that_train(name, classifier, last_block):
    network = create_network(name, 3, image_size=32)
    freeze(network, "all")
    assert trainable_modules(network) == classifier
    freeze(network, "all-but-last-block")
    body = [module for module in trainable_modules(network) if module not in classifier]
    assert body
    assert all(module.startswith(last_block) for module in body)
    freeze(network, "none")
    assert all(parameter.requires_grad for parameter in network.parameters())


def test_without_a_group_matcher_the_last_layer_with_a_matrix_trains():
    class Bare(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.one = torch.nn.Linear(4, 4)
            self.two = torch.nn.Linear(4, 4)
            self.norm = torch.nn.LayerNorm(4)
            self.head = torch.nn.Linear(4, 2)

        def get_classifier(self):
            return self.head

    network = Bare()
    freeze(network, "all-but-last-block")
    assert trainable_modules(network) == ["two", "norm", "head"]


def test_frozen_batch_norms_keep_their_statistics_and_the_rest_learns():
    network = create_network("mycnn", 3, image_size=16)
    freeze(network, "all-but-last-block")
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    set_train_mode(network)
    network(torch.randn(4, 3, 16, 16))
    changed = [name for name, tensor in network.state_dict().items() if not torch.equal(tensor, before[name])]
    assert changed
    assert all(name.startswith("blocks.7.") for name in changed)


def test_an_unfrozen_network_trains_everywhere():
    network = create_network("mycnn", 3, image_size=16).eval()
    set_train_mode(network)
    assert all(module.training for module in network.modules())
