"""What do other toolkits reach from the same images, on the same core, in the same time?

    python train.py --data DATA --only-folds 0 --run RUN                 # this toolkit, all defaults
    python benchmarks/peers.py split --data DATA --folds folds/NAME.csv --out DIR
    PEER_PYTHON benchmarks/peers.py timm|fastai|ultralytics --images DIR --minutes 8

``split`` writes fold 0 as ``DIR/train/CLASS`` and ``DIR/val/CLASS``, the layout that all of them read. Each peer trains
from scratch with the recipe that its own documentation gives for it, as many epochs as the minutes of processor time
allow (one epoch is trained first, to time it), and is scored on ``DIR/val`` with macro F1. No peer is a dependency of
this toolkit: PEER_PYTHON is an environment that has it, and scikit-learn.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

from sklearn.metrics import f1_score

Trained = tuple[float, list[str], list[str]]  # processor seconds, true and predicted class names of the held-out images


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    split = verbs.add_parser("split")
    split.add_argument("--data", type=Path, required=True, help="a competition: folder or zip")
    split.add_argument("--folds", type=Path, required=True, help="the fold table of the run to compare with")
    split.add_argument("--out", type=Path, required=True)
    for name in PEERS:
        peer = verbs.add_parser(name)
        peer.add_argument("--images", type=Path, required=True, help="what split has written")
        peer.add_argument("--minutes", type=float, required=True, help="of processor time for the training")
        peer.add_argument("--size", type=int, default=64, help="side of the pictures [px]")
    values = parser.parse_args()
    if values.verb == "split":
        write_split(values.data, values.folds, values.out)
        return
    train = PEERS[values.verb]
    epoch, _, _ = train(values.images, values.size, 1)
    epochs = max(1, int(values.minutes * 60 / epoch))
    seconds, truth, predicted = train(values.images, values.size, epochs)
    score = f1_score(truth, predicted, average="macro")
    print(f"{values.verb}: {epochs} epochs in {seconds / 60:.1f} min of processor time, macro F1 {score:.3f}")


def write_split(data: Path, folds: Path, out: Path) -> None:
    """Write the labelled images of a competition as two sets of class folders; those of fold 0 are held out."""
    import pandas as pd

    from competition.config import DataSettings
    from competition.data.decode import full_pixels, to_png
    from competition.data.prepare import find_data

    table = find_data(DataSettings(data=data)).labelled().set_index("image_id")
    for row in pd.read_csv(folds, dtype={"image_id": str, "label": str}).itertuples():
        path = out / ("val" if row.fold == 0 else "train") / str(row.label) / f"{Path(str(row.image_id)).stem}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(to_png(full_pixels(table.path[row.image_id])))


def train_timm(images: Path, size: int, epochs: int) -> Trained:
    """ResNet-18 as timm's train.py trains by default: SGD, cosine, random crops, colour jitter, label smoothing."""
    import timm
    import torch
    from timm.data import create_dataset, create_loader
    from timm.loss import LabelSmoothingCrossEntropy
    from timm.optim import create_optimizer_v2
    from timm.scheduler import create_scheduler_v2

    sets = [create_dataset("", str(images), split=split, is_training=split == "train") for split in ("train", "val")]
    shape = (3, size, size)
    learning, held_out = (
        create_loader(s, shape, 128, s is sets[0], num_workers=0, use_prefetcher=False, crop_pct=1.0, color_jitter=0.4)
        for s in sets
    )
    names = list(sets[0].reader.class_to_idx)
    network = timm.create_model("resnet18", num_classes=len(names))
    optimizer = create_optimizer_v2(network, opt="sgd", lr=0.05, momentum=0.9, weight_decay=2e-5)
    schedule, _ = create_scheduler_v2(
        optimizer,
        "cosine",
        num_epochs=epochs,
        warmup_epochs=min(3, epochs // 4),
        warmup_lr=1e-4,
        updates_per_epoch=len(learning),
        step_on_epochs=False,
    )
    loss, step, start = LabelSmoothingCrossEntropy(0.1), 0, time.process_time()
    for _ in range(epochs):
        network.train()
        for pictures, targets in learning:
            optimizer.zero_grad()
            loss(network(pictures), targets).backward()
            optimizer.step()
            step += 1
            schedule.step_update(step)
    seconds = time.process_time() - start
    network.eval()
    truth, predicted = [], []
    with torch.no_grad():
        for pictures, targets in held_out:
            truth += [names[target] for target in targets]
            predicted += [names[place] for place in network(pictures).argmax(dim=1)]
    return seconds, truth, predicted


def train_fastai(images: Path, size: int, epochs: int) -> Trained:
    """xresnet18 as fastai's Imagenette example trains: Mish, Ranger, flat then cosine, mirrored views averaged."""
    from fastai.vision.all import (
        FlipItem,
        ImageDataLoaders,
        LabelSmoothingCrossEntropy,
        Learner,
        Mish,
        Normalize,
        RandomResizedCrop,
        imagenet_stats,
        ranger,
        xresnet18,
    )

    batches = ImageDataLoaders.from_folder(
        images,
        train="train",
        valid="val",
        bs=64,
        item_tfms=[RandomResizedCrop(size, min_scale=0.35), FlipItem(0.5)],
        batch_tfms=Normalize.from_stats(*imagenet_stats),
        num_workers=0,
    )
    names = list(batches.vocab)
    network = xresnet18(n_out=len(names), act_cls=Mish, sa=True)
    learner = Learner(batches, network, loss_func=LabelSmoothingCrossEntropy(), opt_func=ranger)
    with learner.no_bar(), learner.no_logging():
        learner.validate = learner._do_epoch_validate = lambda *_, **__: None  # scored once, at the end
        start = time.process_time()
        learner.fit_flat_cos(epochs, 8e-3, wd=1e-2)
        seconds = time.process_time() - start
        del learner._do_epoch_validate
        probabilities, targets = learner.tta()
    return seconds, [names[t] for t in targets], [names[place] for place in probabilities.argmax(dim=1)]


def train_ultralytics(images: Path, size: int, epochs: int) -> Trained:
    """YOLO11n-cls with all defaults of ``yolo classify train``, from its configuration instead of its weights."""
    from ultralytics import YOLO

    model = YOLO("yolo11n-cls.yaml")
    start = time.process_time()
    model.train(
        data=str(images.resolve()),
        epochs=epochs,
        imgsz=size,
        pretrained=False,
        workers=0,
        device="cpu",
        val=False,
        plots=False,
        verbose=False,
        project=str(images.resolve().parent / "ultralytics"),
        exist_ok=True,
    )
    seconds = time.process_time() - start
    files = sorted((images / "val").glob("*/*.png"))
    results = model.predict([str(file) for file in files], imgsz=size, verbose=False, stream=True, batch=64)
    predicted = [result.names[result.probs.top1] for result in results]
    return seconds, [file.parent.name for file in files], predicted


PEERS: dict[str, Callable[[Path, int, int], Trained]] = {
    "timm": train_timm,
    "fastai": train_fastai,
    "ultralytics": train_ultralytics,
}


if __name__ == "__main__":
    main()
