"""Constant load until standard input closes: load/'s own users, requests and checks.

Run as `python -m tests.cluster.constant URL OUT`, with STRONGROOM_API_KEY. Each request is a
line of OUT at once, with the time at which it began; at the end every document that was
acknowledged is read again, and the last line says so.
"""

from __future__ import annotations

import json
import os
import sys
import time
from itertools import takewhile
from pathlib import Path
from random import Random
from typing import Any

import gevent
import gevent.os

from load import crew, engine, operations
from load.profile import load_profile
from load.samples import Sample
from load.schedule import part
from load.targets import Allowed
from scripts.cluster_local.aws import ADDRESS


class Steady(crew.Crew):
    stopped = False
    out: Any = None

    def go(self, delay: float) -> None:
        self._start = time.monotonic() + delay
        self.phase = "running"
        tell(event="began")
        due = takewhile(lambda _: not Steady.stopped, part(self.profile, self.seed, 0, 1))
        for arrival in due:
            while (wait := arrival.at - self.now()) > 0 and not Steady.stopped:
                gevent.sleep(min(wait, 0.1))
            self._hand_over(arrival)
            for at, operation in self._drops:
                tell(event="dropped", at=at, operation=operation)
            self._drops = []
        self._drain()
        connections = self.connections()
        visit = crew.Visit(self, connections, Random(0), None)
        operations.lost_updates(visit)
        kept = sum(self._is_there(visit, document) for document in self.library.known)
        connections.close()
        self.phase = "done"
        self.report()
        self._dismiss()
        tell(event="ended", acknowledged=len(self.library.known), kept=kept)

    def _is_there(self, visit: crew.Visit, document: operations.Known) -> bool:
        found = visit.call(
            "verify",
            "GET",
            f"/v1/documents/{document.id}",
            wanted={200},
            check=lambda answer: operations._same(answer.json(), document),
        )
        return found is not None

    def record(self, sample: Sample) -> None:
        began = time.time() - sample.service
        tell(event="request", began=began, **sample._asdict())

    def exception(self, error: BaseException) -> None:
        super().exception(error)
        tell(event="exception", reason=repr(error))


def tell(**what: object) -> None:
    Steady.out.write(json.dumps(what) + "\n")
    Steady.out.flush()


def main(url: str, out: Path) -> int:
    profile = load_profile(str(Path(__file__).with_name("constant.toml")))
    crew.Crew = Steady  # type: ignore[misc]

    def watch() -> None:
        while gevent.os.tp_read(0, 1):
            pass
        Steady.stopped = True

    with out.open("w") as Steady.out:
        gevent.spawn(watch)
        key = os.environ["STRONGROOM_API_KEY"]
        result = engine.run(profile, url, key, Allowed(frozenset({ADDRESS})), seed=1)
        if result.failure:
            tell(event="exception", reason=result.failure)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2])))
