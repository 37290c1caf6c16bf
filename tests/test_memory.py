"""Half as much at once while memory runs out; other errors are not touched."""

import pytest
import torch

from competition.memory import in_halves


def needs(most, error):
    def run(size):
        if size > most:
            raise error
        return f"done with {size}"

    return run


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory"),
        MemoryError("Unable to allocate 3 GiB"),
    ],
)
def test_halved_until_it_fits(error):
    said = []
    assert in_halves(needs(3, error), 9, said.append) == ("done with 3", 3)
    assert said == [
        "memory ran out with 9 images at once; going on with 5",
        "memory ran out with 5 images at once; going on with 3",
    ]


@pytest.mark.parametrize(("most", "error"), [(0, torch.OutOfMemoryError("full")), (3, RuntimeError("shapes differ"))])
def test_what_halving_cannot_mend_is_raised(most, error):
    with pytest.raises(RuntimeError, match=str(error)):
        in_halves(needs(most, error), 9, lambda text: None)
