"""Batches: the same for any number of workers, other ones each epoch, every image once."""

import numpy as np
import pytest
import torch

from competition.data.augment import create_policy
from competition.data.loader import Loader, image_keys
from tests.conftest import ArrayImages

KEYS = image_keys([f"image{number}" for number in range(40)])


def loader(images, workers=0, **options):
    options = {"policy": create_policy("heavy", 16), "shuffle": True, "seed": 5, **options}
    return Loader(images, np.arange(40), KEYS, 12, workers=workers, **options)


def batches(source, *epochs):
    return [(images.clone(), rows.clone()) for epoch in epochs for images, rows in source.epoch(epoch)]


def assert_same(first, second):
    assert len(first) == len(second)
    for (images, rows), (other_images, other_rows) in zip(first, second, strict=True):
        assert torch.equal(images, other_images)
        assert torch.equal(rows, other_rows)


@pytest.mark.parametrize("workers", [1, 4])
def test_workers_do_not_change_the_batches(array_images, workers):
    alone = batches(loader(array_images), 0, 1, 2)
    assert_same(alone, batches(loader(array_images, workers), 0, 1, 2))


def test_epochs_differ_in_order_and_in_augmentation(array_images):
    source = loader(array_images)
    first, second = batches(source, 0), batches(source, 1)
    assert not torch.equal(first[0][1], second[0][1])
    by_row = [
        {int(row): image for images, rows in epoch for row, image in zip(rows, images, strict=True)}
        for epoch in (first, second)
    ]
    same = sum(torch.equal(by_row[0][row], by_row[1][row]) for row in range(40))
    assert same < 4


def test_seeds_differ_in_order_and_in_augmentation(array_images):
    orders = [torch.cat([rows for _, rows in batches(loader(array_images, seed=seed), 0)]) for seed in (5, 6)]
    assert not torch.equal(*orders)
    first, second = (
        torch.cat([images for images, _ in batches(loader(array_images, shuffle=False, seed=seed), 0)])
        for seed in (5, 6)
    )
    assert sum(map(torch.equal, first, second)) < 4


def test_an_epoch_does_not_depend_on_those_before(array_images):
    assert_same(batches(loader(array_images), 0, 1)[4:], batches(loader(array_images), 1))


def test_an_epoch_can_begin_in_the_middle(array_images):
    whole = batches(loader(array_images), 3)
    assert_same(whole[2:], list(loader(array_images).epoch(3, first_batch=2)))


def test_what_happens_to_an_image_does_not_depend_on_its_row(pictures):
    shuffle = np.random.default_rng(0).permutation(40)
    straight = loader(ArrayImages(pictures), shuffle=False)
    shuffled = Loader(
        ArrayImages(pictures[shuffle]), np.arange(40), KEYS[shuffle], 40, policy=create_policy("heavy", 16), seed=5
    )
    expected = torch.cat([images for images, _ in batches(straight, 2)])
    (images, _), *_ = batches(shuffled, 2)
    assert torch.equal(images, expected[shuffle])


@pytest.mark.parametrize(("count", "batch_size"), [(40, 2), (39, 2), (40, 7), (40, 12), (40, 40), (40, 100)])
def test_every_image_once_in_batches_of_nearly_one_size(array_images, count, batch_size):
    source = Loader(array_images, np.arange(count), KEYS[:count], batch_size, shuffle=True)
    rows = [rows for _, rows in source.epoch(0)]
    assert sorted(torch.cat(rows).tolist()) == list(range(count))
    sizes = [len(part) for part in rows]
    assert min(sizes) >= 2
    assert max(sizes) <= max(batch_size, 2 + count % 2)  # of an odd number, three rather than two and one
    assert max(sizes) - min(sizes) <= 1
    assert len(rows) == source.batches_per_epoch


def test_copies_are_appended_and_stay_the_same_in_every_epoch(array_images, pictures):
    source = loader(array_images, copies=2, shuffle=False)
    assert source.size == 120
    first, second = (torch.cat([images for images, _ in batches(source, epoch)]) for epoch in (0, 1))
    assert torch.equal(first, second)
    assert np.array_equal(first[:40].numpy(), pictures)
    assert not torch.equal(first[40:80], first[80:])


def test_without_policy_and_shuffle_the_pictures_come_as_they_are(array_images, pictures):
    source = Loader(array_images, np.arange(40)[::-1].copy(), KEYS[::-1].copy(), 16)
    images = torch.cat([images for images, _ in source.epoch()])
    assert np.array_equal(images.numpy(), pictures[::-1])


def test_keys_depend_on_the_ids_alone():
    assert image_keys(["b", "a"]).tolist() == image_keys(["a", "b"]).tolist()[::-1]
