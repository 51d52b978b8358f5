"""Which device a worker takes."""

import pytest
import torch

from geounet.engine.devices import device_of_worker, pick_device
from geounet.errors import ModelError

pytestmark = pytest.mark.numerical


def test_workers_share_out_the_devices_of_a_machine(monkeypatch):
    """In turn, and only where no number was asked for."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert [device_of_worker("cuda", worker) for worker in range(4)] == ["cuda:0", "cuda:1", "cuda:0", "cuda:1"]
    assert device_of_worker("cuda:1", 0) == "cuda:1"
    assert device_of_worker("cpu", 3) == "cpu"


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
def test_a_device_that_is_not_there_is_refused():
    """By one sentence that says what to do."""
    with pytest.raises(ModelError, match="try cpu"):
        pick_device("cuda")
