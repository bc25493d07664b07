"""`alpaserve certificates`: files that fit each other, and are their owner's alone."""

import hashlib
import json
from pathlib import Path

import pytest
import yaml
from alpaserve_cli.failures import CommandError
from alpaserve_cli.secured import security_files
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from tests.cli.conftest import Run


def certificate(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


def test_the_certificates_are_the_ca_s_and_name_the_hosts(run: Run, tmp_path: Path) -> None:
    done = run("certificates", str(tmp_path), "--host", "planner", "--host", "10.0.0.7", "--output", "json")

    told = json.loads(done.stdout)
    server = certificate(Path(told["server"]["ALPASERVE_TLS_CERTIFICATE"]))
    client = certificate(Path(told["client"]["ALPASERVE_TLS_CERTIFICATE"]))
    for signed in (server, client):
        signed.verify_directly_issued_by(certificate(tmp_path / "ca.pem"))
    names = server.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["localhost", "planner"]
    assert [str(ip) for ip in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1", "::1", "10.0.0.7"]
    key = load_pem_private_key((tmp_path / "server-key.pem").read_bytes(), None)
    assert key.public_key() == server.public_key()


def test_each_token_is_listed_by_its_digest_with_its_scopes(run: Run, tmp_path: Path) -> None:
    run("certificates", str(tmp_path))

    rows = yaml.safe_load((tmp_path / "tokens.yaml").read_text())["tokens"]
    digests = {
        name: hashlib.sha256((tmp_path / f"{name}.token").read_bytes().strip()).hexdigest()
        for name in ("router", "infer", "plan", "admin")
    }
    assert {row["name"]: row["sha256"] for row in rows} == digests
    assert [row["scopes"] for row in rows] == [["infer", "serve"], ["infer"], ["plan"], ["infer", "plan", "admin"]]


def test_every_file_is_its_owner_s_alone(run: Run, tmp_path: Path) -> None:
    run("certificates", str(tmp_path / "made"))

    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "made").iterdir()} == {0o600}
    assert (tmp_path / "made").stat().st_mode & 0o777 == 0o700


def test_nothing_is_replaced_without_force(run: Run, tmp_path: Path) -> None:
    run("certificates", str(tmp_path))
    before = (tmp_path / "ca.pem").read_bytes()

    refused = run("certificates", str(tmp_path))
    assert refused.exit_code == 1
    assert "--force replaces them" in refused.stderr
    assert (tmp_path / "ca.pem").read_bytes() == before

    run("certificates", str(tmp_path), "--force")
    assert (tmp_path / "ca.pem").read_bytes() != before


def test_a_directory_that_lacks_a_token_is_not_run_with(run: Run, tmp_path: Path) -> None:
    run("certificates", str(tmp_path))
    (tmp_path / "router.token").unlink()

    with pytest.raises(CommandError, match="certificates --force replaces them"):
        security_files(tmp_path, "127.0.0.1")
