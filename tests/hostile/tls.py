"""TLS from outside: testssl.sh, sessions resumed on whatever thread, 5,000 certificates."""

import json
import multiprocessing
import socket
import ssl
import subprocess
import time

from gateway import Gateway

HSTS = '[hsts]\nmax-age = 31536000\n'
# WARN is what testssl.sh could not find out.
WEAK = ("MEDIUM", "HIGH", "CRITICAL", "FATAL")
HANDSHAKERS = 2


def testssl(binary, folder, pki, program):
    """(weaknesses above LOW, and all that testssl.sh has to say) with the default policy, a site that enforces HTTPS, and an ECDSA and an
    RSA certificate."""
    gateway = Gateway(binary, folder, https="redirect", hsts=HSTS)
    for kind in ("ecdsa", "rsa"):
        pki.leaf(folder / f"certs/{kind}.pem", ["old.example", "*.old.example"], kind)
    out = folder / "testssl.json"
    out.unlink(missing_ok=True)
    with gateway:
        command = [program, "--quiet", "--color", "0", "--warnings", "off", "--nodns", "none", "--ip", "127.0.0.1"]
        command += ["--add-ca", pki.root, "--jsonfile", out, f"old.example:{gateway.https}"]
        with open(folder / "testssl.txt", "w") as text:
            subprocess.run(command, stdin=subprocess.DEVNULL, stdout=text, stderr=text, timeout=900)
    findings = json.loads(out.read_text())
    if not any(finding["id"].startswith("cipher_x") for finding in findings):
        raise ChildProcessError(f"testssl.sh did not come to its end: see {folder}/testssl.txt")
    tell = lambda finding: f"{finding['severity']} {finding['id']}: {finding['finding']}"
    notable = [finding for finding in findings if finding["severity"] not in ("OK", "INFO", "DEBUG")]
    weak = [tell(finding) for finding in notable if finding["severity"] in WEAK]
    # Ciphers stand as hexadecimal code, OpenSSL's name, key exchange.
    ciphers = [finding["finding"].split() for finding in findings if finding["id"].startswith("cipher_x")]
    weak += [f"{cipher[1]}: no forward secrecy" for cipher in ciphers if cipher[2] not in ("ECDH", "DH")]
    return weak, [tell(finding) for finding in notable]


def resumption(binary, folder, pki, rounds=32):
    """For each version the share of connections that resumed a session made before, whichever of four threads they came to."""
    # Each thread has a socket of its own, so that connections come to all.
    gateway = Gateway(binary, folder, threads=4, listen="reuse-port = true")
    pki.leaf(folder / "certs/a.pem", ["old.example"])
    shares = {}
    with gateway:
        for version in ("tls1_2", "tls1_3"):
            saved = folder / f"{version}.session"
            reused = 0
            for number in range(rounds + 1):
                session = ["-sess_in", saved] if number else ["-sess_out", saved]
                run = subprocess.run(
                    ["openssl", "s_client", f"-{version}", "-connect", f"127.0.0.1:{gateway.https}",
                     "-servername", "old.example", "-CAfile", pki.root, "-ign_eof", *session],
                    input=b"GET / HTTP/1.1\r\nHost: old.example\r\nConnection: close\r\n\r\n",
                    capture_output=True, timeout=30,
                )
                if b"HTTP/1.1 301" not in run.stdout:
                    raise ChildProcessError(f"no answer over {version}: {run.stderr.decode()[-300:]}")
                reused += number > 0 and b"Reused, " in run.stdout
            shares[version] = reused / rounds
    return shares


def certificates(binary, folder, pki, count):
    """Figures of a gateway with that many certificates: seconds and bytes to load them, hosts that got another's certificate,
    seconds until a replaced file was live, and handshakes under load meanwhile that were made and that failed."""
    names = [f"h{number}.example" for number in range(count)]
    with Gateway(binary, folder / "none") as gateway:
        none, none_in = gateway.memory(), gateway.started_in
    gateway = Gateway(binary, folder / "some")
    pki.leaves(pki.folder / "leaves", names)
    certs = folder / "some/certs"
    certs.rmdir()
    certs.symlink_to(pki.folder / "leaves")
    with gateway:
        figures = {"seconds": gateway.started_in - none_in, "bytes": gateway.memory() - none}
        context = trusting(pki)
        wrong = [name for name in names if name not in (subject(handshake(gateway.https, name, context)) or ())]
        figures["wrong"] = len(wrong)
        figures["live"], figures["made"], figures["failed"] = replaced(gateway, pki, names[count // 2])
        figures["bytes_after"] = gateway.memory() - none
    return figures


def replaced(gateway, pki, name):
    """Replaces a certificate while others shake hands: seconds until it is live, handshakes made, handshakes failed."""
    over = multiprocessing.Event()
    results = multiprocessing.Queue()
    load = [
        multiprocessing.Process(target=shake, args=(gateway.https, name, pki, over, results), daemon=True)
        for _ in range(HANDSHAKERS)
    ]
    context = trusting(pki)
    file, fresh = pki.folder / f"leaves/{name}.pem", pki.folder / "fresh.pem"
    pki.leaf(fresh, [name])
    before = handshake(gateway.https, name, context).get("serialNumber")
    for process in load:
        process.start()
    time.sleep(1)
    start = time.monotonic()
    fresh.rename(file)
    while handshake(gateway.https, name, context).get("serialNumber") == before:
        if time.monotonic() - start > 30:
            break
        time.sleep(0.005)
    live = time.monotonic() - start
    time.sleep(1)
    over.set()
    counts = [results.get() for _ in load]
    return live, sum(made for made, _ in counts), sum(failed for _, failed in counts)


def shake(port, name, pki, over, results):
    made = failed = 0
    context = trusting(pki)
    while not over.is_set():
        made += 1
        try:
            handshake(port, name, context)
        except OSError:
            failed += 1
    results.put((made, failed))


def trusting(pki):
    return ssl.create_default_context(cafile=pki.root)


def handshake(port, name, context):
    """The server's certificate, which was verified."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        with context.wrap_socket(connection, server_hostname=name) as stream:
            return stream.getpeercert()


def subject(certificate):
    return [name for _, name in certificate.get("subjectAltName", ())]
