"""One fold: learns, resumes bit for bit, survives memory errors, and stops on a loss that is not finite."""

import dataclasses
import math
import signal

import numpy as np
import pytest
import torch
from timm.models import register_model
from torch import nn

from competition import metrics
from competition.checkpoint import open_checkpoint
from competition.config import TrainSettings
from competition.data.loader import image_keys
from competition.errors import UserError
from competition.inference import Preprocessing
from competition.models.budget import count_nonzero
from competition.precision import Precision
from competition.runs import read_history
from competition.stop import Stop, Stopped
from competition.training import fit
from competition.training import learner as learner_module
from competition.training.display import Display
from competition.training.fit import Counters, FoldTraining, fit_fold
from competition.training.inputs import FoldJob, Machine, TrainingData
from competition.training.learner import Learner
from competition.training.optim import create_loss, schedule_factor
from tests.conftest import ArrayImages

SIZE, COUNT = 16, 90
SETTINGS = TrainSettings(
    model="tiny_test_network",
    epochs=4,
    batch_size=16,
    folds=3,
    learning_rate=1e-2,
    optimizer="adamw",
    validate_every=2,
    dropout=0.1,
)


class Tiny(nn.Module):
    """Small enough that an epoch takes milliseconds; dropout and batch norm carry state worth testing."""

    def __init__(self, num_classes=3, drop_rate=0.0, most_images=None, bad_after=None):
        super().__init__()
        self.pretrained_cfg = {"classifier": "head"}  # where timm's layer decay begins
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(2))
        self.drop = nn.Dropout(drop_rate)
        self.head = nn.Linear(32, num_classes)
        self.most_images, self.bad_after, self.calls = most_images, bad_after, 0

    def get_classifier(self):
        return self.head

    def forward(self, images):
        if self.most_images and len(images) > self.most_images:
            raise torch.OutOfMemoryError("CUDA out of memory")
        self.calls += self.training
        logits = self.head(self.drop(self.body(images).flatten(1)))
        return logits * math.nan if self.bad_after and self.calls > self.bad_after else logits


@register_model
def tiny_test_network(pretrained=False, **options):
    allowed = {"num_classes", "drop_rate", "most_images", "bad_after"}
    return Tiny(**{name: value for name, value in options.items() if name in allowed})


@pytest.fixture(scope="module")
def data():
    """Three classes, each brighter in another channel."""
    rng = np.random.default_rng(0)
    labels = np.arange(COUNT) % 3
    pictures = rng.integers(0, 200, (COUNT, SIZE, SIZE, 3))
    pictures[np.arange(COUNT), ..., labels] += 55
    ids = [f"image{number}" for number in range(COUNT)]
    return TrainingData(
        np.array(ids),
        labels,
        ("b", "g", "r"),
        image_keys(ids),
        np.arange(COUNT),
        ArrayImages(pictures.astype(np.uint8)),
    )


HELD_OUT = np.arange(COUNT) % 5 == 0


