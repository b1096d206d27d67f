"""The agent's code as one blob, compiled by the interpreter that will run it.

The package may live where a slot's uid cannot look, and compiling it in every agent would cost 10 ms each. So
the chosen interpreter compiles the sources once; each agent gets the result on an inherited descriptor.
"""

from __future__ import annotations

import subprocess
from importlib import resources

_MODULES = ("protocol", "paths", "commands", "herd", "program")

_COMPILE = """
import marshal, sys
count = int(sys.argv[1])
out = []
data = sys.stdin.buffer
for _ in range(count):
    name, size = data.readline().split()
    name = name.decode()
    out.append((name, compile(data.read(int(size)), name, "exec", optimize=2, dont_inherit=True)))
sys.stdout.buffer.write(marshal.dumps(out))
"""

BOOT = """
import marshal, os, sys
def boot(code, sock):
    module = type(sys)
    for name in ("sandbox_daemon", "sandbox_daemon.agent"):
        sys.modules[name] = module(name)
        sys.modules[name].__path__ = []
    blob = os.pread(code, 1 << 24, 0)
    os.close(code)
    for name, body in marshal.loads(blob):
        made = sys.modules[name] = module(name)
        exec(body, made.__dict__)
    made.main(sock)
boot(int(sys.argv[1]), int(sys.argv[2]))
"""
"""Passed with ``-c``. ``marshal`` is safe here: the blob comes from the daemon."""

COMPILE_LIMIT_S = 20.0


def compile_agent(interpreter: str) -> bytes:
    """The blob. Blocking, about 50 ms; ``OSError`` or ``subprocess.SubprocessError`` when it fails."""
    folder = resources.files(__package__)
    parts = []
    for name in _MODULES:
        source = folder.joinpath(f"{name}.py").read_bytes()
        parts.append(b"%s.%s %d\n%s" % (str(__package__).encode(), name.encode(), len(source), source))
    done = subprocess.run(  # noqa: S603 - the interpreter the probe chose
        [interpreter, "-I", "-S", "-c", _COMPILE, str(len(parts))],
        input=b"".join(parts),
        capture_output=True,
        timeout=COMPILE_LIMIT_S,
        check=True,
        env={},
    )
    return done.stdout
