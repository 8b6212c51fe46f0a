"""Settings: defaults, file, environment; every problem at once; nothing ignored in silence."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backends.errors import InvalidOptions
from driver.settings import HOST, MANAGED, Paths, Settings, load, relocated


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return Paths(
        config=tmp_path / "kedge.toml",
        data=tmp_path / "data",
        mounts=tmp_path / "mounts",
        socket=tmp_path / "kedge.sock",
        admin_socket=tmp_path / "admin.sock",
        docker_root=tmp_path / "docker",
    )


def written(paths: Paths, text: str, **environ: str) -> Settings:
    paths.config.write_text(text)
    return load(paths, environ, "node1")


def problems(paths: Paths, text: str, **environ: str) -> tuple[str, ...]:
    with pytest.raises(InvalidOptions) as refused:
        written(paths, text, **environ)
    assert str(paths.config) in str(refused.value)
    return refused.value.problems


def test_without_a_file_there_is_one_local_profile(paths: Paths) -> None:
    made = load(paths, {}, "node1")
    assert made.node == "node1"
    assert made.log_level == "info"
    assert made.call_seconds == 25
    assert made.default_backend == "local"
    assert list(made.profiles) == ["local"]
    assert made.profiles["local"].settings == {"root": str(paths.data / "local")}
    assert made.paths.state == paths.data / "state"


def test_the_file_says(paths: Paths) -> None:
    made = written(
        paths,
        """
        node = "db1"
        log_level = "DEBUG"
        call_seconds = 20.5
        default_backend = "nfs"
        [profiles.local]
        backend = "local"
        [profiles.nfs]
        backend = "local"
        root = "/mnt/nfs"
        retries = 3
        fast = true
        [profiles.nfs.defaults]
        on_remove = "trash"
        """,
    )
    assert (made.node, made.log_level, made.call_seconds) == ("db1", "debug", 20.5)
    assert made.default_backend == "nfs"
    assert made.profiles["nfs"].settings == {"root": "/mnt/nfs", "retries": "3", "fast": "true"}
    assert made.profiles["nfs"].defaults == {"on_remove": "trash"}


def test_the_environment_wins_over_the_file(paths: Paths) -> None:
    text = 'node = "file"\nlog_level = "error"\ncall_seconds = 3\n'
    made = written(paths, text, KEDGE_NODE="env", KEDGE_LOG_LEVEL="warning", KEDGE_CALL_SECONDS="7")
    assert (made.node, made.log_level, made.call_seconds) == ("env", "warning", 7)
    assert written(paths, text, KEDGE_NODE="").node == "file"  # Docker passes unset values empty


def test_the_first_profile_is_the_default(paths: Paths) -> None:
    made = written(paths, '[profiles.b]\nbackend = "s3"\n[profiles.a]\nbackend = "local"\n')
    assert made.default_backend == "b"


def test_every_problem_is_said_at_once(paths: Paths) -> None:
    found = problems(
        paths,
        """
        nodes = "x"
        node = "a b"
        log_level = "loud"
        call_seconds = "soon"
        default_backend = "nowhere"
        [profiles."Up per"]
        backend = "local"
        [profiles.none]
        root = "/x"
        [profiles.odd]
        backend = "local"
        defaults = 3
        peers = ["a", "b"]
        [profiles.odd.deep]
        key = 1
        """,
    )
    said = "; ".join(found)
    for words in [
        "unknown key 'nodes'; valid: call_seconds, default_backend, lease_renew, lease_ttl, "
        "log_level, node, profiles",
        "node='a b' is not a name",
        "log_level='loud' is not one of debug, info, warning, error",
        "call_seconds='soon' is not a number",
        "default_backend='nowhere' is not a profile; there are: odd",
        "profile name 'Up per' is not allowed",
        "profile none says no backend",
        "profile odd: defaults is not a table",
        "profile odd: peers is neither text nor a number",
        "profile odd: deep is neither text nor a number",
    ]:
        assert words in said
    assert len(found) == 10


@pytest.mark.parametrize("seconds", ["0", "0.5", "30", "-1", "nan", "inf", "1e9", "true", ""])
def test_calls_must_end_before_docker_gives_up(paths: Paths, seconds: str) -> None:
    assert "call_seconds" in "".join(problems(paths, f'call_seconds = "{seconds}"'))


@pytest.mark.parametrize(
    "text", ["node = ", "[profiles", "node = 1\nnode = 2", "\0", "x = " + "[" * 50_000]
)
def test_a_file_that_is_not_toml_is_a_problem(paths: Paths, text: str) -> None:
    assert "cannot be read" in problems(paths, text)[0]


def test_bytes_that_are_not_text_are_a_problem(paths: Paths) -> None:
    paths.config.write_bytes(b'node = "\xff"')
    with pytest.raises(InvalidOptions, match="cannot be read"):
        load(paths, {}, "node1")


def test_a_file_that_cannot_be_read_is_never_taken_for_a_missing_one(paths: Paths) -> None:
    paths.config.mkdir()
    with pytest.raises(InvalidOptions, match="cannot be read"):
        load(paths, {}, "node1")


def test_profiles_that_are_no_table_are_a_problem(paths: Paths) -> None:
    assert "profiles is not a table" in problems(paths, "profiles = 3")[0]


def test_a_hostname_that_is_no_name_is_a_problem(paths: Paths) -> None:
    with pytest.raises(InvalidOptions, match="KEDGE_NODE"):
        load(paths, {}, "ein knoten")


def test_paths_are_moved_by_the_environment() -> None:
    moved = relocated(HOST, {"KEDGE_DATA": "/srv", "KEDGE_SOCKET": "", "KEDGE_CONFIG": "/c.toml"})
    assert moved.data == Path("/srv")
    assert moved.state == Path("/srv/state")
    assert moved.socket == HOST.socket
    assert moved.config == Path("/c.toml")
    assert relocated(MANAGED, {}) == MANAGED


def test_relative_paths_are_a_problem(paths: Paths) -> None:
    """Docker would take a relative mount point for something below its own directory."""
    moved = relocated(paths, {"KEDGE_MOUNTS": "mounts", "KEDGE_DATA": "./data"})
    with pytest.raises(InvalidOptions) as refused:
        load(moved, {}, "node1")
    assert "KEDGE_MOUNTS=mounts is not an absolute path" in refused.value.problems
    assert "KEDGE_DATA=data is not an absolute path" in refused.value.problems


@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.dictionaries(
        st.sampled_from(["node", "log_level", "profiles", "call_seconds", "x"]),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(
                    st.sampled_from(
                        ["node", "log_level", "profiles", "local", "backend", "defaults", "x"]
                    ),
                    inner,
                    max_size=4,
                )
            ),
        ),
        max_size=4,
    )
)
def test_whatever_the_file_says_the_answer_is_settings_or_problems(
    paths: Paths, monkeypatch: pytest.MonkeyPatch, document: dict[str, object]
) -> None:
    monkeypatch.setattr("driver.settings.tomllib.loads", lambda _: document)
    paths.config.write_text("")
    try:
        made = load(paths, {}, "node1")
    except InvalidOptions:
        return
    assert made.default_backend in made.profiles
