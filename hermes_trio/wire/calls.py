"""The calls of one session, seen from one side: ids, states, credit, and the memory for duplicates.

The memory is bounded by what is unfinished: the highest id, the live calls (``max_calls`` at most), and the
results that the peer has not acknowledged (the window at most). Nothing is kept of a call that is over.
"""

from __future__ import annotations

from typing import TypeAlias, assert_never

from attrs import define, field

from hermes_trio.errors import LocalProtocolError, ProtocolError
from hermes_trio.wire.credit import Allowance
from hermes_trio.wire.faults import PeerFault
from hermes_trio.wire.frames import Accepted, Call, CallId, Cancel, Credit, Input, Output, Result
from hermes_trio.wire.transitions import CALL_TABLE, CallState, Party

CallFrame: TypeAlias = Call | Cancel | Input | Credit | Accepted | Output | Result


@define(eq=False)
class CallRecord:
    """One live call.

    Attributes:
        state: where it stands.
        offered_as: sequence number of its call frame.
        answered_as: sequence number of its accepted frame, if this side sent one.
        output: credit of the worker's stream.
        input: credit of the caller's stream.
        input_ended: the caller has said that no input follows.
    """

    state: CallState
    offered_as: int
    output: Allowance
    answered_as: int | None = None
    input: Allowance = field(factory=Allowance)
    input_ended: bool = False


class CallBook:
    """All calls of a session.

    Args:
        me: the party that this side plays in every call.
        max_calls: bound on live calls.
    """

    def __init__(self, me: Party, *, max_calls: int) -> None:
        self.me = me
        self.max_calls = max_calls
        self.highest = CallId(0)
        self.live: dict[CallId, CallRecord] = {}
        self.results: dict[CallId, int] = {}
        """Results that the peer has not acknowledged, with their sequence numbers."""

    def state_of(self, call_id: CallId) -> CallState:
        """Where a call stands; ids that are not live are NEW above the highest and ENDED below."""
        record = self.live.get(call_id)
        if record is not None:
            return record.state
        return CallState.NEW if call_id > self.highest else CallState.ENDED

    def check(self, frame: CallFrame, sender: Party) -> None:
        """Refuse a frame that its sender may not say now.

        Raises:
            LocalProtocolError: it is this side's.
            RemoteProtocolError: it is the peer's.
        """
        state = self.state_of(frame.call_id)
        if type(frame) not in CALL_TABLE[state][sender]:
            raise self._fault(frame, sender, f"not allowed when the call is {state.value}")
        record = self.live.get(frame.call_id)
        if record is not None:
            objection = _objection(record, frame, sender)
            if objection:
                raise self._fault(frame, sender, objection)
        elif state is CallState.NEW:
            self._check_new(frame, sender)
        elif sender is self.me:
            raise self._fault(frame, sender, "the call has ended")

    def _check_new(self, frame: CallFrame, sender: Party) -> None:
        if self.highest and frame.call_id != self.highest + 1:
            raise self._fault(frame, sender, f"{self.highest + 1} is the next call")
        if len(self.live) >= self.max_calls:
            raise self._fault(frame, sender, f"{self.max_calls} calls are under way, and no more are taken")

    def apply(self, frame: CallFrame, sender: Party, sequence: int) -> bool:
        """Let a frame that :meth:`check` has passed take effect.

        Returns:
            Whether anybody is to be told: duplicates and late frames change nothing.
        """
        state = self.state_of(frame.call_id)
        if state is CallState.NEW:
            assert isinstance(frame, Call)
            self.highest = frame.call_id
            self.live[frame.call_id] = CallRecord(CallState.OFFERED, sequence, Allowance(frame.output_credit))
            return True
        if state is CallState.ENDED or isinstance(frame, Call):
            return False
        record = self.live[frame.call_id]
        record.state = CALL_TABLE[state][sender][type(frame)]
        match frame:
            case Accepted():
                record.input.limit = frame.input_credit
                record.answered_as = sequence
            case Credit():
                _granted(record, sender).limit = frame.limit_bytes
            case Output():
                record.output.used += len(frame.payload)
            case Input():
                record.input.used += len(frame.payload)
                record.input_ended = frame.eof
            case Result():
                self._end(frame.call_id, sender, sequence)
            case Cancel():
                pass  # its whole effect is the new state
            case _:
                assert_never(frame)
        return True

    def _end(self, call_id: CallId, sender: Party, sequence: int) -> None:
        del self.live[call_id]
        if sender is self.me:
            self.results[call_id] = sequence

    def forget_results(self, answered: list[CallId]) -> None:
        """The peer has these."""
        for call_id in answered:
            del self.results[call_id]

    def answer_to(self, call_id: CallId) -> int | None:
        """The sequence number of what this side last answered to a call, if it is remembered."""
        record = self.live.get(call_id)
        return self.results.get(call_id) if record is None else record.answered_as

    def _fault(self, frame: CallFrame, sender: Party, text: str) -> ProtocolError:
        message = f"{type(frame).__name__.lower()} for call {frame.call_id}: {text}"
        return LocalProtocolError(message) if sender is self.me else PeerFault(message)


def _granted(record: CallRecord, sender: Party) -> Allowance:
    """The stream that this party gives credit for: the one that it receives."""
    return record.output if sender is Party.CALLER else record.input


def _objection(record: CallRecord, frame: CallFrame, sender: Party) -> str:
    """What is wrong with a frame beyond its order; empty when nothing is."""
    match frame:
        case Output():
            return record.output.objection_to(frame.offset, len(frame.payload))
        case Input():
            if record.input_ended:
                return "the input has ended"
            return record.input.objection_to(frame.offset, len(frame.payload))
        case Credit():
            granted = _granted(record, sender).limit
            return f"credit falls from {granted}" if frame.limit_bytes < granted else ""
        case _:
            return ""
