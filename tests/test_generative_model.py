"""The contract over every registered model: shapes, gradients, conditioning, one step that learns."""

import pytest
import torch

from competition.errors import UserError
from competition.generative.factory import MODELS, choose_design, create_model, parameter_count
from competition.generative.learner import Learner
from competition.generative.model import Batch
from competition.generative.settings import SEED_LIMIT, GenerateSettings
from competition.precision import Precision
from tests.generative_data import CLASSES, SIZE, design_for

VARIANTS = [(name, {}) for name in MODELS] + [
    ("autoencoder", {"mirror": "imp_cnn", "latent_width": 1}),
    ("autoencoder", {"mirror": "plain_cnn"}),
    ("autoencoder", {"mirror": "dilated_cnn"}),
    ("acai", {"dense_latent": True, "final_sigmoid": True}),
    ("vae", {"dense_latent": True, "kl_schedule": "cyclic"}),
    ("dcgan", {"spectral_norm": True, "gan_loss": "hinge", "diffaug": True}),
    ("flow", {"solver": "euler", "guidance": 2.0, "patch": 2}),
]


def make(name, classes=CLASSES, **changes):
    torch.manual_seed(0)
    return create_model(design_for(name, classes, **changes))


def batch_of(minimize):
    torch.manual_seed(1)
    images = torch.rand(6, 3, SIZE, SIZE) * 2 - 1
    labels = torch.arange(6) % 3
    return Batch(images, labels, torch.Generator().manual_seed(2), torch.tensor(0.5), minimize)


@pytest.mark.parametrize(("name", "changes"), VARIANTS)
@pytest.mark.parametrize("classes", [CLASSES, ("bird",)])
def test_shapes(name, changes, classes):
    model = make(name, classes, **changes).eval()
    labels = torch.arange(4) % len(classes)
    with torch.no_grad():
        noise = torch.randn(4, *model.latent_shape)
        if model.has_encoder:
            encoded = model.encode(torch.rand(4, 3, SIZE, SIZE) * 2 - 1)
            assert encoded.shape == noise.shape
            model.settle(encoded, labels)
        latents = model.to_latents(noise, labels)
        pictures = model.decode(latents, labels)
        assert latents.shape == noise.shape
        assert pictures.shape == (4, 3, SIZE, SIZE)
        assert torch.isfinite(pictures).all()
        score = model.realism(latents, labels)
    assert score.shape == (4,)
    assert model.criterion


@pytest.mark.parametrize(("name", "changes"), VARIANTS)
def test_every_parameter_of_a_group_gets_a_gradient_from_its_own_loss_only(name, changes):
    model = make(name, **changes).train()
    groups = model.parameter_groups()
    seen = {}

    def minimize(group, loss):
        assert loss.dim() == 0
        gradients = torch.autograd.grad(loss, groups[group], allow_unused=True, retain_graph=True)
        seen[group] = [gradient is not None for gradient in gradients]

    losses = model.train_step(batch_of(minimize))
    assert seen.keys() == groups.keys()
    assert all(all(got) for got in seen.values())
    assert sum(len(group) for group in groups.values()) == len(list(model.parameters()))
    assert all(torch.isfinite(loss) and not loss.requires_grad for loss in losses.values())


@pytest.mark.parametrize("name", list(MODELS))
def test_classes_change_the_picture_and_mixtures_lie_between(name):
    model = make(name)
    for parameter in model.parameters():  # the flow's last layers begin at zero
        torch.nn.init.normal_(parameter, std=0.2)
    model.eval()
    noise = torch.randn(1, *model.latent_shape)
    with torch.no_grad():
        pure = [model.decode(noise, torch.tensor([label])) for label in range(3)]
        one_hot = model.decode(noise, torch.tensor([[0.0, 1.0, 0.0]]))
        mixed = model.decode(noise, torch.tensor([[0.5, 0.5, 0.0]]))
    torch.testing.assert_close(one_hot, pure[1])
    assert not torch.allclose(pure[0], pure[1])
    assert not torch.allclose(mixed, pure[0])


