"""Augmentation: every draw depends on a counted number, and user files are checked."""

import albumentations as A
import numpy as np
import pytest

from competition.data import augment
from competition.data.augment import POLICIES, Policy, create_policy
from competition.errors import UserError


@pytest.fixture
def picture():
    return np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)


@pytest.mark.parametrize("name", [name for name in POLICIES if name != "none"])
def test_a_policy_is_a_function_of_the_seed(name, picture):
    policy, other = create_policy(name, 32), create_policy(name, 32)
    first = [policy(picture, seed) for seed in range(30)]
    again = [other(picture, seed) for seed in reversed(range(30))][::-1]  # another order, another object
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a, b)
    assert first[0].shape == picture.shape
    assert first[0].dtype == np.uint8
    assert len({a.tobytes() for a in first}) >= 2


def test_none_is_no_policy():
    assert create_policy("none", 32) is None


def test_horizontal_and_vertical_flips_are_independent(picture):
    policy = Policy([A.HorizontalFlip(p=0.5), A.VerticalFlip(p=0.5)])
    outcomes = {
        picture.tobytes(): "none",
        picture[:, ::-1].tobytes(): "h",
        picture[::-1].tobytes(): "v",
        picture[::-1, ::-1].tobytes(): "hv",
    }
    rng = np.random.default_rng(0)
    seen = [outcomes[policy(picture, int(seed)).tobytes()] for seed in rng.integers(0, 2**63, 2000)]
    for outcome in outcomes.values():  # 500 each, standard deviation 19
        assert 420 < seen.count(outcome) < 580


def test_consecutive_seeds_do_not_correlate(picture):
    policy = Policy([A.HorizontalFlip(p=0.5)])
    flipped = np.array([policy(picture, seed).tobytes() != picture.tobytes() for seed in range(2000)])
    assert 0.45 < flipped.mean() < 0.55
    assert 0.45 < (flipped[1:] == flipped[:-1]).mean() < 0.55


def test_a_users_file_is_read(tmp_path, picture):
    path = tmp_path / "mine.yaml"
    A.save(A.Compose([A.VerticalFlip(p=1.0)]), path, data_format="yaml")
    np.testing.assert_array_equal(create_policy(str(path), 32)(picture, 5), picture[::-1])


@pytest.mark.parametrize(
    ("pipeline", "said"),
    [(A.Compose([A.Resize(8, 8)]), "must keep size and type"), (A.Compose([A.Normalize()]), "must keep size and type")],
)
def test_a_users_file_must_keep_size_and_type(tmp_path, pipeline, said):
    path = tmp_path / "mine.yaml"
    A.save(pipeline, path, data_format="yaml")
    with pytest.raises(UserError, match=said):
        create_policy(str(path), 32)


def test_what_stands_at_the_top_of_a_file_keeps_its_meaning(tmp_path):
    picture = np.arange(8 * 8 * 3, dtype=np.uint8).reshape(8, 8, 3)
    path = tmp_path / "mine.yaml"
    A.save(A.OneOf([A.HorizontalFlip(p=1.0), A.VerticalFlip(p=1.0)], p=1.0), path, data_format="yaml")
    policy = create_policy(str(path), 8)
    made = {policy(picture, seed).tobytes() for seed in range(20)}
    assert made == {picture[:, ::-1].tobytes(), picture[::-1].tobytes()}
    A.save(A.Compose([A.HorizontalFlip(p=1.0)], p=0.3), path, data_format="yaml")
    policy = create_policy(str(path), 8)
    flipped = sum(policy(picture, seed).tobytes() != picture.tobytes() for seed in range(100))
    assert 15 <= flipped <= 45


@pytest.mark.parametrize(("name", "said"), [("meduim", "did you mean 'medium'"), ("nowhere.yaml", "does not exist")])
def test_unknown_policies_are_refused(name, said):
    with pytest.raises(UserError, match=said):
        create_policy(name, 32)


@pytest.mark.parametrize("text", ["a: [", "transform: {__class_fullname__: Nonsense}", "just text"])
def test_a_file_that_is_no_pipeline_is_refused(tmp_path, text):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match="is not an albumentations pipeline"):
        create_policy(str(path), 32)


def test_another_albumentations_is_refused(monkeypatch):
    monkeypatch.setattr(augment.metadata, "version", lambda _: "2.1.0")
    with pytest.raises(UserError, match=r"albumentations 2\.1\.0 is installed"):
        create_policy("light", 32)


def test_light_shifts_without_empty_borders(picture):
    flat = np.full_like(picture, 200)
    assert (create_policy("light", 32)(flat, 3) == 200).all()


class Tinted(A.ImageOnlyTransform):
    """Draws one number of 32 bits: numpy keeps the other half of the 64 that it made for the next draw."""

    def apply(self, img, **_):
        return np.full_like(img, self.random_generator.integers(0, 256, dtype=np.int32))


def test_half_a_number_left_over_is_not_used_for_the_next_picture(picture):
    policy = Policy([Tinted(p=1.0)])
    first = [policy(picture, seed)[0, 0, 0] for seed in range(8)]
    assert first == [policy(picture, seed)[0, 0, 0] for seed in reversed(range(8))][::-1]
    assert len(set(first)) > 4
    assert first == [Policy([Tinted(p=1.0)])(picture, seed)[0, 0, 0] for seed in range(8)]
