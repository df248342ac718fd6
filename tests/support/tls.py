"""A PostgreSQL that takes nothing but TLS, with a certificate of the tests' own."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from queuer import DatabaseConfiguration
from support.programs import free_port

PASSWORD = "open-sesame-5432"

Issued = tuple[x509.Certificate, ec.EllipticCurvePrivateKey]


def issue(name: str, by: Issued | None = None) -> Issued:
    """A certificate of a host; `by` nobody, that of an authority, which signs itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(by[0].subject if by else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=by is None, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
    )
    return builder.sign(by[1] if by else key, hashes.SHA256()), key


def write_certificate(path: Path, issued: Issued) -> Path:
    path.write_bytes(issued[0].public_bytes(serialization.Encoding.PEM))
    return path


def write_key(path: Path, issued: Issued) -> Path:
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.write_bytes(issued[1].private_bytes(*form))
    path.chmod(0o600)
    return path


@contextmanager
def tls_server(authority: Issued) -> Iterator[DatabaseConfiguration]:
    """Starts a server of this machine's; its certificate is for `localhost`. Skips the test where there is none.

    That of the wheel can't do TLS.
    """
    if shutil.which("pg_ctl") is None or shutil.which("initdb") is None:
        pytest.skip("no PostgreSQL on the PATH whose server can do TLS")
    user = "postgres" if os.getuid() == 0 else None  # it refuses to be run by root
    with TemporaryDirectory(prefix="queuer-tls-") as name:
        directory = Path(name)
        data = directory / "data"
        (directory / "password").write_text(PASSWORD)
        server = issue("localhost", authority)
        write_certificate(directory / "server.crt", server)
        write_key(directory / "server.key", server)
        if user:
            for path in (directory, *directory.iterdir()):
                shutil.chown(path, user)

        def run(*command: object) -> None:
            subprocess.run([str(part) for part in command], check=True, user=user, cwd=name, capture_output=True)

        run("initdb", "-D", data, "-U", "owner", "--auth=scram-sha-256", "--pwfile", directory / "password", "-N")
        port = free_port()
        settings = f"""
            listen_addresses = '127.0.0.1'
            port = {port}
            unix_socket_directories = ''
            fsync = off
            ssl = on
            ssl_cert_file = '{directory}/server.crt'
            ssl_key_file = '{directory}/server.key'
        """
        with (data / "postgresql.conf").open("a") as file:
            file.write(settings)
        (data / "pg_hba.conf").write_text("hostssl all all 127.0.0.1/32 scram-sha-256\n")
        run("pg_ctl", "start", "-w", "-D", data, "-l", directory / "log")
        try:
            yield DatabaseConfiguration("localhost", port, "postgres", "owner", PASSWORD, sslmode="verify-full")
        finally:
            run("pg_ctl", "stop", "-m", "immediate", "-D", data)
