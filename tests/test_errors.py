"""Words for messages."""

import pytest

from competition.errors import counted, did_you_mean, first_few, respelled


@pytest.mark.parametrize(("count", "text"), [(0, "0 images"), (1, "1 image"), (1234, "1,234 images")])
def test_counts_agree_with_their_noun(count, text):
    assert counted(count, "image") == text


def test_first_few():
    assert first_few([1, 2]) == "1, 2"
    assert first_few(range(7), 5) == "0, 1, 2, 3, 4 and 2 more"
    assert first_few(range(1240), 1) == "0 and 1,239 more"
    assert first_few([]) == ""


def test_did_you_mean():
    assert did_you_mean("epoch", ["epochs", "steps"]) == " (did you mean 'epochs'?)"
    assert did_you_mean("zzz", ["epochs"]) == ""


def test_of_two_names_of_one_number_the_last_is_told():
    asked = ["7", "07", "007", "0007"]
    assert respelled(["7.0"], iter(asked), "keep the text") == "; '7.0' is '0007' read as a number: keep the text"
