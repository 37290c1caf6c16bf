"""Transfer: every form of source loads, and whatever does not fit is refused by name."""

import json
import pickle
import shutil

import pytest
import timm
import torch
from safetensors.torch import save_file

from competition.checkpoint import Checkpoint, save_checkpoint
from competition.errors import UserError
from competition.inference import Preprocessing
from competition.models.factory import create_network
from competition.models.weights import describe_weights, load_weights, refuse_fold
from competition.precision import Precision

torch.set_num_threads(1)
NAME = "mycnn"
CHECKPOINT = Checkpoint(NAME, {}, tuple("abcde"), Preprocessing(16, "squash", (0.4,) * 3, (0.3,) * 3), Precision())


def network(classes=5, seed=0, **options):
    torch.manual_seed(seed)
    return create_network(NAME, classes, image_size=16, options=options).eval()


def body(net):
    return {key: value for key, value in net.state_dict().items() if not key.startswith("classifier")}


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


@pytest.fixture
def trained():
    return network(seed=1)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".pt", ".bin"])
def test_a_file_loads_exactly(tmp_path, trained, suffix):
    path = tmp_path / f"some{suffix}"
    (save_file if suffix == ".safetensors" else torch.save)(trained.state_dict(), path)
    other = network()
    info = load_weights(other, str(path), name=NAME)
    assert same(trained.state_dict(), other.state_dict())
    assert info.source == str(path)


@pytest.mark.parametrize(
    "wrap", [lambda s: {"state_dict": s, "epoch": 3}, lambda s: {f"module.{k}": v for k, v in s.items()}]
)
def test_training_checkpoints_are_unwrapped(tmp_path, trained, wrap):
    torch.save(wrap(trained.state_dict()), tmp_path / "w.pth")
    other = network()
    load_weights(other, str(tmp_path / "w.pth"), name=NAME)
    assert same(trained.state_dict(), other.state_dict())


@pytest.mark.parametrize("file", [f"{NAME}.safetensors", "model.safetensors", f"{NAME}.pth"])
def test_a_folder_is_searched(tmp_path, trained, file):
    (save_file if file.endswith("safetensors") else torch.save)(trained.state_dict(), tmp_path / file)
    assert load_weights(network(), str(tmp_path), name=NAME).source == str(tmp_path / file)


def test_a_classifier_of_other_classes_stays_fresh(tmp_path, trained):
    save_file(trained.state_dict(), tmp_path / "w.safetensors")
    other = network(classes=9)
    fresh = other.classifier.weight.clone()
    load_weights(other, str(tmp_path / "w.safetensors"), name=NAME)
    assert same(body(trained), body(other))
    assert torch.equal(other.classifier.weight, fresh)


def test_weights_without_a_classifier_load(tmp_path, trained):
    save_file(body(trained), tmp_path / "w.safetensors")
    other = network()
    fresh = other.classifier.weight.clone()
    load_weights(other, str(tmp_path / "w.safetensors"), name=NAME)
    assert same(body(trained), body(other))
    assert torch.equal(other.classifier.weight, fresh)


def test_the_sidecar_decides(tmp_path, trained):
    path = tmp_path / "w.safetensors"
    save_file(trained.state_dict(), path)
    sidecar = {"mean": [0.1, 0.2, 0.3], "std": 0.25, "input_size": [3, 48, 48], "options": {"ratio": 4}}
    (tmp_path / "w.safetensors.json").write_text(json.dumps(sidecar))
    info = describe_weights(str(path), name=NAME)
    assert (info.mean, info.std, info.image_size) == ((0.1, 0.2, 0.3), (0.25,) * 3, 48)
    assert info.options == {"ratio": 4}


def test_timm_knows_what_the_sidecar_does_not_say(tmp_path):
    (tmp_path / "resnet18.pth").touch()
    info = describe_weights(str(tmp_path), name="resnet18")
    known = timm.get_pretrained_cfg("resnet18")
    assert (info.mean, info.std, info.image_size) == (known.mean, known.std, 224)


@pytest.mark.parametrize("place", ["fold_0", "fold_0/model.safetensors"])
def test_a_fold_of_a_run_is_refused_but_not_its_copy(tmp_path, trained, place):
    fold, copy = tmp_path / "fold_0", tmp_path / "copy"
    save_checkpoint(fold, trained, CHECKPOINT)
    shutil.copytree(fold, copy)
    (fold / "predictions.npz").touch()
    with pytest.raises(UserError, match=rf"images that other folds hold out.*--weights {tmp_path}\. .*model\.json of"):
        refuse_fold(str(tmp_path / place), name=NAME)
    refuse_fold(str(copy), name=NAME)
    other = network()
    load_weights(other, str(copy), name=NAME)
    assert same(trained.state_dict(), other.state_dict())


