"""Published weights: the installed package first, then the hub; out of reach, the message says what to do."""

import sys

import pytest
import timm
import torch

from competition.errors import UserError
from competition.models.factory import create_network
from competition.models.published import OFFLINE_PACKAGES
from competition.models.weights import load_weights

torch.set_num_threads(1)


def test_pretrained_takes_the_installed_package_first(tmp_path, monkeypatch):
    """A stand-in for the package: the same layers in the same order under other names."""
    name = "tf_efficientnet_lite0"
    torch.manual_seed(1)
    trained = create_network(name, 4, image_size=32)
    folder = tmp_path / OFFLINE_PACKAGES[name][0]
    (folder / "models").mkdir(parents=True)
    (folder / "__init__.py").write_text("raise RuntimeError('executed')")
    renamed = {f"_layer.{i}": value for i, value in enumerate(trained.state_dict().values())}
    torch.save(renamed, folder / "models" / "weights.pth")
    monkeypatch.delitem(sys.modules, OFFLINE_PACKAGES[name][0], raising=False)  # the real one, where it is installed
    monkeypatch.syspath_prepend(tmp_path)
    other = create_network(name, 6, image_size=32)
    info = load_weights(other, "pretrained", name=name)
    loaded = other.state_dict()
    assert all(
        torch.equal(value, loaded[key]) for key, value in trained.state_dict().items() if "classifier" not in key
    )
    assert (info.mean, info.std, info.image_size) == ((0.5,) * 3, (0.5,) * 3, 224)


def test_pretrained_out_of_reach_says_which_file_to_put_where(monkeypatch):
    def unreachable(*arguments, **settings):
        raise OSError("no route to host")

    net, own = create_network("resnet10t", 3, image_size=32), create_network("mycnn", 5, image_size=16)
    monkeypatch.setattr("socket.getaddrinfo", unreachable)
    monkeypatch.setattr(timm, "create_model", unreachable)
    with pytest.raises(UserError, match="no route to host.*resnet10t.safetensors.*--weights FOLDER"):
        load_weights(net, "pretrained", name="resnet10t")
    with pytest.raises(UserError, match="no weights are published for mycnn"):
        load_weights(own, "pretrained", name="mycnn")


def test_pretrained_download_keeps_the_fresh_classifier(monkeypatch):
    published = create_network("resnet10t", 1000, image_size=32)
    monkeypatch.setattr("socket.getaddrinfo", lambda *arguments: [])
    net = create_network("resnet10t", 3, image_size=32)
    monkeypatch.setattr(timm, "create_model", lambda name, pretrained: published)
    fresh = net.fc.weight.clone()
    load_weights(net, "pretrained", name="resnet10t")
    assert torch.equal(net.conv1[0].weight, published.conv1[0].weight)
    assert torch.equal(net.fc.weight, fresh)
