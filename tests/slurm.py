"""A real SLURM on this machine: a controller and nodes of one processor each.

with slurm(folder) as nodes:      # SLURM_CONF is set in os.environ meanwhile
    nodes.crash("n1")
"""

import contextlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from tests.conftest import need

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "sinfo", "mungekey")

CONFIGURATION = """\
ClusterName=test
SlurmctldHost={host}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldPort={port}
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
SelectType=select/cons_tres
JobAcctGatherType=jobacct_gather/none
ReturnToService=2
MinJobAge=10
{more}
SchedulerParameters=sched_interval=5
{nodes}
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def need_slurm() -> None:
    """Skip or fail the test where SLURM can't be started."""
    places = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
    missing = [name for name in PROGRAMS if shutil.which(name, path=places) is None]
    need("slurm", f"SLURM lacks {', '.join(missing)}" if missing else "")
    need("slurm", "only root can start SLURM" if os.getuid() else "")


class Nodes:
    """The machines of a cluster: a slurmd each."""

    def __init__(self, names: tuple[str, ...], folder: Path, environment: dict[str, str]) -> None:
        self.names, self._folder, self._environment = names, folder, environment
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str) -> None:
        """Boot a node."""
        with (self._folder / f"slurmd-{name}.out").open("a") as log:
            self._daemons[name] = subprocess.Popen(
                ["slurmd", "-D", "-N", name], env=self._environment, stdout=log, stderr=log
            )

    def crash(self, name: str) -> None:
        """Kill all that runs on a node, and boot it again."""
        self._daemons[name].kill()
        self._daemons[name].wait()
        while processes := self.processes(name):
            for process in processes:
                with contextlib.suppress(psutil.Error):
                    watcher = process.parent()
                    if watcher and watcher.name() == "slurmstepd":  # it would report the end
                        watcher.kill()
                    process.kill()
        self.start(name)

    def processes(self, name: str | None = None) -> list[psutil.Process]:
        """Return the processes of jobs on a node, or on all."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                theirs = process.environ()
                node = theirs.get("SLURMD_NODENAME")
                ours = theirs.get("SLURM_CONF") == self._environment["SLURM_CONF"]
                if ours and node in ([name] if name else self.names):
                    found.append(process)
        return found

    def stop(self) -> None:
        """Shut all nodes down."""
        for daemon in self._daemons.values():
            _stop(daemon)


@contextlib.contextmanager
def slurm(folder: Path, nodes: tuple[str, ...] = ("n1", "n2"), more: str = "") -> Iterator[Nodes]:
    """Run SLURM while the block does; raise with the log's end if it does not start.

    `more` are further lines of slurm.conf.
    """
    environment = os.environ | {"PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"}
    for name in ("state", *(f"spool-{node}" for node in nodes)):
        (folder / name).mkdir(parents=True)
    host = socket.gethostname()
    ports = _free_ports(1 + len(nodes))
    lines = [
        f"NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs=1"
        for node, port in zip(nodes, ports[1:], strict=True)
    ]
    configuration = folder / "slurm.conf"
    configuration.write_text(
        CONFIGURATION.format(
            host=host, folder=folder, port=ports[0], nodes="\n".join(lines), more=more
        )
    )
    environment["SLURM_CONF"] = str(configuration)
    subprocess.run(
        ["mungekey", "--create", "--keyfile", folder / "key"], env=environment, check=True
    )
    munged = [
        "munged", "--foreground", "--force", "--num-threads", "2",
        "--socket", folder / "munge.socket", "--key-file", folder / "key",
        "--pid-file", folder / "munged.pid", "--log-file", folder / "munged.log",
        "--seed-file", folder / "seed",
    ]  # fmt: skip
    started = []
    machines = Nodes(nodes, folder, environment)
    try:
        for command in (munged, ["slurmctld", "-D"]):
            log = (folder / f"{command[0]}.out").open("w")
            started.append(
                subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)
            )
            time.sleep(1)
        for node in nodes:
            machines.start(node)
        _await_nodes(folder, environment, len(nodes))
        with _set_environment("SLURM_CONF", str(configuration)):
            yield machines
    finally:
        machines.stop()
        for process in reversed(started):
            _stop(process)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(10)
    process.kill()


def _await_nodes(folder: Path, environment: dict[str, str], number: int) -> None:
    command = ["sinfo", "--noheader", "--Node", "--format", "%N %t"]
    for _ in range(60):
        answer = subprocess.run(
            command, env=environment, capture_output=True, text=True, check=False
        )
        if answer.stdout.count("idle") == number:
            return
        time.sleep(1)
    logs = "\n".join(
        f"{f.name}: {f.read_text()[-600:]}" for f in sorted(folder.glob("*.[lo][ou][gt]"))
    )
    raise RuntimeError(f"SLURM's nodes are not idle: {answer.stdout} {answer.stderr}\n{logs}")


def _free_ports(number: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(number)]
        for one in sockets:
            one.bind(("", 0))
        return [one.getsockname()[1] for one in sockets]


@contextlib.contextmanager
def _set_environment(name: str, value: str) -> Iterator[None]:
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