def test_a_checkpoint_says_what_its_weights_want(tmp_path, trained):
    save_checkpoint(tmp_path, trained, CHECKPOINT)
    info, made_for = describe_weights(str(tmp_path), name=NAME), CHECKPOINT.preprocessing
    assert (info.mean, info.std, info.image_size) == (made_for.mean, made_for.std, made_for.image_size)
    assert info.options == CHECKPOINT.model_options


def test_a_strangers_model_json_says_nothing(tmp_path, trained):
    save_file(trained.state_dict(), tmp_path / "model.safetensors")
    (tmp_path / "model.json").write_text('{"author": "somebody"}')
    refuse_fold(str(tmp_path), name=NAME)
    load_weights(network(), str(tmp_path), name=NAME)


def test_the_hubs_own_description_is_read(tmp_path):
    (tmp_path / "model.safetensors").touch()
    description = {"pretrained_cfg": {"mean": [0, 0, 0], "input_size": [3, 96, 96]}, "model_args": {"ratio": 2}}
    (tmp_path / "config.json").write_text(json.dumps(description))
    info = describe_weights(str(tmp_path), name=NAME)
    assert (info.mean, info.image_size, info.options) == ((0, 0, 0), 96, {"ratio": 2})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "no readable JSON"),
        ("[]", "one JSON object"),
        ('{"mean": [1, 2]}', "three numbers"),
        ('{"std": 0}', "above zero"),
        ('{"input_size": "big"}', "must be pixels"),
        ('{"options": 3}', "names with values"),
    ],
)
def test_a_wrong_sidecar_is_refused(tmp_path, content, message):
    (tmp_path / "w.pth").touch()
    (tmp_path / "w.pth.json").write_text(content)
    with pytest.raises(UserError, match=message):
        describe_weights(str(tmp_path / "w.pth"), name=NAME)


class Trap:
    """Unpickling this writes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.mark.parametrize("save", [torch.save, lambda content, path: path.write_bytes(pickle.dumps(content))])
def test_a_pickle_is_refused_and_never_executed(tmp_path, save):
    save({"weight": Trap(tmp_path / "executed")}, tmp_path / "w.pth")
    with pytest.raises(UserError, match="refused.*safetensors"):
        load_weights(network(), str(tmp_path / "w.pth"), name=NAME)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("stem.0.weight"), "1 missing: stem.0.weight"),
        (lambda s: s.update(extra=torch.zeros(1)), "1 unexpected: extra"),
        (lambda s: s.update({"stem.0.weight": torch.zeros(3)}), r"1 of another shape: stem.0.weight \(3,\)"),
    ],
)
def test_layers_that_do_not_fit_are_named(tmp_path, trained, change, message):
    state = trained.state_dict()
    change(state)
    save_file(state, tmp_path / "w.safetensors")
    other = network()
    before = {key: value.clone() for key, value in other.state_dict().items()}
    with pytest.raises(UserError, match=message):
        load_weights(other, str(tmp_path / "w.safetensors"), name=NAME)
    assert same(before, other.state_dict())


def test_sources_that_are_not_there_are_refused(tmp_path):
    (tmp_path / "w.onnx").touch()
    (tmp_path / "cut.safetensors").write_bytes(b"abc")
    torch.save([1, 2], tmp_path / "list.pth")
    for source, message in [
        ("nowhere.pth", "no such file"),
        (".", "mycnn.safetensors, mycnn.pth, model.safetensors"),
        ("w.onnx", "unknown kind"),
        ("cut.safetensors", "cut short or damaged"),
        ("list.pth", "holds no state dict"),
    ]:
        with pytest.raises(UserError, match=message):
            load_weights(network(), str(tmp_path / source), name=NAME)


def test_position_embeddings_are_resized_by_timms_converter(tmp_path):
    trained = create_network("vit_tiny_patch16_224", 3, image_size=64, options={"depth": 1})
    save_file(trained.state_dict(), tmp_path / "w.safetensors")
    other = create_network("vit_tiny_patch16_224", 3, image_size=32, options={"depth": 1})
    load_weights(other, str(tmp_path / "w.safetensors"), name="vit_tiny_patch16_224")
    assert torch.equal(other.cls_token, trained.cls_token)
    assert other.pos_embed.shape[1] == 5
