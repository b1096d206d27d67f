"""The agent's code as one blob, compiled by the interpreter that will run it.

The package may live where a slot's uid cannot look, and compiling it in every agent would cost 10 ms each. So
the chosen interpreter compiles the sources once; each agent gets the result on an inherited descriptor.
"""

from __future__ import annotations

import subprocess
from importlib import resources

_AGENT = ("protocol", "paths", "commands", "herd", "sessions", "program")
_WORKER = (
    "protocol",
    "paths",
    "worker.told",
    "worker.walk",
    "worker.listing",
    "worker.pack",
    "worker.search",
    "worker.incoming",
    "worker.put",
    "worker.unpack",
    "members",
    "worker.restore",
    "worker.program",
)

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

WORKER_BOOT = """
import marshal, os, sys
from _frozen_importlib import ModuleSpec
class Finder:
    code = dict(marshal.loads(os.pread(9, 1 << 24, 0)))
    def find_spec(self, name, path=None, target=None):
        return ModuleSpec(name, self) if name in self.code else None
    def create_module(self, spec):
        return None
    def exec_module(self, module):
        exec(self.code[module.__name__], module.__dict__)
os.close(9)
module = type(sys)
for name in ("sandbox_daemon", "sandbox_daemon.agent", "sandbox_daemon.agent.worker"):
    sys.modules[name] = module(name)
    sys.modules[name].__path__ = []
sys.meta_path.insert(0, Finder())
from sandbox_daemon.agent.worker.program import main
sys.exit(main(marshal.loads(bytes.fromhex(sys.argv[1]))))
"""
"""The same for a worker, whose blob is descriptor 9; each module is run when it is first imported. It stands
in a shell command, so it has no single quotes."""

COMPILE_LIMIT_S = 20.0


def compile_agent(interpreter: str) -> bytes:
    """The blob. Blocking, about 50 ms; ``OSError`` or ``subprocess.SubprocessError`` when it fails."""
    return _compile(interpreter, _AGENT)


def compile_worker(interpreter: str) -> bytes:
    """The worker's; as :func:`compile_agent`."""
    return _compile(interpreter, _WORKER)


def _compile(interpreter: str, names: tuple[str, ...]) -> bytes:
    folder = resources.files(__package__)
    parts = []
    for name in names:
        source = folder.joinpath(name.replace(".", "/") + ".py").read_bytes()
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
