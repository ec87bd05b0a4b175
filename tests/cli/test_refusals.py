"""What is refused at start."""

from __future__ import annotations

import resource
from dataclasses import replace
from pathlib import Path

import pytest

from s3node import refusals
from s3node.base import limits
from s3node.base.errors import ConfigError
from s3node.config import Address, Config, Keys, Tls

CHOSEN = Keys("ROOT", "kuc9AiDoh8ohquahw4Ac")
GENERATED = replace(CHOSEN, generated=True)
WEAK = Keys("ROOT", "password")
CONFIG = Config(
    disks=tuple(Path(f"/srv/disk{slot}") for slot in range(6)),
    meta=Path("/srv/meta"),
    parity=2,
    keys=CHOSEN,
)
PUBLIC = Address("0.0.0.0", 9000)
TLS = Tls(Path("c"), Path("k"))


@pytest.mark.parametrize("keys", [CHOSEN, GENERATED, WEAK])
@pytest.mark.parametrize("public", [False, True])
@pytest.mark.parametrize("tls", [None, TLS])
def test_guessable_keys_on_a_public_plain_listener(
    keys: Keys, public: bool, tls: Tls | None
) -> None:
    config = replace(CONFIG, keys=keys, tls=tls, listen=PUBLIC if public else CONFIG.listen)
    if public and tls is None and keys is not CHOSEN:
        with pytest.raises(ConfigError, match="plain HTTP that others can reach"):
            refusals.refuse_exposed_keys(config)
    else:
        refusals.refuse_exposed_keys(config)


def test_admin_keys_do_not_travel_in_the_clear() -> None:
    config = replace(CONFIG, admin_listen=Address("10.0.0.1", 9001))
    with pytest.raises(ConfigError, match="would carry the root keys"):
        refusals.refuse_exposed_keys(config)
    refusals.refuse_exposed_keys(replace(config, tls=TLS))


def test_directories_that_are_no_mount_points() -> None:
    absent, plain = "/srv/disk1", "/srv/disk4"
    with pytest.raises(ConfigError, match=r"disks\[4\]: /srv/disk4 is not a mount point"):
        refusals.refuse_plain_directories(
            CONFIG, lambda path: path not in (absent, plain), lambda path: path != absent
        )
    refusals.refuse_plain_directories(
        CONFIG, lambda path: path != absent, lambda path: path != absent
    )
    told = replace(CONFIG, allow_non_mount=True)
    refusals.refuse_plain_directories(told, lambda path: False, lambda path: True)


def test_too_few_descriptors(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the answers of the kernel are made up; nothing of this process is lowered."""
    now = [256, limits.DESCRIPTORS_MIN - 1]
    monkeypatch.setattr(resource, "getrlimit", lambda which: tuple(now))
    monkeypatch.setattr(resource, "setrlimit", lambda which, pair: now.__setitem__(0, pair[0]))
    with pytest.raises(ConfigError, match="ulimit -n"):
        refusals.raise_descriptors(100)
    now[1] = 1 << 20
    refusals.raise_descriptors(100_000)
    assert now[0] == 100_000 + limits.DESCRIPTORS_SPARE


def test_optimised_python() -> None:
    with pytest.raises(ConfigError, match="run without -O"):
        refusals.refuse_optimised(debug=False)
    refusals.refuse_optimised()
