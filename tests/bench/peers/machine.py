"""Processes, memory, probes and the load generator."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import time

SERVER_CORE, LOAD_CORE = 0, 1


class Server:
    """A running peer, with all its processes."""

    def __init__(self, peer):
        self.peer, self.process, self.table, self.paused = peer, None, None, False

    def start(self, table, limit):
        """Starts it and returns the seconds until the first right answer."""
        self.table, self.paused = table, False
        last = table.size - 1

        def launch():
            log = open(self.peer.folder / "log", "ab")
            # A session, and so a process group, of its own: stop() reaches every process that it starts.
            self.process = subprocess.Popen(
                ["taskset", "-c", str(SERVER_CORE), *map(str, self.peer.command())],
                cwd=self.peer.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **self.peer.environment()},
                start_new_session=True,
            )
            log.close()

        return until(
            lambda: probe(self.peer.ports["http"], table.host(last), table.old(last)) == table.new(last),
            self,
            limit,
            launch,
        )

    def alive(self):
        return self.process is not None and self.process.poll() is None

    def pids(self):
        return descendants(self.process.pid)

    def memory(self):
        """Bytes resident, once they rest. A page that processes share (nginx's table, after fork) counts once: PSS."""
        before = None
        for _ in range(20):
            time.sleep(0.25)
            now = sum(map(pss, self.pids()))
            if before is not None and abs(now - before) < 64 * 1024:
                break
            before = now
        return now

    def pause(self):
        self.signal(signal.SIGSTOP)
        self.paused = True

    @contextlib.contextmanager
    def awake(self):
        self.signal(signal.SIGCONT)
        self.paused = False
        time.sleep(0.1)
        try:
            yield
        finally:
            self.pause()

    def signal(self, number):
        for pid in self.pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def stop(self):
        if self.process is None:
            return
        pids = self.pids() if self.alive() else []
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()
        self.process = None


def descendants(pid):
    """The process and its descendants."""
    children = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError), open(f"/proc/{entry}/stat") as stat:
                fields = stat.read().rpartition(") ")[2].split()
                if fields[0] != "Z":
                    children.setdefault(int(fields[1]), []).append(int(entry))
    found = [pid]
    for each in found:
        found += children.get(each, [])
    return found


def pss(pid):
    with contextlib.suppress(OSError), open(f"/proc/{pid}/smaps_rollup") as rollup:
        for line in rollup:
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0


def until(true, server, limit, act):
    """Acts, and returns the seconds until something is true."""
    start = time.monotonic()
    act()
    while not true():
        if not server.alive():
            log = (server.peer.folder / "log").read_text(errors="replace").strip().splitlines()
            raise ChildProcessError(f"it exited: {log[-1][:300] if log else 'without a word'}")
        if time.monotonic() - start > limit:
            raise TimeoutError(f"not there within {limit:g} s")
        time.sleep(0.001)
    return time.monotonic() - start


def probe(port, host, path):
    """The Location of an answer, if there is one."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=2) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        answer = b""
        while b"\r\n\r\n" not in answer:
            read = connection.recv(4096)
            if not read:
                return None
            answer += read
        for line in answer.decode("latin-1").split("\r\n"):
            if line.lower().startswith("location: "):
                return line[10:].strip()
    return None


def others():
    """The CPU seconds that anyone but our descendants ever took, roughly: a noisy machine should show in the report."""
    with open("/proc/stat") as stat:
        user, nice, system = map(int, stat.readline().split()[1:4])
    ours = 0
    for pid in descendants(os.getpid()):
        with contextlib.suppress(OSError), open(f"/proc/{pid}/stat") as stat:
            # Its own time and, of children that have ended, theirs.
            ours += sum(map(int, stat.read().rpartition(") ")[2].split()[11:15]))
    return (user + nice + system - ours) / os.sysconf("SC_CLK_TCK")


def why(stderr):
    """The message of an error, without its backtrace."""
    message = stderr.partition("Stack backtrace")[0].split()
    return " ".join(message).removeprefix("Error: ").replace(" Caused by:", ":")[:300]


class Load:
    """The load generator."""

    def __init__(self, binary, certificate, options):
        self.binary, self.certificate, self.options = binary, certificate, options

    def command(self, lane, server, urls):
        port = server.peer.ports["http" if lane[0] in ("h1", "idle") else "https"]
        command = [
            "taskset",
            "-c",
            LOAD_CORE,
            self.binary,
            *lane,
            "--address",
            f"127.0.0.1:{port}",
            "--urls",
            urls,
            "--ca",
            self.certificate,
            "--streams",
            self.options.streams,
        ]
        return [*map(str, command), *(["--bare"] if self.options.bare else [])]

    def check(self, lane, server, urls):
        """Compares the answers to a sample of the URLs; what is wrong is under "missing"."""
        try:
            run = subprocess.run(
                [*self.command(lane, server, urls), "--check", "100"], capture_output=True, text=True, timeout=20
            )
        except subprocess.TimeoutExpired:
            return {"missing": "no answer within 20 s"}
        return json.loads(run.stdout) if run.returncode == 0 else {"missing": why(run.stderr)}

    def measure(self, lane, server, urls, seed):
        arguments = [
            "--seconds",
            self.options.seconds,
            "--connections",
            self.options.connections,
            "--seed",
            seed,
            "--pids",
            ",".join(map(str, server.pids())),
        ]
        before, start = others(), time.monotonic()
        run = subprocess.run(
            [*self.command(lane, server, urls), *map(str, arguments)],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
            timeout=self.options.seconds + 60,
        )
        share = (others() - before) / (time.monotonic() - start) / os.cpu_count()
        return {**json.loads(run.stdout), "others": share}

    @contextlib.contextmanager
    def idle(self, lane, server, urls):
        """Holds idle connections; yields how many."""
        with subprocess.Popen(
            [*self.command([lane], server, urls), "--connections", str(self.options.idle)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            try:
                line = process.stdout.readline()
                if not line:
                    raise ChildProcessError(f"{lane}: the connections could not be opened")
                yield json.loads(line)["open"]
            finally:
                process.stdin.close()
                process.wait()
