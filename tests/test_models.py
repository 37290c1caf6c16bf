"""Contracts over every own network, a few of timm's through the same door, and the door's refusals."""

import re
import sys
from types import ModuleType

import pytest
import timm
import torch

from competition.errors import UserError
from competition.models.factory import check_network, count_parameters, create_network, is_known, own_networks
from competition.models.resnet_fast import patch_filters
from competition.training.rates import UNNORMED
from tests.conftest import REPOSITORY

torch.set_num_threads(1)
CLASSES = 7
KEYS = {"resnet_ab", "plain_cnn", "dilated_cnn", "base_cnn", "imp_cnn", "mycnn", "mlp", "resnet_small", "resnet_fast"}
# Narrow forms, so that contracts that do not depend on width stay fast.
NARROW = {
    "base_cnn": {"width": 8, "dense_widths": (32,)},
    "dilated_cnn": {"dense_widths": (64,), "widths": (16, 32, 32)},
    "resnet_fast": {"widths": (32, 48, 64)},
}
every_own_network = pytest.mark.parametrize("name", own_networks())


def small(name, image_size=32, **options):
    torch.manual_seed(0)
    return create_network(name, CLASSES, image_size=image_size, options=NARROW.get(name, {}) | options)


def images(image_size=32, count=2):
    return torch.randn(count, 3, image_size, image_size, generator=torch.Generator().manual_seed(1))


def test_own_networks_are_the_seeds_and_the_default():
    assert set(own_networks()) == KEYS
    assert set(timm.list_models()) >= KEYS | {"resnet18"}
    assert all(timm.is_model(name) and is_known(name) for name in own_networks())


@every_own_network
def test_parameter_count_is_the_one_in_the_docstring(name):
    network_class = type(small(name))
    found = re.search(r"([\d,]+) parameters at (\d+) classes, (\d+)x\3", network_class.__doc__)
    parameters, classes, image_size = (int(text.replace(",", "")) for text in found.groups())
    assert count_parameters(create_network(name, classes, image_size=image_size)) == parameters


@every_own_network
def test_convolutional_networks_without_norms_are_known(name):
    kinds = {type(module).__name__ for module in small(name).modules()}
    if any("Conv" in kind for kind in kinds) and not any("Norm" in kind for kind in kinds):
        assert name in UNNORMED
    assert all(is_known(name) for name in UNNORMED)


def test_mycnn_meets_its_limit():
    assert count_parameters(create_network("mycnn", 100, image_size=32, max_parameters=100_000)) == 99_440


@every_own_network
@pytest.mark.parametrize("image_size", [32, 45, 64])
def test_shapes_at_even_and_odd_sizes(name, image_size):
    network = small(name, image_size).eval()
    x = images(image_size)
    features = network.forward_features(x)
    logits = network(x)
    assert features.ndim == (2 if name == "mlp" else 4)
    assert features.shape[:2] == (2, network.num_features)
    assert logits.shape == (2, CLASSES)
    assert torch.isfinite(logits).all()
    assert network.forward_head(features, pre_logits=True).shape == (2, network.head_hidden_size)


@every_own_network
def test_eval_is_deterministic_splits_in_two_and_takes_one_image(name):
    network = small(name).eval()
    x = images()
    logits = network(x)
    assert torch.equal(logits, network(x))
    assert torch.equal(logits, network.forward_head(network.forward_features(x)))
    torch.testing.assert_close(network(x[:1]), logits[:1], rtol=1e-4, atol=1e-5)


@every_own_network
def test_every_parameter_receives_a_gradient(name):
    network = small(name).train()
    torch.nn.functional.cross_entropy(network(images(count=8)), torch.arange(8) % CLASSES).backward()
    without = [key for key, parameter in network.named_parameters() if parameter.grad is None]
    assert not without
    assert all(torch.isfinite(parameter.grad).all() for parameter in network.parameters())


