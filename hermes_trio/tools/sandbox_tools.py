"""Schemas of the tools that run inside a slot. PURE data.

What they answer, and which limits hold, is the executor's business (``docs/design/spine.md``); the
stateful ones are offered only where a daemon can run them.
"""

from __future__ import annotations

from typing import Any

from hermes_trio.tools.schema import ToolSchema


def _string(description: str) -> dict[str, Any]:
    return {"type": "string", "description": description}


def _number(description: str) -> dict[str, Any]:
    return {"type": "number", "description": description}


def _integer(description: str) -> dict[str, Any]:
    return {"type": "integer", "description": description}


def _flag(description: str) -> dict[str, Any]:
    return {"type": "boolean", "description": description}


_COMMAND = _string("The command line, run by bash in the workspace.")
_TIMEOUT = _number("Seconds after which the command is killed, 1 to 600. Default 30.")
_STATEFUL = "Run a command in a shell that keeps its directory, variables and functions between calls."

BASH = ToolSchema(
    "bash",
    "Run a shell command in a fresh shell in the workspace and get what it printed and its exit code.",
    parameters={"command": _COMMAND},
    required=("command",),
)
TERMINAL = ToolSchema(
    "terminal",
    "Run a shell command in the workspace and get what it printed and its exit code. Files persist between "
    "calls; the shell's directory and variables do not. Nothing keeps running after the call.",
    parameters={
        "command": _COMMAND,
        "timeout": _TIMEOUT,
        "background": {"type": "boolean", "description": "Not supported here; leave it out."},
    },
    required=("command",),
)
BASH_STATEFUL = ToolSchema(
    "bash_stateful",
    _STATEFUL,
    parameters={"command": _COMMAND, "timeout": _TIMEOUT},
    required=("command",),
)
TERMINAL_STATEFUL = ToolSchema(
    "terminal_stateful",
    _STATEFUL,
    parameters={"command": _COMMAND, "timeout": _TIMEOUT},
    required=("command",),
)
TMUX = ToolSchema(
    "tmux",
    "Drive an interactive program in a terminal: start it, send keys, look at the screen.",
    parameters={
        "action": {
            "type": "string",
            "enum": ["start", "send_keys", "capture", "stream", "stop"],
            "description": "What to do.",
        },
        "keys": {
            "type": ["string", "array"],
            "items": {"type": "string"},
            "description": "Keys for send_keys, in tmux notation.",
        },
        "block": {"type": "boolean", "description": "Wait until the sent command has ended."},
        "min_wait_s": _number("Seconds to wait at least after sending keys."),
        "max_wait_s": _number("Seconds to wait at most."),
        "capture_entire": {"type": "boolean", "description": "Capture the scrollback too."},
        "max_bytes": {"type": "integer", "description": "Most bytes to return."},
        "reset": {"type": "boolean", "description": "Start the recording over."},
        "pane_width": {"type": "integer", "description": "Columns, 20 to 500. Default 120."},
        "pane_height": {"type": "integer", "description": "Rows, 10 to 200. Default 40."},
    },
    required=("action",),
)
_FILE = _string("Path of the file, relative to the workspace.")

READ_FILE = ToolSchema(
    "read_file",
    "Read a file of the workspace: all of it, or some lines, or some bytes. A file of more than 100,000 "
    "bytes must be read in parts.",
    parameters={
        "path": _FILE,
        "start_line": _integer("First line wanted, counted from 1."),
        "end_line": _integer("Last line wanted. Left out: to the end."),
        "offset": _integer("First byte wanted, counted from 0; not together with lines."),
        "max_bytes": _integer("Most bytes to read, at most 100,000."),
        "encoding": {
            "type": "string",
            "enum": ["text", "base64"],
            "description": "How to get it; base64 for what is no text. Default text.",
        },
    },
    required=("path",),
)
WRITE_FILE = ToolSchema(
    "write_file",
    "Write a text file into the workspace, replacing what is there; missing directories are made.",
    parameters={
        "path": _FILE,
        "content": _string("The whole content of the file, or with append what to add to it."),
        "append": _flag("Add to the end of the file instead of replacing it."),
        "mode": _string("Permissions in octal digits, such as 755. Left out: as they are, or 644."),
        "encoding": {
            "type": "string",
            "enum": ["text", "base64"],
            "description": "How the content is given. Default text.",
        },
        "parents": _flag("Make missing directories. Default true."),
    },
    required=("path", "content"),
)
EDIT_FILE = ToolSchema(
    "edit_file",
    "Replace a piece of text in a file of the workspace by another. The old text must match exactly, spaces "
    "and line ends included, and must be there only once: take enough of the lines around it.",
    parameters={
        "path": _FILE,
        "old_text": _string("The text to replace, exactly as it stands in the file."),
        "new_text": _string("The text to put there; may be empty."),
        "replace_all": _flag("Replace every occurrence instead of the only one."),
    },
    required=("path", "old_text", "new_text"),
)
LIST_FILES = ToolSchema(
    "list_files",
    "List a directory of the workspace, sorted by name, with sizes; directories end in a slash.",
    parameters={
        "path": _string("The directory, relative to the workspace. Default: the workspace itself."),
        "recursive": _flag("Also what is in the directories in it."),
        "max_entries": _integer("Most entries to list, at most 2,000. Default 200."),
        "after": _string("Go on after this entry, the last of the listing before."),
    },
)
SEARCH_FILES = ToolSchema(
    "search_files",
    "Find the lines that match a pattern in the text files of a directory of the workspace and below.",
    parameters={
        "pattern": _string("A regular expression, matched against each line."),
        "path": _string("The directory, relative to the workspace. Default: the workspace itself."),
        "glob": _string("Only files with such a name, for example *.py."),
        "literal": _flag("Take the pattern as it is instead of as a regular expression."),
        "ignore_case": _flag("Capital and small letters are the same."),
        "max_matches": _integer("Most lines to find, at most 400. Default 100."),
    },
    required=("pattern",),
)

SANDBOX_TOOLS: tuple[ToolSchema, ...] = (
    TERMINAL,
    BASH,
    READ_FILE,
    WRITE_FILE,
    EDIT_FILE,
    LIST_FILES,
    SEARCH_FILES,
    BASH_STATEFUL,
    TERMINAL_STATEFUL,
    TMUX,
)
"""Every tool a slot can run, or will."""
