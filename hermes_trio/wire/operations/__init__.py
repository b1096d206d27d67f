"""What a call can ask for: the names, their arguments and their reports.

A daemon announces the operations it offers in its welcome. A name that it does not offer is answered
``invalid_request``, so that names can be added without a new protocol version.

The classes are checked strictly at the daemon (``structure_arguments``): unknown fields, wrong types,
numbers out of range are an ``invalid_request`` that names the field.
"""

from __future__ import annotations

from hermes_trio.wire.operations.commands import BashArguments, BashReport, StatefulArguments, StatefulReport
from hermes_trio.wire.operations.files import (
    DownloadArguments,
    DownloadReport,
    EditFileArguments,
    EditFileReport,
    FileFailure,
    ListArguments,
    ListReport,
    Packing,
    ReadFileArguments,
    ReadFileReport,
    SearchArguments,
    SearchReport,
    UploadArguments,
    UploadReport,
    WriteFileArguments,
    WriteFileReport,
)
from hermes_trio.wire.operations.jobs import JOB_SIGNALS, JobAction, JobArguments, JobListReport, JobReport
from hermes_trio.wire.operations.names import Operation
from hermes_trio.wire.operations.slots import (
    NO_ROOM,
    BaseBuildArguments,
    BaseReport,
    SlotAcquireArguments,
    SlotAcquired,
    SlotArchiveReport,
    SlotDiffArguments,
    SlotDiffReport,
    SlotForkArguments,
    SlotForked,
    SlotQuiesced,
    SlotReleaseArguments,
    SlotReleased,
    SlotResetArguments,
    SlotResetReport,
    SlotRestoreArguments,
    SlotSnapshotArguments,
    SlotStatusArguments,
    SlotStatusReport,
)
from hermes_trio.wire.operations.terminals import TerminalAction, TerminalArguments, TerminalReport

__all__ = [
    "JOB_SIGNALS",
    "NO_ROOM",
    "BaseBuildArguments",
    "BaseReport",
    "BashArguments",
    "BashReport",
    "DownloadArguments",
    "DownloadReport",
    "EditFileArguments",
    "EditFileReport",
    "FileFailure",
    "JobAction",
    "JobArguments",
    "JobListReport",
    "JobReport",
    "ListArguments",
    "ListReport",
    "Operation",
    "Packing",
    "ReadFileArguments",
    "ReadFileReport",
    "SearchArguments",
    "SearchReport",
    "SlotAcquireArguments",
    "SlotAcquired",
    "SlotArchiveReport",
    "SlotDiffArguments",
    "SlotDiffReport",
    "SlotForkArguments",
    "SlotForked",
    "SlotQuiesced",
    "SlotReleaseArguments",
    "SlotReleased",
    "SlotResetArguments",
    "SlotResetReport",
    "SlotRestoreArguments",
    "SlotSnapshotArguments",
    "SlotStatusArguments",
    "SlotStatusReport",
    "StatefulArguments",
    "StatefulReport",
    "TerminalAction",
    "TerminalArguments",
    "TerminalReport",
    "UploadArguments",
    "UploadReport",
    "WriteFileArguments",
    "WriteFileReport",
]
