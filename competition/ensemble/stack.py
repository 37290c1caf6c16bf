"""The members' out-of-fold probabilities, joined by image id and class name."""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from competition.ensemble.combination import Combination, in_threads
from competition.ensemble.shortlist import Shortlist
from competition.errors import UserError, first_few
from competition.predictions import Predictions, align, in_class_order
from competition.runs import counted_seed

KEEP_BYTES = 256 << 20  # a larger stack lies in a file that is mapped
NESTED_FOLDS = 5  # most outer folds of the nested estimates


@dataclass(frozen=True)
class Stack:
    """Out-of-fold probabilities of M members over the N images that all of them predicted.

    Attributes:
        names: M names of the members.
        class_names: K names.
        image_ids: (N,) names, each once.
        labels: (N,) class numbers.
        folds: (N,) outer fold of each image, for nested estimates.
        probabilities: (M, N, K) float16, perhaps a memory map.
    """

    names: tuple[str, ...]
    class_names: tuple[str, ...]
    image_ids: NDArray[np.str_]
    labels: NDArray[np.int64]
    folds: NDArray[np.int64]
    probabilities: NDArray[np.float16]

    @cached_property
    def mean(self) -> NDArray[np.float32]:
        """The plain mean over the members. (N, K)."""
        members = len(self.names)
        return Combination("mean", "probability", np.full(members, 1 / members)).apply(self.probabilities)

    @cached_property
    def shortlist(self) -> Shortlist:
        """The classes that can win each row; found without a look at the labels."""
        return Shortlist.of(self.probabilities, self.mean, self.labels)


def refuse_different_classes(names: Sequence[str], class_names: Sequence[tuple[str, ...]]) -> None:
    """Raise UserError naming the classes that not all runs share."""
    for name, classes in zip(names[1:], class_names[1:], strict=True):
        if set(classes) != set(class_names[0]):
            only_here, only_there = set(classes) - set(class_names[0]), set(class_names[0]) - set(classes)
            raise UserError(
                f"{name} and {names[0]} know different classes and cannot be averaged: only {name} knows "
                f"{first_few(sorted(only_here)) or 'none'}; "
                f"only {names[0]} knows {first_few(sorted(only_there)) or 'none'}"
            )


def join_members(names: Sequence[str], loaders: Sequence[Callable[[], Predictions]]) -> Stack:
    """Join out-of-fold predictions by image id and class name; each is loaded twice and none is kept.

    Args:
        names: M names for messages.
        loaders: M functions that return out-of-fold predictions with labels.

    Raises:
        UserError: no labels, other classes, no image common to all, or an image with two labels.
    """
    first = loaders[0]()
    first = align(first, _common_ids(names, loaders, first))
    ids, labels = first.image_ids, _label_names(names[0], first)
    probabilities = _allocate((len(names), len(ids), len(first.class_names)))

    def fill(number: int) -> None:
        member = loaders[number]()
        member = member if np.array_equal(ids, member.image_ids) else align(member, ids)
        _refuse_other_labels(names[number], names[0], ids, _label_names(names[number], member), labels)
        probabilities[number] = in_class_order(member, first.class_names)

    list(in_threads(fill, range(len(names))))
    assert first.labels is not None
    return Stack(tuple(names), first.class_names, ids, first.labels, outer_folds(first), probabilities)


def _common_ids(
    names: Sequence[str], loaders: Sequence[Callable[[], Predictions]], first: Predictions
) -> NDArray[np.str_]:
    """Return the ids of the images that all members predicted."""

    def known(number: int) -> tuple[NDArray[np.str_], tuple[str, ...]]:
        member = loaders[number]()
        return member.image_ids, member.class_names

    ids = first.image_ids
    for name, (own, classes) in zip(names, in_threads(known, range(len(names))), strict=True):
        refuse_different_classes([names[0], name], [first.class_names, classes])
        if not np.array_equal(ids, own):
            ids = np.intersect1d(ids, own)
        if not len(ids):
            raise UserError(
                f"{name}: no image of its out-of-fold predictions is common to all members before it, and an ensemble "
                "is fitted on images that all of them held out: name runs on the same images, with all folds trained"
            )
    return ids


def outer_folds(predictions: Predictions) -> NDArray[np.int64]:
    """Return at most five outer folds: those of the predictions, merged; dealt by id where there are not two."""
    numbers = np.array([], dtype=np.int64) if predictions.folds is None else np.unique(predictions.folds)
    if len(numbers) >= 2:
        assert predictions.folds is not None
        return np.searchsorted(numbers, predictions.folds) % NESTED_FOLDS
    order = np.argsort([counted_seed("outer fold", name) for name in predictions.image_ids.tolist()])
    folds = np.empty(len(order), dtype=np.int64)
    folds[order] = np.arange(len(order)) % NESTED_FOLDS
    return folds


def _allocate(shape: tuple[int, int, int]) -> NDArray[np.float16]:
    if 2 * int(np.prod(shape, dtype=np.int64)) <= KEEP_BYTES:
        return np.empty(shape, np.float16)
    with tempfile.TemporaryFile() as file:  # the map keeps the nameless file alive, and nothing else does
        return np.memmap(file, np.float16, "w+", shape=shape)


def _label_names(name: str, predictions: Predictions) -> NDArray[np.str_]:
    if predictions.labels is None:
        raise UserError(f"{name}: its out-of-fold predictions have no labels")
    return np.asarray(predictions.class_names)[predictions.labels]


def _refuse_other_labels(
    name: str, first: str, ids: NDArray[np.str_], labels: NDArray[np.str_], known: NDArray[np.str_]
) -> None:
    differ = ids[labels != known]
    if len(differ):
        raise UserError(
            f"{name} and {first} were trained with different labels for {len(differ)} images: {first_few(differ)}"
        )
