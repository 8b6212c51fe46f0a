"""The service when its settings are wrong: it runs, and says so to whoever asks.

Exiting would make Docker restart the plugin once and then disable it, with the reason hidden in
the engine's log. And no Get may be answered: Docker would forget every volume it asks for.
"""

from flask import Flask

from driver.docker import Hangup, hang_up


def app(problem: str) -> Flask:
    """Answers every call with `problem`, and Get with nothing at all."""
    flask = Flask(__name__)

    @flask.route("/", defaults={"path": ""}, methods=["GET", "POST", "DELETE"])
    @flask.route("/<path:path>", methods=["GET", "POST", "DELETE"])
    def refuse(path: str) -> dict[str, object]:
        if path == "Plugin.Activate":
            return {"Implements": ["VolumeDriver"]}
        if path == "VolumeDriver.Capabilities":
            return {"Capabilities": {"Scope": "local"}}
        if path == "VolumeDriver.Get":
            raise Hangup
        return {"Err": problem}

    flask.register_error_handler(Hangup, lambda _: hang_up())
    return flask


def operator_app(problem: str) -> Flask:
    """The operator's side: every question is refused with `problem`."""
    flask = Flask(__name__)

    @flask.route("/", defaults={"path": ""}, methods=["GET", "POST", "DELETE"])
    @flask.route("/<path:path>", methods=["GET", "POST", "DELETE"])
    def refuse(path: str) -> tuple[dict[str, str], int]:
        return {"error": problem, "code": "invalid-options"}, 409

    return flask
