from __future__ import annotations

import os

import pytest
import torch

from poison_guard.errors import UsageError
from poison_guard.numerics.tensors import limited_threads, pick_device


def test_auto_is_cuda_where_there_is_one_and_the_cpu_elsewhere():
    assert pick_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    assert pick_device("cpu").type == "cpu"


@pytest.mark.parametrize("name", ["gpu", "cpu:x", "", "cuda:99", None, 3])
def test_a_device_that_is_not_there_is_an_error_that_names_it(name):
    with pytest.raises(UsageError, match="device"):
        pick_device(name)


def test_threads_are_put_back_even_after_an_error():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with limited_threads(1):
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 2
        with pytest.raises(ZeroDivisionError), limited_threads(1):
            _ = 1 / 0
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_more_threads_than_cores_are_as_many_as_there_are_cores():
    before = torch.get_num_threads()
    with limited_threads(100_000):
        assert torch.get_num_threads() <= max(before, os.cpu_count() or 1)


def test_no_threads_at_all_is_an_error():
    with pytest.raises(UsageError, match="threads"), limited_threads(0):
        pass
