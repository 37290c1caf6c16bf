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
            {"model": "flow", "latent": 8, "gradient_penalty": 0.1},
            "--latent is for .*, dcgan; --model flow .*\n.*--gradient-penalty is for dcgan; ",
        ),
        ({"model": "dcgan", "kl_weight": 0.5}, "--kl-weight is for vae; --model dcgan has no use for it"),
        ({"model": "acai", "mirror": "imp_cnn", "latent_width": 2}, "--latent-width is given by --mirror"),
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
    ("model", "ema", "decay"), [("flow", None, 0.999), ("flow", 0.0, None), ("dcgan", None, None), ("dcgan", 0.9, 0.9)]
)
def test_the_average_is_on_for_flow_unless_told(model, ema, decay):
    assert GenerateSettings(model=model, ema=ema).ema_decay == decay


@pytest.mark.parametrize(
    ("model", "muon", "rate", "latent", "decay"),
    [("dcgan", False, 2e-4, 100, None), ("dcgan", True, 5e-3, 32, 0.999), ("acai", False, 2e-3, 16, None)],
)
def test_muon_brings_the_gan_another_recipe(model, muon, rate, latent, decay):
    settings = GenerateSettings(model=model, muon=muon)
    assert (settings.recipe.learning_rate, settings.recipe.latent, settings.ema_decay) == (rate, latent, decay)
    assert settings.recipe.is_muon == (muon or model != "dcgan")


def test_only_given_sampling_settings_change_the_design():
    assert ExportSettings().design_changes == {}
    assert ExportSettings(guidance=1.5).design_changes == {"guidance": 1.5}