def job(settings, data, folder):
    folder.mkdir(parents=True, exist_ok=True)
    preprocessing = Preprocessing(SIZE, "squash", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    machine = Machine(torch.device("cpu"), Precision(), 0)
    return FoldJob(settings, data, HELD_OUT, 0, folder, preprocessing, machine)


def training(settings, data, folder):
    display = Display([0])
    display.start_fold(0, settings.epochs)
    return FoldTraining(job(settings, data, folder), display)


def run(settings, data, folder, **options):
    return fit_fold(job(settings, data, folder), Display([0]), **options)


def weights(network):
    return torch.cat([parameter.detach().flatten() for parameter in network.parameters()])


def test_a_fold_learns_and_leaves_its_files(data, tmp_path):
    predictions = run(SETTINGS, data, tmp_path)
    assert metrics.macro_f1(predictions.confusion()) > 0.9
    assert predictions.image_ids.tolist() == data.image_ids[HELD_OUT].tolist()
    assert {"history.jsonl", "model.safetensors", "model.json", "predictions.npz", "lock"} == {
        path.name for path in tmp_path.iterdir()
    }
    epochs = [record["epoch"] for record in read_history(tmp_path / "history.jsonl") if "train_loss" in record]
    assert epochs == [1, 2, 3, 4]


def test_a_share_is_trained_on_and_all_held_out_images_are_scored(data, tmp_path):
    some = job(SETTINGS.replace(train_share=0.25), data, tmp_path)
    assert not HELD_OUT[some.train_rows].any()
    assert np.bincount(data.labels[some.train_rows]).tolist() == [
        round(0.25 * count) for count in np.bincount(data.labels[~HELD_OUT])
    ]
    assert fit_fold(some, Display([0])).image_ids.tolist() == data.image_ids[HELD_OUT].tolist()


def validations(folder):
    return [record["epoch"] for record in read_history(folder / "history.jsonl") if "macro_f1" in record]


def test_every_validation_is_of_one_view_and_of_its_own_epoch(data, tmp_path, monkeypatch):
    seen, predict = [], FoldTraining.predict_held_out
    monkeypatch.setattr(
        FoldTraining, "predict_held_out", lambda self, views: seen.append(views) or predict(self, views)
    )
    run(SETTINGS.replace(views=2, validate_every=2), data, tmp_path / "a")
    assert seen == [1, 2, 1]
    assert validations(tmp_path / "a") == [2, 4]
    run(SETTINGS.replace(views=2, validate_every=2, stop_after=9), data, tmp_path / "b")
    assert validations(tmp_path / "b") == [2, 4]  # what is kept was recorded already


def test_a_finished_fold_is_not_trained_again(data, tmp_path):
    first = run(SETTINGS, data, tmp_path)
    stamp = (tmp_path / "model.safetensors").stat().st_mtime_ns
    again = run(SETTINGS, data, tmp_path)
    np.testing.assert_array_equal(first.probabilities, again.probabilities)
    assert (tmp_path / "model.safetensors").stat().st_mtime_ns == stamp


@pytest.mark.parametrize("stop_at", [3, 10, 14, 20])  # of 20 steps, 40 with a copy of each image
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"ema": 0.9, "optimizer": "nmuon", "mix": "both"},
        {"schedule": "plateau", "validate_every": 1, "stop_after": 5, "copies": 1, "augment": "heavy"},
    ],
)
def test_stopping_anywhere_changes_nothing(data, tmp_path, stop_at, changes, monkeypatch):
    settings = SETTINGS.replace(**changes)
    undisturbed = run(settings, data, tmp_path / "a")
    save = FoldTraining.save

    def save_and_die(self):
        save(self)
        if self.progress.step == stop_at:
            raise KeyboardInterrupt

    monkeypatch.setattr(fit, "SAVE_SECONDS", -1.0)
    monkeypatch.setattr(FoldTraining, "save", save_and_die)
    with pytest.raises(KeyboardInterrupt):
        run(settings, data, tmp_path / "b")
    monkeypatch.undo()
    resumed = run(settings, data, tmp_path / "b")
    np.testing.assert_array_equal(undisturbed.probabilities, resumed.probabilities)
    strip = lambda path: [  # noqa: E731
        {name: value for name, value in record.items() if "second" not in name}
        for record in read_history(path / "history.jsonl")
    ]
    assert strip(tmp_path / "a") == strip(tmp_path / "b")


def test_steps_in_place_of_epochs(data, tmp_path):
    run(SETTINGS.replace(steps=7), data, tmp_path)
    assert read_history(tmp_path / "history.jsonl")[-1]["step"] == 7


@pytest.mark.parametrize("layer_decay", [1.0, 0.5])
def test_the_learning_rate_is_the_optimisers_own_where_none_is_given(data, tmp_path, layer_decay):
    told = {"learning_rate": None, "schedule": "constant", "warmup": 0, "epochs": 1, "layer_decay": layer_decay}
    run(SETTINGS.replace(**told), data, tmp_path)
    assert read_history(tmp_path / "history.jsonl")[0]["learning_rate"] == 1e-3  # AdamW


def test_the_time_limit_saves_and_the_same_call_goes_on(data, tmp_path):
    with pytest.raises(Stopped):
        run(SETTINGS, data, tmp_path, stop=Stop(-math.inf))
    assert (tmp_path / "state.pt").exists()
    resumed = run(SETTINGS, data, tmp_path)
    np.testing.assert_array_equal(resumed.probabilities, run(SETTINGS, data, tmp_path / "b").probabilities)


