"""A child of the template: does the orders that its owner sends, one after the other."""

from __future__ import annotations

import json
import os
import queue
import signal
import socket
import threading
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from orchestrator.planning.attempt import decode_order
from orchestrator.worker.device import give_back
from orchestrator.worker.job import perform
from orchestrator.worker.telling import repeated


def work(connection: socket.socket) -> None:
    """Work until the owner hangs up, which ends this process, whatever it is at."""
    leaving, orders = threading.Event(), queue.SimpleQueue[Mapping[str, Any]]()
    signal.signal(signal.SIGTERM, lambda *_: leaving.set())
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the driver decides what follows from Ctrl-C
    lines = connection.makefile("r", encoding="utf-8")
    place = json.loads(lines.readline() or "{}")
    os.environ.clear()
    os.environ.update(place["environment"])
    os.chdir(place["folder"])
    lock = threading.Lock()

    def send(**message: Any) -> None:
        try:
            with lock:
                connection.sendall(json.dumps(message).encode() + b"\n")
        except OSError:
            os._exit(0)  # nobody is there any more to whom it could matter

    def listen() -> None:
        for line in lines:
            message = json.loads(line)
            if "order" in message:
                orders.put(message)
            else:
                leaving.set()
        os._exit(0)

    threading.Thread(target=listen, daemon=True).start()
    while True:
        message = orders.get()
        order = decode_order(message["order"])
        with repeated(lambda beat: send(beat=asdict(beat))) as tell:
            ended = perform(order, message["node"], tell, leaving)
        if ended.status != "failed":  # after a failure this process ends
            give_back(order.device)
        send(result=asdict(ended))
