"""How commands print."""

import io
import json
import socket

import pytest
from alpaserve_cli.output import print_json


def test_a_document_is_whole_for_a_reader_who_hangs_up_after_it(monkeypatch: pytest.MonkeyPatch) -> None:
    document = {"addresses": {"router": "127.0.0.1:50051"}}
    # Of such a pair each write is received by itself.
    reading, writing = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with reading, writing, io.FileIO(writing.fileno(), "w", closefd=False) as unbuffered:
        monkeypatch.setattr("sys.stdout", io.TextIOWrapper(unbuffered, write_through=True))
        print_json(document)
        assert reading.recv(1000) == json.dumps(document, indent=2).encode() + b"\n"