def test_a_wish_to_stop_waits_for_the_end_of_its_step_and_saves(data, tmp_path, monkeypatch):
    whole = run(SETTINGS, data, tmp_path / "a")
    take_step, stop = Learner.take_step, Stop()

    def interrupted(self, pictures, positions, step, factor):
        if step == 3:
            signal.raise_signal(signal.SIGINT)
        return take_step(self, pictures, positions, step, factor)

    with monkeypatch.context() as patched, stop.listening():
        patched.setattr(Learner, "take_step", interrupted)
        with pytest.raises(Stopped):
            run(SETTINGS, data, tmp_path / "b", stop=stop)
    assert torch.load(tmp_path / "b" / "state.pt", weights_only=True)["progress"]["step"] == 4
    np.testing.assert_array_equal(run(SETTINGS, data, tmp_path / "b").probabilities, whole.probabilities)


def test_memory_that_runs_out_halves_the_micro_batch(data, tmp_path, capsys):
    settings = SETTINGS.replace(model_options={"most_images": 5}, batch_size=16)
    fold = training(settings, data, tmp_path)
    fold.train_epoch()
    assert fold.learner.micro_batch == 4
    assert fold.progress.step == fold.loader.batches_per_epoch
    said = capsys.readouterr().out
    assert "memory ran out with 15 images at once; going on with 8" in said
    assert "going on with 4" in said


@pytest.mark.parametrize("weight", [1.0, 0.7])
@pytest.mark.parametrize("loss", ["ce", "focal", "balanced"])
def test_accumulated_gradients_are_those_of_the_whole_batch(data, tmp_path, loss, weight):
    learner = training(SETTINGS.replace(dropout=0.0, loss=loss), data, tmp_path).learner
    learner.network.eval()  # batch norm would see other groups
    learner._loss = create_loss(loss, 0.1, torch.tensor([7, 2, 1]))
    images, labels = torch.rand(10, 3, SIZE, SIZE), torch.tensor([0] * 7 + [1, 1, 2])
    gradients = []
    for size in (10, 3):
        learner.accumulate(images, labels, labels.flip(0), weight, size)
        gradients.append(torch.cat([p.grad.flatten() for p in learner.network.parameters()]))
    torch.testing.assert_close(*gradients, atol=1e-5, rtol=1e-4)


def test_no_picture_is_alone_in_a_part_of_a_batch(data, tmp_path):
    learner = training(SETTINGS, data, tmp_path).learner
    parts = []
    learner.network.register_forward_pre_hook(lambda module, inputs: parts.append(len(inputs[0])))
    labels = torch.arange(9) % 3
    learner.accumulate(torch.rand(9, 3, SIZE, SIZE), labels, labels, 1.0, 4)
    assert parts == [3, 3, 3]


@pytest.mark.parametrize(("number_format", "also"), [("fp32", ""), ("bf16", ", or use --precision fp32")])
def test_a_loss_that_is_not_finite_stops_with_advice(data, tmp_path, number_format, also):
    bad = job(SETTINGS.replace(model_options={"bad_after": 6}), data, tmp_path)
    bad = dataclasses.replace(bad, machine=dataclasses.replace(bad.machine, precision=Precision(number_format)))
    with pytest.raises(UserError, match=r"fold 0, epoch 2, step 7: the loss is nan. Lower --learning-rate") as refusal:
        fit_fold(bad, Display([0]))
    assert str(refusal.value).endswith(f", or set --clip-norm 1{also}; finished folds are kept")
    assert not (tmp_path / "predictions.npz").exists()


def test_stopping_after_no_gain_keeps_the_best(data, tmp_path, monkeypatch):
    scores, trained = iter([0.5, 0.9, 0.6, 0.6, 0.6, 0.6, 0.6, 0.6]), []
    fold = training(SETTINGS.replace(stop_after=2, validate_every=1, epochs=20), data, tmp_path)
    monkeypatch.setattr(
        fold, "_record_validation", lambda predictions: trained.append(weights(fold.learner.network)) or next(scores)
    )
    fold.run()
    assert fold.progress.epoch == 4
    assert fold.progress.best == 0.9
    fold.finish()
    kept, _ = open_checkpoint(tmp_path)
    assert [torch.equal(weights(kept), each) for each in trained] == [False, True, False, False]


