"""Settings of the generative half: contradictions and automatic values."""

import pytest

from competition.errors import UserError
from competition.generative.settings import ExportSettings, GenerateSettings, InterpolateSettings


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model": "gan"}, "--model 'gan': choose from autoencoder, acai, vae, dcgan, flow .did you mean"),
        ({"prune": "magnitude"}, "--prune needs --width"),
        ({"model": "dcgan", "mirror": "imp_cnn"}, "--mirror is for autoencoder, acai, vae; --model dcgan has no use"),
        (
            {"model": "flow", "latent": 8, "gan_loss": "hinge"},
            "--latent is for .*, dcgan; --model flow .*\n.*--gan-loss is for dcgan; ",
        ),
        ({"model": "dcgan", "kl_weight": 0.5}, "--kl-weight is for vae; --model dcgan has no use for it"),
        ({"model": "acai", "mirror": "imp_cnn", "latent_width": 2}, "--latent-width is given by --mirror imp_cnn"),
        (
            {"model": "autoencoder", "width": 64, "latent_width": 8},
            "--width is given by --mirror imp_cnn: .* or take --mirror none\n--latent-width is given",
        ),
        ({"model": "flow", "unconditional": True, "guidance": 9}, "--guidance weighs the class, which --unconditional"),
        ({"ema": 1.0}, "--ema 1 would never follow"),
        ({"hold_out": 0.95}, "--hold-out 0.95: must be at most 0.9"),
        ({"image_size": 4}, "--image-size 4: must be at least 8 px"),
    ],
)
def test_refused(changes, said):
    with pytest.raises(UserError, match=said):
        GenerateSettings(**changes)


@pytest.mark.parametrize(
    ("settings", "changes", "said"),
    [
        (InterpolateSettings, {"alpha": 1.2}, "--alpha 1.2: must be at most 1"),
        (InterpolateSettings, {"method": "spline"}, "choose from auto, lerp, slerp"),
        (ExportSettings, {"per_class": 0}, "--per-class 0: must be at least 1"),
    ],
)
def test_refused_elsewhere(settings, changes, said):
    with pytest.raises(UserError, match=said):
        settings(**changes)


@pytest.mark.parametrize(
    ("model", "ema", "decay"),
    [
        *[("flow", None, 0.999), ("flow", "auto", 0.999), ("flow", 0.0, None), ("flow", "none", None)],
        *[("dcgan", None, None), ("dcgan", 0.9, 0.9)],
    ],
)
def test_the_average_is_on_for_flow_unless_told(model, ema, decay):
    assert GenerateSettings(model=model, ema=ema).ema_decay == decay


@pytest.mark.parametrize(("model", "rate", "latent"), [("dcgan", 2e-4, 100), ("acai", 2e-3, 16), ("flow", 5e-3, 0)])
def test_every_model_has_its_recipe(model, rate, latent):
    recipe = GenerateSettings(model=model).recipe
    assert (recipe.learning_rate, recipe.latent, recipe.is_muon) == (rate, latent, model != "dcgan")


@pytest.mark.parametrize(("model", "given", "images"), [("flow", None, 32), ("vae", "auto", 64), ("flow", 100, 100)])
def test_a_flow_takes_small_steps_unless_told(model, given, images):
    assert GenerateSettings(model=model, batch_size=given).images_per_step == images


def test_only_given_sampling_settings_change_the_design():
    assert ExportSettings().design_changes == {}
    assert ExportSettings(guidance=1.5).design_changes == {"guidance": 1.5}


def test_no_mirror_can_be_said():
    for mirror, mirrored in (("none", "none"), ("auto", "imp_cnn"), (None, "imp_cnn"), ("plain_cnn", "plain_cnn")):
        assert GenerateSettings(model="autoencoder", mirror=mirror).mirrored == mirrored
    settings = GenerateSettings(model="autoencoder", mirror="none", width=64, latent_width=8)
    assert GenerateSettings(**settings.plain()) == settings


def test_a_mirrored_model_is_pruned_without_a_width():
    assert GenerateSettings(model="autoencoder", prune="magnitude").width is None
