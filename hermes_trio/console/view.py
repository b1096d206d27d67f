"""PURE. The live state as rich renders it: a head, a table as of ``top``, a tree, the last events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from hermes_trio.console.mirror import DAEMON, EVENT, TRAJECTORY, Mirror, named

STYLES: Final[Mapping[str, str]] = {
    "running": "green",
    "queued": "yellow",
    "packed": "yellow",
    "on_the_wire": "cyan",
    "model": "magenta",
    "releasing": "yellow",
    "lost": "red",
    "error": "red",
    "warning": "yellow",
    "down": "red",
    "paused": "yellow",
    "draining": "yellow",
    "up": "green",
}


def age(seconds: float) -> str:
    """``4.2 s``, ``3 m 07 s``, ``2 h 05 m``."""
    seconds = max(0.0, seconds)
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes} m {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} m"


def head(mirror: Mirror, *, name: str) -> Text:
    """One line: how much of everything."""
    counters = mirror.figures.get("counters", {})
    last = (mirror.figures.get("history") or [[0.0] * 8])[-1]
    daemons = [named(row, DAEMON) for row in mirror.daemons.values()]
    slots = sum(each["slots"] for each in daemons if each["state"] != "down")
    leased = sum(each["leased"] for each in daemons)
    text = Text(f"{name}  ", style="bold")
    text.append(
        f"{counters.get('trajectories', 0)} trajectories"
        f" · {counters.get('calls_under_way', 0)} calls under way"
        f" · {last[1]:.0f} calls/s · p50 {last[5] * 1e3:.1f} ms · p99 {last[7] * 1e3:.1f} ms"
        f" · {leased}/{slots} slots leased",
        style="not bold",
    )
    for each in daemons:
        text.append(f"\n{each['name']}: ", style="dim")
        text.append(each["state"], style=STYLES.get(each["state"], ""))
        text.append(f", {each['leased']} of {each['slots']} slots, {each['under_way']} calls", style="dim")
    return text


def top(mirror: Mirror, *, rows: int) -> Table:
    """Trajectories, the longest wait first."""
    table = Table(box=None, pad_edge=False, header_style="bold dim", expand=True)
    table.add_column("trajectory", ratio=2, no_wrap=True)
    table.add_column("state", width=12, no_wrap=True)
    table.add_column("for", width=10, justify="right", no_wrap=True)
    table.add_column("calls", width=6, justify="right")
    table.add_column("where", ratio=1, no_wrap=True)
    table.add_column("pid", width=8, justify="right")
    table.add_column("waits for", ratio=3, no_wrap=True)
    for each in _waiting_longest(mirror)[:rows]:
        call = each["live"][0] if each["live"] else None
        on = f"{each['waits_for']} · {call['tool']} {call['summary']}" if call else each["waits_for"]
        table.add_row(
            each["id"],
            Text(each["state"].replace("_", " "), style=STYLES.get(each["state"], "dim")),
            age(mirror.now - each["since"]),
            str(each["calls"]),
            f"{each['daemon']} {each['slot']}".strip(),
            str(call["pid"] or "") if call else "",
            Text(on, overflow="ellipsis"),
        )
    return table


def tree(mirror: Mirror, *, rows: int) -> Tree:
    """Nursery, trajectory, turn and call, daemon, slot, process; so many trajectories at most."""
    root = Tree("nurseries", style="dim", hide_root=True)
    nurseries = dict[str, Tree]()
    for each in _waiting_longest(mirror)[:rows]:
        nursery = each["nursery"] or "(not seen yet)"
        if nursery not in nurseries:
            nurseries[nursery] = root.add(Text(nursery, style="blue"))
        state = Text(f"{each['state'].replace('_', ' ')} {age(mirror.now - each['since'])}")
        state.stylize(STYLES.get(each["state"], "dim"))
        branch = nurseries[nursery].add(Text.assemble(f"{each['id']}  ", state))
        for call in each["live"]:
            turn = f"turn {call['turn']} · " if call["turn"] else ""
            pid = f" › pid {call['pid']}" if call["pid"] else ""
            place = f" › {each['daemon']} › {each['slot']}{pid}" if each["slot"] else ""
            branch.add(Text(f"{turn}{call['tool']} {call['summary'][:60]}{place}", overflow="ellipsis"))
    return root


def tail(events: Sequence[Sequence[Any]], *, rows: int) -> Text:
    """The last events, oldest first."""
    text = Text(overflow="ellipsis", no_wrap=True)
    for row in list(events)[-rows:]:
        event = named(list(row), EVENT)
        line = f"{event['kind']} {event['trajectory']} {event['text']}\n"
        text.append(line, style=STYLES.get(event["level"], "dim"))
    return text


def whole(mirror: Mirror, *, name: str, height: int) -> RenderableType:
    """Everything, for a screen of so many lines."""
    room = max(6, height - 6 - len(mirror.daemons))
    table, branches, lines = room // 2, room // 8, room // 4
    return Group(
        head(mirror, name=name),
        Text(),
        top(mirror, rows=table),
        Panel(tree(mirror, rows=branches), title="tree", border_style="dim"),
        Panel(tail(mirror.events, rows=lines), title="events", border_style="dim"),
    )


def _waiting_longest(mirror: Mirror) -> list[dict[str, Any]]:
    rows = [named(row, TRAJECTORY) for row in mirror.trajectories.values()]
    return sorted(rows, key=lambda each: (each["state"] == "idle", each["since"]))