def test_the_state_is_saved_while_an_epoch_is_under_way(data, tmp_path, monkeypatch):
    monkeypatch.setattr(fit, "SAVE_SECONDS", -1.0)
    fold = training(SETTINGS, data, tmp_path)
    steps = []
    monkeypatch.setattr(FoldTraining, "save", lambda self: steps.append(self.progress.step))
    fold.train_epoch()
    assert steps == list(range(1, fold.loader.batches_per_epoch))


def test_tensorboard_gets_the_same_numbers(data, tmp_path):
    event_accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    run(SETTINGS.replace(tensorboard=True), data, tmp_path)
    events = event_accumulator.EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    expected = [record["train_loss"] for record in read_history(tmp_path / "history.jsonl") if "train_loss" in record]
    assert [event.value for event in events.Scalars("train_loss")] == pytest.approx(expected, rel=1e-6)


def test_a_new_epoch_resets_the_sums():
    progress = Counters(epoch=1, batch=3, step=9, loss_sum=2.0, hits=3.0, images=7)
    progress.begin_epoch(2)
    assert progress == Counters(epoch=2, step=9)


# -- what every setting does

PLAIN = SETTINGS.replace(
    steps=4,
    optimizer="sgd",
    schedule="constant",
    warmup=0,
    augment="none",
    mix="none",
    label_smoothing=0.0,
    dropout=0.0,
)
UNEVEN = HELD_OUT | (np.arange(COUNT) % 3 == 0) & (np.arange(COUNT) > 30)  # the first class is rare in the training


def trained(settings, data, folder, fold=0):
    """Return the weights that would be kept."""
    folder.mkdir()
    display = Display([fold])
    display.start_fold(fold, 1)
    changed = dataclasses.replace(job(settings, data, folder), held_out=UNEVEN, fold=fold)
    under_way = FoldTraining(changed, display)
    under_way.run()
    return weights(under_way.learner.evaluated)


MIXED = {"mix": "both", "mix_probability": 1.0}


@pytest.mark.parametrize(
    ("default", "changed"),
    [
        ({}, {"augment": "light"}),
        ({}, {"copies": 1}),
        ({}, {"mix": "mixup", "mix_probability": 1.0}),
        ({}, {"mix": "cutmix", "mix_probability": 1.0}),
        (MIXED, {**MIXED, "mix": "mixup"}),
        (MIXED, {**MIXED, "mix_probability": 0.0}),
        (MIXED, {**MIXED, "mixup_alpha": 3.0}),
        (MIXED, {**MIXED, "cutmix_alpha": 0.1}),
        ({}, {"loss": "focal"}),
        ({}, {"loss": "balanced"}),
        ({}, {"label_smoothing": 0.2}),
        ({}, {"dropout": 0.5}),
        ({}, {"optimizer": "adamw"}),
        ({}, {"learning_rate": 2e-2}),
        ({}, {"momentum": 0.5}),
        ({}, {"weight_decay": 1.0}),
        ({}, {"layer_decay": 0.5}),
        ({}, {"clip_norm": 0.01}),
        ({}, {"grow_from": 0.5}),
        ({}, {"schedule": "cosine"}),
        ({"schedule": "cosine"}, {"schedule": "cosine", "warmup": 0.5}),
        ({}, {"ema": 0.5}),
        ({}, {"batch_size": 8}),
        ({}, {"seed": 1}),
    ],
    ids=str,
)
def test_every_setting_changes_what_is_trained(data, tmp_path, default, changed):
    first, again, other = (
        trained(PLAIN.replace(**changes), data, tmp_path / name)
        for name, changes in (("a", default), ("b", default), ("c", changed))
    )
    assert torch.equal(first, again)
    assert (first - other).abs().max() > 1e-5


