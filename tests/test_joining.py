"""Addresses of clusters: what cannot be joined is refused at once, with what to do."""

from __future__ import annotations

import socket
import time

import pytest

from orchestrator.driver.launch import ResourceError
from orchestrator.driver.on_ray.handshake import code_reader, trainable_for
from orchestrator.driver.on_ray.join import check_address


def test_ray_s_client_is_refused_with_what_to_do() -> None:
    with pytest.raises(ResourceError, match="ray job submit"):
        check_address("ray://head:10001")


@pytest.mark.parametrize("address", ["head", "head:", ":6379", "http://head"])
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(ResourceError, match="HOST:PORT"):
        check_address(address)


def test_an_address_where_nothing_listens_is_refused_in_time() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        began = time.monotonic()
        with pytest.raises(ResourceError, match=f"no Ray cluster answers at '{address}'"):
            check_address(address, seconds=0.3)
        assert time.monotonic() - began < 5


def test_one_where_something_listens_is_not() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        check_address(f"127.0.0.1:{server.getsockname()[1]}", seconds=5)


def test_the_code_is_all_of_ours_and_the_libraries_that_compute() -> None:
    code = code_reader()()
    assert set(code) == {"mrsweep", "torch", "torchvision", "timm", "torch-pruning"}
    assert "+" not in code["torch"]
    assert code_reader()() == code


def test_what_a_worker_is_asked_goes_there_by_value() -> None:
    """A worker with other code would run its own version of what is only named."""
    from ray import cloudpickle

    sent = cloudpickle.dumps(trainable_for({"mrsweep": "0"}, None))
    assert b"sha256" in sent
    assert b"its code is not the driver's" in sent
