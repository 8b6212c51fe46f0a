"""`kedge options`: what can be said of volumes and of profiles."""

import json

from click.testing import CliRunner, Result

from driver import cli
from driver.__main__ import option_tables


def run(*arguments: str) -> Result:
    commands = cli.commands(admin_socket=lambda: None, option_tables=option_tables)  # type: ignore[arg-type, return-value]
    return CliRunner().invoke(commands, ["--socket", "/none", "options", *arguments])


def test_options_and_settings_of_a_backend() -> None:
    shown = json.loads(run("s3", "--json").stdout)
    assert list(shown) == ["s3"]
    options = {row["name"]: row for row in shown["s3"]["options"]}
    settings = {row["name"]: row for row in shown["s3"]["settings"]}
    assert options["compress"]["values"] == "none|zstd|lz4"
    assert settings["bucket"]["default"] == "required"
    assert settings["single_node"]["default"] == "false"
    assert not options.keys() & settings.keys()


def test_as_people_read_it() -> None:
    text = run().stdout
    assert "s3: volumes, docker volume create -d kedge -o OPTION=VALUE\n" in text
    assert "s3: profiles, in the settings file below [profiles.NAME]\n" in text


def test_one_that_is_unknown() -> None:
    done = run("nfs")
    assert done.exit_code == 2
    assert "backend 'nfs' is unknown; there are: " in done.stderr