def test_every_fold_and_every_seed_begins_elsewhere(data, tmp_path):
    jobs = [
        dataclasses.replace(job(PLAIN.replace(seed=seed), data, tmp_path), fold=fold)
        for seed, fold in ((0, 0), (1, 0), (0, 1))
    ]
    under_way = [FoldTraining(each, Display([each.fold])) for each in jobs]
    assert len({each.job.seed for each in under_way}) == 3
    assert len({tuple(weights(each.learner.network).tolist()) for each in under_way}) == 3
    assert len({tuple(next(each.loader.epoch(0))[1].tolist()) for each in under_way}) == 3


def learning_rates(folder):
    return [record["learning_rate"] for record in read_history(folder / "history.jsonl") if "learning_rate" in record]


@pytest.mark.parametrize("warmup", [0.0, 0.6])
@pytest.mark.parametrize("schedule", ["cosine", "onecycle", "cyclic", "step", "constant"])
def test_the_learning_rate_follows_the_schedule(data, tmp_path, schedule, warmup):
    milestones = {"milestones": (1, 3)} if schedule == "step" else {}
    run(PLAIN.replace(steps=None, schedule=schedule, warmup=warmup, **milestones), data, tmp_path)
    expected = [1e-2 * schedule_factor(schedule, step, 20, warmup, (0.25, 0.75)) for step in (4, 9, 14, 19)]
    assert learning_rates(tmp_path) == pytest.approx(expected, rel=1e-9)


def test_on_a_plateau_the_learning_rate_is_halved(data, tmp_path, monkeypatch):
    monkeypatch.setattr(FoldTraining, "_record_validation", lambda self, predictions: 0.5)
    run(PLAIN.replace(steps=None, epochs=9, schedule="plateau", validate_every=1), data, tmp_path)
    assert learning_rates(tmp_path) == pytest.approx([1e-2] * 4 + [0.5e-2] * 3 + [0.25e-2] * 2)


def test_the_moving_average_is_what_is_validated_and_kept(data, tmp_path):
    fold = training(PLAIN.replace(ema=0.5), data, tmp_path)
    fold.run()
    average = weights(fold.learner.evaluated)
    with torch.no_grad():
        for parameter in fold.learner.network.parameters():
            parameter.fill_(math.nan)
    assert np.isfinite(fold.predict_held_out(views=1).probabilities).all()
    fold.finish()
    assert torch.equal(weights(open_checkpoint(tmp_path)[0]), average)


def test_the_moving_average_follows_the_weights_of_every_step(data, tmp_path, monkeypatch):
    learner, seen = (fold := training(PLAIN.replace(steps=6, ema=0.45), data, tmp_path)).learner, []
    update = learner._update
    monkeypatch.setattr(learner, "_update", lambda step: update(step) or seen.append(weights(learner.network)))
    fold.run()
    expected = seen[0]
    for step, each in enumerate(seen):  # timm's warm-up: from step 2 on 1 - step^(-2/3), until the decay is reached
        decay = min(0.45, 1 - step ** (-2 / 3)) if step > 1 else 0.0
        expected = decay * expected + (1 - decay) * each
    assert torch.allclose(weights(learner.evaluated), expected, atol=1e-6)
    assert not torch.allclose(expected, seen[-1], atol=1e-6)


def test_what_was_pruned_by_magnitude_stays_zero_while_it_is_tuned(data, tmp_path):
    run(PLAIN, data, tmp_path / "large" / "fold_0")
    pruned = {"prune_from": tmp_path / "large", "prune_method": "magnitude", "max_parameters": 200}
    run(PLAIN.replace(**pruned), data, tmp_path / "small" / "fold_0")
    assert (
        count_nonzero(open_checkpoint(tmp_path / "small" / "fold_0")[0])
        <= 200
        < len(weights(open_checkpoint(tmp_path / "large" / "fold_0")[0]))
    )


def test_the_loss_of_an_epoch_is_the_mean_over_its_pictures(data, tmp_path, monkeypatch):
    fold = training(PLAIN.replace(steps=None, epochs=1), data, tmp_path)
    sizes = [len(positions) for _, positions in fold.loader.epoch(0)]
    assert len(set(sizes)) > 1  # a mean over the batches would be another number
    monkeypatch.setattr(
        fold.learner, "take_step", lambda pictures, positions, step, factor: (torch.tensor(2.0**step), torch.tensor(3))
    )
    fold.train_epoch()
    (record,) = read_history(tmp_path / "history.jsonl")
    expected = sum(2**step * size for step, size in enumerate(sizes)) / sum(sizes)
    assert record["train_loss"] == pytest.approx(expected)
    assert record["train_accuracy"] == pytest.approx(3 * len(sizes) / sum(sizes))


