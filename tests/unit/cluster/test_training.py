"""Processes that train together: how many, and what each is told."""

from __future__ import annotations

from veneer.cluster.session import Session
from veneer.cluster.training import Listener, group_environments, processes_now
from veneer.events import Progress


def test_each_process_is_told_what_torchrun_would_tell() -> None:
    places = [("a", "10.0.0.1", 501), ("a", "10.0.0.1", 502), ("b", "10.0.0.2", 503)]
    found = group_environments(places, has_gpus=False)
    assert [one["RANK"] for one in found] == ["0", "1", "2"]
    assert [one["LOCAL_RANK"] for one in found] == ["0", "1", "0"]
    assert [one["LOCAL_WORLD_SIZE"] for one in found] == ["2", "2", "1"]
    assert {(one["MASTER_ADDR"], one["MASTER_PORT"], one["WORLD_SIZE"]) for one in found} == {
        ("10.0.0.1", "501", "3")
    }
    assert {one["LOCAL_RANK"] for one in group_environments(places, has_gpus=True)} == {"0"}


def test_as_many_train_as_there_is_room_for_now() -> None:
    processors = Session(cpus=64, usual=64, machines=2)
    assert processes_now(processors, {"CPU": 64}) == 2  # one a machine
    gpus = Session(cpus=64, usual=64, gpus=8, machines=2)
    assert processes_now(gpus, {"CPU": 64, "GPU": 8}) == 8
    assert processes_now(gpus, {"CPU": 32, "GPU": 4}) == 4  # a machine is gone
    assert processes_now(Session(cpus=4, usual=2, workers=3), {"CPU": 4}) == 3


def test_what_was_told_is_handed_out_once() -> None:
    listener = Listener()
    listener.tell(Progress("train", 1))
    assert listener.take() == [Progress("train", 1)]
    assert listener.take() == []
    listener.stop()
    assert listener.is_stopped()
