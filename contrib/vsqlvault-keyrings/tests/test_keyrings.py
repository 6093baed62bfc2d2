"""Each key ring against a stand-in of its service: keys are wrapped, reused, unwrapped, and never shown."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest
from botocore.config import Config
from stand_ins import AwsKms, AzureKeyVault, OpenBaoTransit, StandIn
from vsqlvault_keyrings import (
    AwsKmsKeyRing,
    AzureKeyVaultKeyRing,
    KeyServiceFailed,
    OpenBaoTransitKeyRing,
    Reuse,
    WrappingKeyRing,
)

from vsqlvault.client.errors import Unusable
from vsqlvault.client.sealed import UnknownKey, seal, unseal

Make = Callable[..., WrappingKeyRing]


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def aws(stand_in: StandIn, **options: Any) -> WrappingKeyRing:
    client = boto3.client(
        "kms", endpoint_url=stand_in.url, region_name="eu-west-1", aws_access_key_id="AKIA", aws_secret_access_key="secret",
        config=Config(retries={"max_attempts": 0}),
    )  # fmt: skip
    keys = {
        "card-v1": "arn:aws:kms:eu-west-1:111122223333:key/1",
        "card-v2": "arn:aws:kms:eu-west-1:111122223333:key/2",
    }
    return AwsKmsKeyRing(client, keys, **{"current": "card-v2", **options})


def azure(stand_in: StandIn, **options: Any) -> WrappingKeyRing:
    token = options.pop("token", lambda: "azure-token")
    keys = {"card-v1": f"{stand_in.url}/keys/card/1", "card-v2": f"{stand_in.url}/keys/card/2"}
    return AzureKeyVaultKeyRing(token, keys, **{"current": "card-v2", **options})


def openbao(stand_in: StandIn, **options: Any) -> WrappingKeyRing:
    token = options.pop("token", "bao-token")
    return OpenBaoTransitKeyRing(
        stand_in.url, token, {"card-v1": "card1", "card-v2": "card2"}, **{"current": "card-v2", **options}
    )


RINGS = {"aws": (AwsKms, aws), "azure": (AzureKeyVault, azure), "openbao": (OpenBaoTransit, openbao)}


@pytest.fixture(params=sorted(RINGS))
def service(request: pytest.FixtureRequest) -> Iterator[tuple[StandIn, Make]]:
    kind, make = RINGS[request.param]
    stand_in = kind()
    yield stand_in, make
    stand_in.close()


def test_what_one_ring_seals_another_of_the_same_service_opens(service: tuple[StandIn, Make]) -> None:
    stand_in, make = service
    value = seal(make(stand_in).sealing_key(), "card", "p1", b"4111")
    assert unseal(make(stand_in, current="card-v1"), "card", "p1", value, key_ref="card-v2") == b"4111"


def test_the_wrapped_key_is_not_the_key(service: tuple[StandIn, Make]) -> None:
    stand_in, make = service
    key = make(stand_in).sealing_key()
    assert len(key.key) == 32
    assert key.key not in key.wrapped
    assert repr(key.key)[2:-1] not in repr(key)


def test_a_data_key_is_used_for_a_time_and_a_number_of_values(service: tuple[StandIn, Make]) -> None:
    stand_in, make = service
    clock = Clock()
    ring = make(stand_in, reuse=Reuse(max_seconds=10, max_values=3), clock=clock)
    keys = [ring.sealing_key().key for _ in range(4)]
    assert len(set(keys[:3])) == 1
    assert keys[3] != keys[0]
    clock.now = 10.0
    assert ring.sealing_key().key != keys[3]
    assert len(stand_in.requests) == 3


def test_an_unwrapped_key_is_kept_for_a_time_and_a_number_of_keys(service: tuple[StandIn, Make]) -> None:
    stand_in, make = service
    clock = Clock()
    ring = make(stand_in, reuse=Reuse(max_seconds=10, max_values=1, max_unwrapped=2), clock=clock)
    wrapped = [ring.sealing_key().wrapped for _ in range(3)]
    asked = len(stand_in.requests)

    def opened(place: int) -> int:
        ring.opening_key("card-v2", wrapped[place])
        return len(stand_in.requests) - asked

    assert [opened(0), opened(0), opened(1), opened(2), opened(0)] == [1, 1, 2, 3, 4]
    clock.now = 10.0
    assert opened(0) == 5


def test_a_key_ref_that_the_ring_does_not_have_asks_no_service(service: tuple[StandIn, Make]) -> None:
    stand_in, make = service
    with pytest.raises(UnknownKey):
        make(stand_in).opening_key("https://elsewhere/keys/x", b"wrapped")
    assert stand_in.requests == []


def test_a_wrapped_key_that_was_altered_does_not_open_and_the_reason_shows_nothing_of_it(
    service: tuple[StandIn, Make],
) -> None:
    stand_in, make = service
    ring = make(stand_in)
    wrapped = bytearray(ring.sealing_key().wrapped)
    wrapped[-5] ^= 1
    with pytest.raises(KeyServiceFailed) as raised:
        ring.opening_key("card-v2", bytes(wrapped))
    assert "secret words" not in str(raised.value)
    assert raised.value.__context__ is None or isinstance(raised.value.__context__, UnicodeDecodeError)


@pytest.mark.parametrize("failing", [(403, {"error": "secret words"}), (500, {}), (200, {"data": 7})])
def test_a_service_that_fails_is_one_kind_of_error(service: tuple[StandIn, Make], failing: Any) -> None:
    stand_in, make = service
    stand_in.failing = failing
    with pytest.raises(KeyServiceFailed) as raised:
        make(stand_in).sealing_key()
    assert "secret words" not in str(raised.value)


def test_a_service_that_does_not_answer_is_one_kind_of_error(service: tuple[StandIn, Make]) -> None:
    stand_in, make = service
    gone = type(stand_in)()
    gone.close()
    with pytest.raises(KeyServiceFailed):
        make(gone).sealing_key()


def test_a_current_key_that_is_none_of_the_keys_is_refused(service: tuple[StandIn, Make]) -> None:
    stand_in, make = service
    with pytest.raises(Unusable):
        make(stand_in, current="other")


@pytest.mark.parametrize("make", [azure, openbao])
def test_a_token_that_is_refused_is_a_failure(make: Make) -> None:
    stand_in = {azure: AzureKeyVault, openbao: OpenBaoTransit}[make]()
    try:
        with pytest.raises(KeyServiceFailed, match="status 40"):
            make(stand_in, token="wrong").sealing_key()
    finally:
        stand_in.close()


def test_the_rings_say_that_they_wait_for_a_network() -> None:
    assert all(ring.blocks for ring in (AwsKmsKeyRing, AzureKeyVaultKeyRing, OpenBaoTransitKeyRing))


def test_the_real_openbao_wraps_and_unwraps(tmp_path: Path) -> None:
    program = shutil.which("bao")
    if program is None:
        pytest.skip("this machine has no OpenBao")
    address = "http://127.0.0.1:18200"
    process = subprocess.Popen(
        [program, "server", "-dev", "-dev-root-token-id=root", "-dev-listen-address=127.0.0.1:18200"], cwd=tmp_path
    )
    try:
        with httpx.Client(base_url=address, headers={"X-Vault-Token": "root"}) as client:
            for _ in range(100):
                try:
                    if client.post("/v1/sys/mounts/transit", json={"type": "transit"}).is_success:
                        break
                except httpx.RequestError:
                    time.sleep(0.1)
            assert client.post("/v1/transit/keys/card").is_success
        ring = OpenBaoTransitKeyRing(address, "root", {"card-v1": "card"}, "card-v1")
        value = seal(ring.sealing_key(), "card", "p1", b"4111")
        other = OpenBaoTransitKeyRing(address, "root", {"card-v1": "card"}, "card-v1")
        assert unseal(other, "card", "p1", value, key_ref="card-v1") == b"4111"
    finally:
        process.terminate()
        process.wait(20)
