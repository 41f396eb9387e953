"""A small trail, and ways to lay it somewhere."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from opentrail.core.public_keys import encode_public_keys
from opentrail.keys.rsa_files import RsaKeyFiles
from opentrail.stores.local import LocalStore
from opentrail.testing.sample_trail import Objects, SampleTrail, build_sample_trail


@pytest.fixture(scope="session")
def trail(tmp_path_factory: pytest.TempPathFactory) -> SampleTrail:
    return build_sample_trail(RsaKeyFiles(tmp_path_factory.mktemp("keys")))


@pytest.fixture
def keys(trail: SampleTrail, tmp_path: Path) -> Path:
    """A file with the trail's public keys."""
    path = tmp_path / "keys.json"
    path.write_bytes(encode_public_keys(trail.public_keys()))
    return path


@pytest.fixture
def lay(tmp_path: Path) -> Callable[[Objects], Path]:
    """Lays objects into a bucket of the local store; its folder."""

    def lay_objects(objects: Objects) -> Path:
        folder = tmp_path / "objects"
        store = LocalStore(folder)
        for key, (data, metadata) in objects.items():
            store.put_soon(f"trail-bucket/{key}", data, metadata, lambda _info, _error: None)
        store.close()
        return folder / "trail-bucket"

    return lay_objects


@pytest.fixture
def plain(trail: SampleTrail, tmp_path: Path) -> Path:
    """The trail as ``aws s3 sync`` leaves it."""
    for key, (data, _) in trail.objects.items():
        path = tmp_path / "plain" / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return tmp_path / "plain"
