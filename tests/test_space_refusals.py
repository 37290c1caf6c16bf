"""Every wrong space is refused with its line, and everything that is wrong with it comes in one message."""

import pytest

from competition.config import TrainSettings
from competition.errors import UserError
from competition.tuning.space import load_space, refuse_networks
from tests.test_space import BASE, IMAGES, write

REFUSED = [
    ("learningrate: [0.1]", "learningrate: unknown setting (did you mean 'learning_rate'?)"),
    ("learning_rate: {low: 0.1, high: 200}", "--learning-rate 200.0: must be at most 100"),
    ("learning_rate: {low: a, high: 1}", "--learning-rate 'a': expected a number"),
    ("learning_rate: {low: 1, high: 0.1}", "low 1 must be below high 0.1"),
    ("learning_rate: {low: 0.1}", "learning_rate: high missing"),
    ("weight_decay: {low: 0, high: 0.1, log: true}", "weight_decay: log needs a low above 0, not 0"),
    ("weight_decay: {low: 0.1, high: 1, log: 7}", "log is true or false, not 7"),
    ("weight_decay: {low: 0.1, high: 1, log: true, step: 0.1}", "log and step exclude each other"),
    ("weight_decay: {low: 0, high: 1, step: 0.3}", "not a whole number of steps of 0.3"),
    ("weight_decay: {low: 0, high: 1, step: x}", "low, high and step must be numbers"),
    ("weight_decay: {low: 0, high: 1, choices: [1]}", "either choices, or low and high"),
    ("weight_decay: {low: 0, hihg: 1}", "unknown word 'hihg' (did you mean 'high'?)"),
    ("epochs: {low: 1.5, high: 4}", "--epochs 1.5: expected a whole number"),
    ("epochs: {low: 2, high: 40, step: 0.5}", "epochs: step 0.5 is no whole number"),
    ("epochs: [22, x]", "--epochs 'x': expected a whole number"),
    ("mix: []", "mix: there are no choices"),
    ("mix: [cutmix, cutmix]", "a choice is listed twice"),
    ("mix: cutmix", "expected choices such as [a, b] or a range"),
    ("mix: [cutmix, cutmixx]", "did you mean 'cutmix'"),
    ("mix: {low: 0, high: 1}", "mix: it is no number; list its choices: [none, mixup, cutmix, both]"),
    ("augment: {low: 0, high: 1}", "augment: it is no number; list its choices"),
    ("augment: [light, lihgt]", "did you mean 'light'"),
    ("optimizer: [nmuon, adma]", "'adma' is not one of timm's (did you mean"),
    ("optimizer: [sgd, nesterov]\nfixed: {momentum: 0}", "--optimizer nesterov is Nesterov's and needs a --momentum"),
    ("model: [resnet_fast, resnet_fsat]", "unknown network 'resnet_fsat'"),
    ("model_options.depth: [1]", "network resnet_fast has no option 'depth' (did you mean 'depths'?)"),
    ("model_options.num_classes: [3]", "cannot be set here"),
    ("model: [resnet_fast, mlp]\nmodel_options.stem_width: [48]", "network mlp has no option 'stem_width'"),
    ("model_options: [a]", "name one option of it"),
    ("model_options.: [a]", "name the option"),
    ("data: [a]", "every trial of a study has the same images and folds"),
    ("folds: [3, 5]", "every trial of a study has the same images and folds"),
    ("fold_file: [a]", "every trial of a study has the same images and folds"),
    ("seed: [0, 1]", "a seed that scores well is luck"),
    ("views: [1, 6]", "it changes how a trial is measured"),
    ("stop_after: [1, 2]", "picked on the fold it is scored on"),
    ("validate_every: [1, 5]", "trials are compared at their validations"),
    ("device: [cpu]", "it says how this machine works"),
    ("run: [a]", "it says where files go"),
    ("prune_from: [a]", "it says where a single run begins"),
    ("schedule: [cosine, plateau]", "schedule: plateau: --schedule plateau follows the macro F1 of the validations"),
    ("freeze: [none, all]", "freeze: all: --freeze all without --weights"),
    ("learning_rate: [0.005]\nmixup_alpha: {low: 0.1, high: 1, when: {mixx: [both]}}", "no 'mixx' to depend on (did"),
    ("mix: [cutmix]\nmixup_alpha: {low: 0.1, high: 1, when: {mix: [both]}}", "mix is never 'both'; it is one of"),
    ("dropout: {low: 0, high: 1e-1}\nmixup_alpha: {choices: [0.2], when: {dropout: [0]}}", "dropout is a range"),
    ("mixup_alpha: {choices: [0.2], when: both}", "when: expected {SETTING: [VALUE, ...]}"),
    (
        "mix: {choices: [cutmix], when: {augment: [light]}}\naugment: {choices: [light], when: {mix: [cutmix]}}",
        "augment, mix depend on each other in a circle",
    ),
    ("learning_rate: {low: 0.01, high: 0.1}", "trial 0 has the settings under the search, but 0.005 is not in"),
    ("batch_size: {low: 32, high: 64}", "but auto is not in 32 to 64"),
    ("model_options.stem_width: [32]", "but 54 is not in 32"),
    ("learning_rate: [0.005]\nfixed: {mix: x}", "--mix 'x': choose from"),
    ("learning_rate: [0.005]\nfixed: {mixx: none}", "fixed: mixx: unknown setting (did you mean 'mix'?)"),
    ("learning_rate: [0.005]\nfixed: {learning_rate: 0.1}", "fixed: learning_rate: it is searched too"),
    ("learning_rate: [0.005]\nfixed: [a]", "fixed: expected {SETTING: VALUE}"),
    ("learning_rate: [0.005]\nfixed: {seed: 3}", "fixed: seed: cannot be"),
    ("learning_rate: [0.005]\nstart: {learningrate: 0.1}", "start: learningrate is not searched (did you mean"),
    ("learning_rate: [0.005]\nstart: 3", "start: expected {SETTING: VALUE}"),
    ("fixed: {mix: none}", "nothing is searched"),
    ("[1, 2]", "expected lines such as"),
    ("learning_rate: [0.005", "is not valid YAML"),
    ("mix: [cutmix]\nmix: [none]", "given twice: mix"),
]


