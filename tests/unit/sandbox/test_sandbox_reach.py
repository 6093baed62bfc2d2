"""What stays reachable, so that nothing of a vault breaks, and what does not."""

import os
import sys
from pathlib import Path

import pytest

from vsqlvault.config import Settings
from vsqlvault.errors import SettingsInvalid
from vsqlvault.model.sandbox import ProcessNeeds
from vsqlvault.sandbox.reach import beyond, reach_of, replaceable, requested_access


def reach(*needs, config=None, **settings):
    checked = Settings.model_validate(settings)
    return reach_of(checked, requested_access(checked, needs, config))


def covers(paths, path):
    path = Path(path).resolve()
    return any(path.is_relative_to(each) for each in paths)


def test_a_file_is_reached_through_its_directory(tmp_path):
    (tmp_path / "vault.toml").touch()
    assert list(replaceable(str(tmp_path / "vault.toml"))) == [tmp_path]


def test_a_link_is_reached_through_every_directory_on_its_way(tmp_path):
    """As certbot keeps them: live/site/cert.pem is a link to archive/site/cert1.pem, and soon one to cert2.pem."""
    live, archive = tmp_path / "live" / "site", tmp_path / "archive" / "site"
    live.mkdir(parents=True)
    archive.mkdir(parents=True)
    (archive / "cert1.pem").touch()
    (live / "cert.pem").symlink_to("../../archive/site/cert1.pem")
    assert set(replaceable(str(live / "cert.pem"))) == {live, archive}


def test_a_linked_directory_is_reached_as_a_whole(tmp_path):
    """As Kubernetes mounts a secret: tls.crt is a link to ..data/tls.crt, and ..data one to the newest directory."""
    newest = tmp_path / "..2026_01_01"
    newest.mkdir()
    (newest / "tls.crt").touch()
    (tmp_path / "..data").symlink_to(newest.name)
    (tmp_path / "tls.crt").symlink_to("..data/tls.crt")
    found = set(replaceable(str(tmp_path / "tls.crt")))
    assert tmp_path in found
    assert found <= {tmp_path, newest}


def test_a_directory_that_others_use_is_not_opened_for_one_file():
    assert list(replaceable("/etc/hosts")) == [Path("/etc/hosts")]
    assert list(replaceable("/tmp/vault.toml")) == [Path("/tmp/vault.toml")]


def test_a_loop_of_links_has_an_end(tmp_path):
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    assert set(replaceable(str(tmp_path / "a"))) == {tmp_path}


def test_the_files_of_the_settings_are_readable(tmp_path):
    for name in ("tls", "ca", "config", "forwarded"):
        (tmp_path / name).mkdir()
    files = {name: str(tmp_path / "tls" / f"{name}.pem") for name in ("cert_file", "key_file")}
    authority = {"client_ca_file": str(tmp_path / "ca" / "ca.pem"), "crl_file": str(tmp_path / "ca" / "crl.pem")}
    found = reach(
        config=tmp_path / "config" / "v.toml",
        server={
            "tls": files | authority | {"client_cert": "required"},
            "trusted_proxies": ["127.0.0.1"],
            "forwarded_certificates": {"ca_file": str(tmp_path / "forwarded" / "ca.pem")},
        },
    )
    assert {tmp_path / name for name in ("tls", "ca", "config", "forwarded")} <= found.readable
    assert tmp_path not in found.readable


def test_what_plugins_need_and_what_is_listed_is_added_up(tmp_path):
    for name in ("spool", "models", "listed", "written"):
        (tmp_path / name).mkdir()
    need = ProcessNeeds(
        readable=(str(tmp_path / "models"), str(tmp_path / "none-such" / "file")),
        writable=(str(tmp_path / "spool"),),
        connect_ports=(6514,),
    )
    listed = {"readable_paths": [str(tmp_path / "listed")], "writable_paths": [str(tmp_path / "written")]}
    found = reach(need, ProcessNeeds(connect_ports=(443,)), hardening={**listed, "connect_ports": [9000]})
    assert found.writable == {tmp_path / "spool", tmp_path / "written", Path("/dev/null")}
    assert {tmp_path / "models", tmp_path / "listed"} <= found.readable
    assert found.connect_ports == {53, 443, 6514, 9000}
    assert found.bind_ports == {8443}


def test_a_plugin_may_need_any_port():
    assert reach(ProcessNeeds(connect_ports=None), ProcessNeeds(connect_ports=(443,))).connect_ports is None


def test_a_listed_path_that_does_not_exist_is_an_error(tmp_path):
    with pytest.raises(
        SettingsInvalid, match=r"hardening\.writable_paths: expected paths that exist, found .*none-such"
    ):
        reach(hardening={"writable_paths": [str(tmp_path / "none-such")]})


def test_modules_names_authorities_and_time_zones_are_readable():
    found = reach().readable
    modules = [os.__file__, pytest.__file__, reach_of.__code__.co_filename]
    wanted = [*modules, "/etc/hosts", "/etc/resolv.conf", "/etc/ssl", "/usr/lib", "/usr/share/zoneinfo"]
    assert [path for path in wanted if Path(path).exists() and not covers(found, path)] == []


def test_the_working_directory_is_not_readable_for_being_where_python_looks(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", str(tmp_path), *sys.path])
    assert not covers(reach().readable, tmp_path / "anything")


def test_etc_is_closed_to_root_whom_no_permission_stops(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert Path("/etc") not in reach().readable
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert Path("/etc") in reach().readable


class TestBeyond:
    """What new settings ask for, against what was left open for the old ones."""

    @pytest.fixture
    def before(self, tmp_path):
        for name in ("old", "new"):
            (tmp_path / name).mkdir()
        return asked(readable=(f"{tmp_path}/old/ca.pem", f"{tmp_path}/none-yet/pgpass"), writable=(f"{tmp_path}/old",))

    @pytest.fixture
    def found(self, before):
        reach_then = reach_of(Settings(), before)

        def found(**needs):
            return beyond(reach_then, before, asked(**needs))

        return found

    def test_nothing_is_beyond_where_nothing_is_asked_for(self, found):
        assert found() is None

    def test_files_and_directories(self, found, tmp_path):
        assert found(readable=(f"{tmp_path}/old/other.pem",)) is None
        assert found(readable=(f"{tmp_path}/new/ca.pem",)) == f"{tmp_path}/new/ca.pem"
        assert found(writable=(f"{tmp_path}/old/below",)) is None
        assert found(writable=(f"{tmp_path}/new",)) == f"{tmp_path}/new"

    def test_what_was_asked_for_before_it_existed_is_no_news(self, found, tmp_path):
        (tmp_path / "none-yet").mkdir()
        assert found(readable=(f"{tmp_path}/none-yet/pgpass",)) is None

    def test_ports(self, found):
        assert found(connect_ports=(5432,)) is None
        assert found(connect_ports=(443, 636)) == "port 443"
        assert found(connect_ports=None) == "any port"

    def test_no_port_is_beyond_any_port(self, tmp_path):
        before = asked(connect_ports=None)
        assert beyond(reach_of(Settings(), before), before, asked(connect_ports=(443,))) is None


def asked(connect_ports=(5432,), **paths):
    return requested_access(Settings(), [ProcessNeeds(connect_ports=connect_ports, **paths)])
