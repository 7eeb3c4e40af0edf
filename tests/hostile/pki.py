"""Certificates made for the occasion: a root, an intermediate, and leaves under it."""

import concurrent.futures
import os
import subprocess

KEYS = {
    "ecdsa": ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"],
    "rsa": ["-newkey", "rsa:2048"],
}


class Pki:
    def __init__(self, folder):
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.root, self.intermediate = folder / "root.pem", folder / "intermediate.pem"
        if not self.intermediate.exists():
            self.authority("Hostile Test Root", self.root, None)
            self.authority("Hostile Test Intermediate", self.intermediate, self.root)

    def authority(self, name, out, issuer):
        self.request(name, out, out.with_suffix(".key"), issuer, 300, "ecdsa", [
            "basicConstraints=critical,CA:TRUE", "keyUsage=critical,keyCertSign,cRLSign",
        ])

    def leaf(self, out, names, kind="ecdsa", days=80):
        """Chain and key in one file, which is complete as soon as it is there."""
        part, key = out.with_suffix(".part"), out.with_suffix(".key-part")
        self.request(names[0], part, key, self.intermediate, days, kind, [
            "basicConstraints=critical,CA:FALSE", "keyUsage=critical,digitalSignature", "extendedKeyUsage=serverAuth",
            f"subjectAltName={','.join(f'DNS:{name}' for name in names)}",
            "crlDistributionPoints=URI:http://crl.example/hostile.crl",
        ])
        text = part.read_text() + self.intermediate.read_text() + key.read_text()
        part.touch(mode=0o600)
        part.chmod(0o600)
        part.write_text(text)
        key.unlink()
        part.rename(out)

    def leaves(self, folder, names):
        """One leaf for each name; those that are there already are kept."""
        folder.mkdir(exist_ok=True)
        missing = [name for name in names if not (folder / f"{name}.pem").exists()]
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(lambda name: self.leaf(folder / f"{name}.pem", [name]), missing))

    @staticmethod
    def request(name, out, key, issuer, days, kind, extensions):
        command = ["openssl", "req", "-x509", "-nodes", "-sha256", "-days", str(days), "-config", "/dev/null"]
        command += [*KEYS[kind], "-subj", f"/CN={name}", "-keyout", key, "-out", out]
        if issuer:
            command += ["-CA", issuer, "-CAkey", issuer.with_suffix(".key")]
        for extension in extensions:
            command += ["-addext", extension]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
