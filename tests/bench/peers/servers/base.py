"""The redirects, and what all servers have in common."""

import socket
import subprocess


class Table:
    """The redirects: paths as content systems made them, evenly over the hosts."""

    DOMAIN = "bench.example"

    def __init__(self, size, hosts):
        self.hosts, self.per_host = hosts, max(1, size // hosts)
        self.size = self.hosts * self.per_host
        self.changed = {}

    def host(self, number):
        return f"h{number // self.per_host}.{self.DOMAIN}"

    def old(self, number):
        return f"/art/20{number % 19:02}/{number % 12 + 1}/{number % 28 + 1}/art_{number % 7919}_{number}.html"

    def new(self, number):
        version = self.changed.get(number, "")
        return f"https://www.new.example/h{number // self.per_host}/c{number % 97}/article-{number}{version}.html"

    def change(self, number, version):
        self.changed[number] = f"-v{version}"

    def of_host(self, host):
        return range(host * self.per_host, (host + 1) * self.per_host)


def free_ports(count):
    """Ports of 127.0.0.1 that nobody has."""
    # All at once, so that they differ.
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


class Peer:
    """What they have in common. A change is prepared as `pending`, then moved over the file it replaces: at once."""

    NOTES = ""

    def __init__(self, name, binary, work):
        self.name, self.binary, self.work, self.folder = name, binary, work, work / name
        self.ports = dict(zip(("http", "https", "admin"), free_ports(3)))
        self.folder.mkdir(parents=True)

    def configure(self, table):
        self.table = table
        (self.folder / "log").unlink(missing_ok=True)
        self.write()

    def environment(self):
        return {}

    def version(self):
        return self.said("--version").splitlines()[0].strip()

    def said(self, *arguments):
        run = subprocess.run([self.binary, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        return run.stdout.strip()

    def prepare_change(self, number):
        """Writes what the changed file will be, beside it."""
        file, text = self.file_of(number)
        self.changed_file, self.pending = file, self.work / f"{self.name}.pending"
        self.pending.write_text(text)

    def change(self, pid):
        self.pending.replace(self.changed_file)
        self.reload(pid)

    def reload(self, pid):
        """Tells the server, by the id of its first process, if it doesn't watch its files."""

    @property
    def key(self):
        return self.work / "key.pem"

    @property
    def cert(self):
        return self.work / "cert.pem"