@pytest.mark.parametrize("name", ["autoencoder", "acai", "vae", "flow"])
def test_training_lowers_the_loss(name):
    settings = GenerateSettings(model=name, learning_rate=5e-3, schedule="constant", flips=False)
    learner = Learner(make(name, width=4), settings, 60, Precision(), torch.device("cpu"))
    pictures = torch.zeros(8, SIZE, SIZE, 3, dtype=torch.uint8)
    pictures[:, 2:6, 2:6, 0] = 255
    labels = torch.zeros(8, dtype=torch.long)
    losses = [next(iter(learner.take_step(pictures, labels, step).values())).item() for step in range(60)]
    assert sum(losses[-10:]) < 0.7 * sum(losses[:10])


def test_the_default_widths_stay_under_the_limit():
    for name in MODELS:
        design = choose_design(GenerateSettings(model=name), 64, CLASSES)
        assert 0.75 * SEED_LIMIT < parameter_count(design) <= SEED_LIMIT


def test_the_widest_that_fits_is_taken():
    settings = GenerateSettings(model="dcgan", max_parameters=200_000)
    design = choose_design(settings, 32, CLASSES)
    assert parameter_count(design) <= 200_000
    wider = settings.replace(width=design.width + 1)
    with pytest.raises(UserError, match=f"dcgan with --width {design.width + 1} has .* --max-parameters is 200,000"):
        choose_design(wider, 32, CLASSES)
    assert choose_design(wider.replace(prune="magnitude"), 32, CLASSES).width == design.width + 1


@pytest.mark.parametrize(
    ("name", "size", "changes", "said"),
    [
        ("dcgan", 24, {}, "--image-size 24: dcgan doubles"),
        ("acai", 24, {}, "--image-size 24 does not halve down to --latent-width 4"),
        ("autoencoder", 20, {}, "mirroring imp_cnn needs a multiple of 8"),
        ("autoencoder", 32, {"max_parameters": 1000}, "autoencoder mirroring imp_cnn has .* is 1,000: raise the limit"),
        (
            "acai",
            32,
            {"mirror": "dilated_cnn", "latent": 1},
            "acai mirroring dilated_cnn has .* is 1,000,052: add --prune magnitude, or raise the limit",
        ),
        ("flow", 32, {"max_parameters": 1000}, "flow with --width 4 has .* is 1,000: raise the limit"),
        ("dcgan", 32, {"width": 60}, "take a smaller --width, add --prune magnitude, or raise the limit"),
        ("flow", 33, {}, "--image-size 33 must be a multiple of 4"),
        ("flow", 32, {"width": 6}, "--width 6 one of 4"),
        (
            "flow",
            32,
            {"width": 64, "prune": "magnitude", "max_parameters": 1000},
            "leaves biases and norms alone, and flow with --width 64 has .* of them; --max-parameters is 1,000",
        ),
        (
            "dcgan",
            32,
            {"width": 8, "prune": "magnitude"},
            "--prune magnitude has nothing to do: dcgan with --width 8 has .* parameters, --max-parameters is ",
        ),
    ],
)
def test_refused(name, size, changes, said):
    with pytest.raises(UserError, match=said):
        choose_design(GenerateSettings(model=name, **changes), size, CLASSES)


def test_a_smaller_latent_is_advised_where_it_would_fit():
    settings = GenerateSettings(model="autoencoder", latent=2000)
    with pytest.raises(UserError, match="take a smaller --latent, add --prune magnitude, or raise"):
        choose_design(settings, 32, CLASSES)
    assert choose_design(settings.replace(latent=1), 32, CLASSES).latent == 1


def test_one_class_has_nothing_to_guide_towards():
    with pytest.raises(UserError, match="--guidance weighs the class"):
        choose_design(GenerateSettings(guidance=1.5), 32, CLASSES[:1])
    assert not choose_design(GenerateSettings(), 32, CLASSES[:1]).is_conditional