@pytest.mark.parametrize(("text", "said"), REFUSED, ids=[said[:40] for _, said in REFUSED])
def test_a_wrong_space_is_refused(tmp_path, text, said):
    path = write(tmp_path, text)
    with pytest.raises(UserError) as refusal:
        load_space(path, BASE, IMAGES)
    assert said in str(refusal.value)
    assert path in str(refusal.value)


def test_everything_wrong_comes_in_one_message(tmp_path):
    with pytest.raises(UserError) as refusal:
        load_space(write(tmp_path, "learningrate: [1]\nmix: [x]\nseed: [1]\nwarmup: {low: 2, high: 1}"), BASE, IMAGES)
    assert [name for name in ("learningrate", "mix:", "seed", "warmup") if name not in str(refusal.value)] == []


def test_a_wrong_line_hides_nothing_of_the_others_and_adds_nothing(tmp_path):
    text = """
        weight_decay: {low: 1, high: 0.1}
        mixup_alpha: {low: 0.1, high: 1, when: {mix: [bothh]}}
        model: [resnet_fast, nosuchnet]
        model_options.nosuch: [1]
        model_options.activation: {choices: [relu], when: {model: [mlp]}}
        augment: [lihgt]
        optimizer: [adma]
        dropout: [0.3]
        learning_rate: [0.005]
        fixed: {label_smoothing: x}
    """
    with pytest.raises(UserError) as refusal:
        load_space(write(tmp_path, text), BASE, IMAGES)
    said = [line.partition(".yaml: ")[2] for line in str(refusal.value).splitlines()]
    expected = (
        "label_smoothing: --label-smoothing 'x': expected a number",
        "weight_decay: low 1 must be below",
        "mix: --mix 'bothh': choose from",
        "model_options.activation: when: model is never 'mlp'",
        "augment: --augment 'lihgt'",
        "optimizer: adma",
        "network resnet_fast has no option 'nosuch'",
        "unknown network 'nosuchnet'",
    )
    assert [line[: len(start)] for line, start in zip(said, expected, strict=True)] == list(expected)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("defualt", "--space 'defualt' is unknown (did you mean 'default'?)"),
        ("missing.yaml", "--space missing.yaml: there is no such file"),
    ],
)
def test_a_space_that_is_not_there(name, said):
    with pytest.raises(UserError) as refusal:
        load_space(name, BASE, IMAGES)
    assert said in str(refusal.value)


@pytest.mark.parametrize(
    ("space", "given", "said"),
    [
        ("grid-mlp", {"model": "resnet18"}, "model is 'mlp' here and 'resnet18' in the settings given: leave --model"),
        ("default", {"learning_rate": 0.5}, "0.5 is not in 0.0005 to 0.03, log: widen the space, or give"),
        ("architecture", {"model": "resnet18"}, "model: trial 0"),
    ],
)
def test_settings_that_a_space_does_not_hold_are_refused(space, given, said):
    with pytest.raises(UserError) as refusal:
        load_space(space, TrainSettings(**given), IMAGES)
    assert said in str(refusal.value)


@pytest.mark.parametrize(
    ("text", "given", "said"),
    [
        (
            "model_options.dense_widths: [[24, 48], [0, 8], 7]\nimage_size: [null, 16]",
            {"max_parameters": 100},
            r"space mine: model_options.dense_widths: \[0, 8\]: network mlp cannot be built .* no channels\n"
            r"space mine: model_options.dense_widths: 7: network mlp cannot be built .* not iterable$",
        ),
        ("mix: [none, cutmix]", {"max_parameters": 100}, "space mine: network mlp has .* over the limit of 100"),
    ],
)
def test_networks_that_cannot_be_built_are_told_before_the_first_trial(tmp_path, text, given, said):
    space = load_space(write(tmp_path, text), TrainSettings(model="mlp", **given), IMAGES)
    with pytest.raises(UserError, match=f"(?s){said}"):
        refuse_networks(space, 3, 16)


@pytest.mark.parametrize(
    ("text", "limit"), [("mix: [none, cutmix]", 10**6), ("model_options.dense_widths: [[24, 48], [2]]", 100)]
)
def test_a_limit_is_left_to_the_trials_where_the_network_keeps_it_or_is_searched(tmp_path, text, limit):
    refuse_networks(load_space(write(tmp_path, text), TrainSettings(model="mlp", max_parameters=limit), IMAGES), 3, 16)