@every_own_network
def test_bf16_autocast_in_channels_last(name):
    network = small(name).to(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        logits = network(images().contiguous(memory_format=torch.channels_last))
    logits.float().sum().backward()
    assert logits.dtype == torch.bfloat16
    assert torch.isfinite(logits).all()


@every_own_network
def test_state_dict_round_trip_is_exact(name):
    network, other = small(name).eval(), small(name).eval()
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(0.5)
    other.load_state_dict(network.state_dict())
    assert torch.equal(network(images()), other(images()))


@every_own_network
def test_classifier_can_be_replaced_and_is_where_timm_expects_it(name):
    network = small(name).eval()
    assert network.get_submodule(network.pretrained_cfg["classifier"]) is network.get_classifier()
    first = network.pretrained_cfg["first_conv"]
    assert first is None or isinstance(network.get_submodule(first), torch.nn.Conv2d)
    network.reset_classifier(3)
    assert network.num_classes == 3
    assert network(images()).shape == (2, 3)
    network.reset_classifier(0)
    assert network(images()).shape == (2, network.head_hidden_size)


@every_own_network
def test_dropout_and_activation_are_respected(name):
    network = create_network(
        name, CLASSES, image_size=32, dropout=0.25, options=NARROW.get(name, {}) | {"activation": "leaky_relu"}
    )
    modules = list(network.modules())
    assert any(isinstance(module, torch.nn.Dropout) and module.p == 0.25 for module in modules)
    assert any(isinstance(module, torch.nn.LeakyReLU) for module in modules)
    assert not any(isinstance(module, (torch.nn.ReLU, torch.nn.ELU)) for module in modules)


@pytest.mark.parametrize(
    ("name", "options", "difference"),
    [
        # one more dense layer 256 -> 16 and a classifier of 16 instead of 256
        ("plain_cnn", {"dense_widths": (256, 16)}, (256 * 16 + 16) + (16 - 256) * CLASSES),
        ("mlp", {"dense_widths": (24, 50)}, 2 * 25 + 2 * CLASSES),
        ("resnet_small", {"dense_width": 129}, 256 + 1 + 32),
        ("imp_cnn", {"batch_norm": True}, 2 * (32 + 32 + 64 + 128 + 256)),
        ("resnet_ab", {"kernel_size": 1}, -8 * (6 * 64 * 64 + 64 * 128 + 6 * 128 * 128)),
    ],
)
def test_options_change_the_layers_they_name(name, options, difference):
    changed = create_network(name, CLASSES, image_size=32, options=options)
    assert count_parameters(changed) - count_parameters(create_network(name, CLASSES, image_size=32)) == difference


@pytest.mark.parametrize(("dropout", "rate"), [(None, 0.5), (0.0, 0.0), (0.3, 0.3)])
def test_a_dropout_that_is_given_takes_the_place_of_the_networks_own(dropout, rate):
    assert create_network("base_cnn", CLASSES, image_size=8, dropout=dropout).classifier_dropout.p == rate


@pytest.mark.parametrize("name", ["resnet18", "vit_tiny_patch16_224", "mobilenetv3_small_050", "poolformer_s12"])
def test_timm_names_come_through_the_same_door(name):
    network = create_network(name, CLASSES, image_size=64, dropout=0.1).eval()
    assert network(images(64)).shape == (2, CLASSES)


def test_dense_layers_refuse_another_image_size():
    with pytest.raises(ValueError, match="the size it was created with"):
        small("mlp", 32)(images(40))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "resnet81"}, "did you mean 'resnet18'"),
        ({"name": "hf-hub:timm/resnet18"}, "unknown network"),
        ({"name": "resnet18.no_such_tag"}, "no_such_tag"),
        ({"name": "mycnn", "options": {"activatoin": "relu"}}, "did you mean 'activation'"),
        ({"name": "mycnn", "options": {"activation": "rely"}}, "did you mean 'relu'"),
        ({"name": "resnet18", "options": {"no_such_option": 1}}, "no option 'no_such_option'"),
        ({"name": "resnet18", "options": {"checkpoint_path": "x.pth"}}, "use --weights"),
        ({"name": "resnet18", "options": {"num_classes": 3}}, "comes from the data"),
        ({"name": "mycnn", "dropout": 0.1, "options": {"drop_rate": 0.2}}, "twice"),
        ({"name": "mycnn", "max_parameters": 80_000}, "85,955 parameters, over the limit of 80,000"),
        ({"name": "imp_cnn", "image_size": 4}, "too small"),
        ({"name": "mycnn", "options": {"ratio": 0}}, "network mycnn cannot be built for images of 32 px with ratio=0"),
        ({"name": "mycnn", "options": {"ratio": 1000}}, "would have no channels"),
        ({"name": "resnet_small", "options": {"widths": []}}, "cannot be built for images of 32 px with widths=[]"),
        ({"name": "resnet18", "options": {"block": 3}}, "cannot be built for images of 32 px with block=3"),
    ],
)
def test_refusals_name_what_is_wrong(arguments, message):
    with pytest.raises(UserError, match=re.escape(message)):
        create_network(**({"num_classes": CLASSES, "image_size": 32} | arguments))


def test_a_wrong_name_is_refused_before_anything_is_built():
    check_network("resnet_fast", {"activation": "silu"})
    with pytest.raises(UserError, match="no option 'width'"):
        check_network("resnet_fast", {"width": 3})


def test_patch_filters_are_an_orthonormal_basis_of_colour_patches_and_its_negatives():
    filters = patch_filters().reshape(54, 27)
    assert torch.allclose(filters[:27] @ filters[:27].T, torch.eye(27), atol=1e-6)
    assert torch.equal(filters[27:], -filters[:27])
    assert torch.allclose(filters[0], torch.full((27,), 27**-0.5))  # the first is the patch's mean brightness


@pytest.mark.parametrize("width", [12, 54, 60])
def test_the_stem_begins_with_as_many_patch_filters_as_fit(width):
    weight = create_network("resnet_fast", 3, image_size=32, options={"stem_width": width}).stem[0].weight
    known = min(width, 54)
    assert torch.equal(weight[:known], patch_filters()[:known])
    assert len(weight) == width


def test_the_network_of_the_readme_is_built_by_its_name(monkeypatch):
    (code,) = [
        block
        for block in re.findall(r"```python\n(.*?)```", (REPOSITORY / "README.md").read_text(), re.DOTALL)
        if "@register_model" in block
    ]
    module = ModuleType("network_of_the_readme")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(code, vars(module))
    network = create_network("my_network", CLASSES, image_size=32, dropout=0.5, options={"width": 8})
    assert network(images()).shape == (2, CLASSES)
    assert network.get_submodule(network.pretrained_cfg["first_conv"]).out_channels == 8
    with pytest.raises(UserError, match="network my_network has no option 'widht'"):
        create_network("my_network", CLASSES, image_size=32, options={"widht": 8})