def test_what_was_recorded_after_the_last_save_is_taken_back(data, tmp_path, monkeypatch):
    run(SETTINGS, data, tmp_path / "a")

    def save_once(self):
        if self.progress.step == 3:
            self.save()
        if self.progress.step == 12:  # in the third epoch
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(FoldTraining, "_save_if_due", save_once)
        with pytest.raises(KeyboardInterrupt):
            run(SETTINGS, data, tmp_path / "b")
    run(SETTINGS, data, tmp_path / "b")
    first, second = (
        [(record["epoch"], record["step"]) for record in read_history(folder / "history.jsonl")]
        for folder in (tmp_path / "a", tmp_path / "b")
    )
    assert first == second


@pytest.mark.parametrize("is_scaled", [False, True])
def test_a_clipped_step_is_no_longer_than_the_norm(data, tmp_path, is_scaled):
    fold = training(PLAIN.replace(steps=1, clip_norm=1e-3, momentum=0.0, weight_decay=0.0), data, tmp_path)
    fold.learner._scaler = torch.amp.GradScaler("cpu", init_scale=256.0, enabled=is_scaled)  # as in fp16
    before = weights(fold.learner.network)
    fold.run()
    # The learning rate times the norm, as far as differences of float32 weights tell.
    assert (weights(fold.learner.network) - before).norm().item() == pytest.approx(1e-2 * 1e-3, rel=0.05)


def test_the_pictures_grow(data, tmp_path):
    fold, sizes = training(PLAIN.replace(steps=8, grow_from=0.5), data, tmp_path), []
    fold.learner.network.register_forward_pre_hook(lambda _, inputs: sizes.append(inputs[0].shape[-1]))
    fold.run()
    assert sizes == [8, 8, 8, 16, 16, 16, 16, 16]


def test_every_step_mixes_anew(data, tmp_path, monkeypatch):
    fold, mixed = training(PLAIN.replace(mix="mixup", mix_probability=1.0), data, tmp_path), []
    accumulate = fold.learner.accumulate
    monkeypatch.setattr(
        fold.learner, "accumulate", lambda *arguments: mixed.append(arguments[3]) or accumulate(*arguments)
    )
    fold.run()
    assert len(set(mixed)) == 4


def test_a_mixed_picture_learns_the_label_of_its_partner_too(data, tmp_path, monkeypatch):
    learner, learnt = training(PLAIN, data, tmp_path).learner, []
    monkeypatch.setattr(learner_module, "mix_batch", lambda images, *_: (images, torch.tensor([2, 0, 1]), 0.75))
    accumulate = learner.accumulate
    monkeypatch.setattr(learner, "accumulate", lambda *given: learnt.append(given[1:4]) or accumulate(*given))
    learner._targets = torch.tensor([2, 0, 1, 0])
    learner.take_step(torch.zeros(3, SIZE, SIZE, 3, dtype=torch.uint8), torch.tensor([0, 1, 2]), 0, 1.0)
    ((own, others, weight),) = learnt
    assert (own.tolist(), others.tolist(), weight) == ([2, 0, 1], [1, 2, 0], 0.75)


def test_the_weight_of_a_mix_is_that_of_the_own_label(data, tmp_path):
    learner = training(PLAIN, data, tmp_path).learner
    learner.network.eval()
    images, own, partner = torch.rand(9, 3, SIZE, SIZE), torch.arange(9) % 3, torch.arange(1, 10) % 3
    loss, hits = learner.accumulate(images, own, partner, 0.8, 9)
    logits = learner.network(images)
    expected = 0.8 * nn.functional.cross_entropy(logits, own) + 0.2 * nn.functional.cross_entropy(logits, partner)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    assert hits.item() == (logits.argmax(dim=1) == own).sum().item()
