"""What a frame costs: microseconds to write and to read it, and a whole call through two sessions.

``python -m benchmarks.micro.codec [--smoke] [--json]``. The target is 8 microseconds each way for a small
call or result. Processor time, best of several rounds: the least disturbed is nearest to what the code costs.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
import timeit
from collections.abc import Callable

from attrs import frozen

from hermes_trio.errors import Provenance
from hermes_trio.wire.codec import FrameDecoder, encode_frame, unstructure
from hermes_trio.wire.frames import (
    Call,
    CallId,
    Epoch,
    Frame,
    Hello,
    Lease,
    Limits,
    Output,
    Result,
    SessionId,
    SlotId,
    Stream,
)
from hermes_trio.wire.operations import BashReport
from hermes_trio.wire.session import Session

TARGET_US = 8.0
ONE = CallId(1)
REPORT = BashReport(
    exit_code=0,
    duration_s=0.012,
    stdout_bytes=6,
    stderr_bytes=0,
    truncated=False,
    sandboxed=True,
    network_isolated=True,
    isolation="ns",
)
FRAMES: dict[str, Frame] = {
    "call": Call(
        call_id=ONE,
        operation="bash",
        arguments={"command": "ls -la", "cwd": "."},
        lease=Lease(slot=SlotId("slot-1"), epoch=3),
        trajectory_id="trajectory-1",
        limit_s=30.0,
    ),
    "result": Result(
        call_id=ONE, provenance=Provenance.OK, data=unstructure(REPORT), segments=(6, 0), payload=b"hello\n"
    ),
    "output": Output(call_id=ONE, stream=Stream.STDOUT, offset=0, payload=b"x" * 100),
    "output of 64 KiB": Output(call_id=ONE, stream=Stream.STDOUT, offset=0, payload=b"x" * 65_536),
}


@frozen(kw_only=True)
class Figure:
    """One row of the report."""

    name: str
    bytes: int
    encode_us: float
    decode_us: float


def cost_us(work: Callable[[], object], *, count: int, rounds: int) -> float:
    """The processor time of one run, in the best of several rounds."""
    return min(timeit.repeat(work, timer=time.process_time, number=count, repeat=rounds)) / count * 1e6


def measure_frame(name: str, frame: Frame, *, count: int, rounds: int) -> Figure:
    """Write and read one frame."""
    data = encode_frame(frame, sequence=1)
    decoder = FrameDecoder(Limits().max_message_bytes)
    return Figure(
        name=name,
        bytes=len(data),
        encode_us=cost_us(lambda: encode_frame(frame, sequence=1), count=count, rounds=rounds),
        decode_us=cost_us(lambda: decoder.feed(data), count=count, rounds=rounds),
    )


def open_sessions() -> tuple[Session, Session]:
    """Two sides that have met."""
    executor = Session.for_executor(SessionId("s"), limits=Limits())
    executor.link_up()
    ((_, hello),) = FrameDecoder(4096).feed(executor.data_to_send())
    assert isinstance(hello, Hello)
    daemon = Session.for_daemon(hello, epoch=Epoch(1), limits=Limits(), slots=1, isolation={})
    daemon.accept(hello)
    executor.receive_data(daemon.data_to_send())
    return executor, daemon


def measure_round_trip(*, count: int, rounds: int) -> float:
    """Microseconds for call, accepted and result through both sessions, each in its own message."""
    executor, daemon = open_sessions()
    call = FRAMES["call"]
    result = FRAMES["result"]
    assert isinstance(call, Call)
    assert isinstance(result, Result)

    def round_trip() -> None:
        call_id = executor.call(
            call.operation, call.arguments, lease=call.lease, trajectory_id="trajectory-1", limit_s=30.0
        )
        daemon.receive_data(executor.data_to_send())
        daemon.accepted(call_id)
        executor.receive_data(daemon.data_to_send())
        daemon.result(
            call_id, Provenance.OK, data=result.data, segments=result.segments, payload=result.payload
        )
        executor.receive_data(daemon.data_to_send())

    return cost_us(round_trip, count=count, rounds=rounds)


def main(arguments: list[str]) -> int:
    """Measure, print, and say whether the target is met."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.micro.codec", description=__doc__)
    parser.add_argument(
        "--smoke", action="store_true", help="a few runs only: it works, the figures mean little"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args(arguments)
    count, rounds = (50, 2) if options.smoke else (5000, 7)
    figures = [measure_frame(name, frame, count=count, rounds=rounds) for name, frame in FRAMES.items()]
    round_trip_us = measure_round_trip(count=count, rounds=rounds)
    if options.json:
        rows = [unstructure(figure) for figure in figures]
        report = {"python": platform.python_version(), "frames": rows, "round_trip_us": round_trip_us}
        print(json.dumps(report | {"target_us": TARGET_US}, indent=2))
    else:
        for figure in figures:
            print(
                f"{figure.name:<18}{figure.bytes:>7} B  encode {figure.encode_us:6.2f} us"
                f"  decode {figure.decode_us:6.2f} us"
            )
        print(f"call, accepted, result through two sessions: {round_trip_us:.1f} us")
    slow = [f for f in figures if max(f.encode_us, f.decode_us) > TARGET_US and f.bytes < 1000]
    return 1 if slow and not options.smoke else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
