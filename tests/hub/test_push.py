"""`segpipe push-hub` against a server that speaks the hub's protocol on this machine."""

import base64
import hashlib
import json
import threading

import flask
import onnx
import pytest
from helpers import error_line, run
from werkzeug.serving import make_server

from segpipe.common.modelfile import CARD, CARD_FORMAT

HEADER = "---\nlicense: mit\ntags:\n- segpipe\n---\n\n# Segmentation of pets\n"
REPOSITORY = "someone/pets"


class Hub:
    """Keeps the commits that it is sent, and the contents of large files by digest."""

    def __init__(self):
        self.address = self.refusal = ""
        self.made, self.headers, self.commits, self.stored = [], [], [], {}
        self.app = flask.Flask("hub")
        for rule, answer in {
            "/api/repos/create": self.create,
            "/api/validate-yaml": lambda: {"warnings": []},
            f"/api/models/{REPOSITORY}/preupload/main": self.preupload,
            f"/{REPOSITORY}.git/info/lfs/objects/batch": self.batch,
            f"/api/models/{REPOSITORY}/commit/main": self.commit,
        }.items():
            self.app.add_url_rule(rule, rule, answer, methods=["POST"])
        self.app.add_url_rule("/store/<digest>", "store", self.store, methods=["PUT"])

    def create(self):
        if self.refusal:
            return {"error": self.refusal}, 401
        self.made.append(flask.request.json)
        self.headers.append(flask.request.headers.get("Authorization"))
        return {"url": f"{self.address}/{REPOSITORY}"}

    def preupload(self):
        def mode(name):
            return "lfs" if name.endswith(".onnx") else "regular"

        names = [file["path"] for file in flask.request.json["files"]]
        return {"files": [{"path": n, "uploadMode": mode(n), "shouldIgnore": False} for n in names]}

    def batch(self):
        return {
            "transfer": "basic",
            "objects": [
                {**one, "actions": {"upload": {"href": f"{self.address}/store/{one['oid']}"}}}
                for one in flask.request.json["objects"]
            ],
        }

    def store(self, digest):
        self.stored[digest] = flask.request.get_data()
        return {}

    def commit(self):
        self.commits.append([json.loads(line) for line in flask.request.get_data().splitlines()])
        url = f"{self.address}/{REPOSITORY}/commit/abc"
        return {"commitUrl": url, "commitOid": "abc", "success": True}


@pytest.fixture
def hub():
    served = Hub()
    server = make_server("127.0.0.1", 0, served.app, threaded=True)
    served.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield served
    server.shutdown()
    thread.join()


@pytest.fixture
def project(tmp_path):
    """A folder with one export of nothing, its card inside and beside it."""
    write_onnx(tmp_path / "models/export/onnx/model.onnx", {"export": {"format": "onnx"}})
    return tmp_path


def write_onnx(path, content):
    path.parent.mkdir(parents=True)
    empty = onnx.helper.make_model(onnx.helper.make_graph([], "nothing", [], []))
    card = {"format": CARD_FORMAT, "segpipe": "0.6.0", **content}
    onnx.helper.set_model_props(empty, {CARD: json.dumps(card)})
    onnx.save(empty, path)
    (path.parent / "MODEL_CARD.md").write_text(HEADER)


def push(project, address, *arguments):
    extra = {"HF_ENDPOINT": address, "HF_TOKEN": "hf_ours", "HF_HUB_DISABLE_XET": "1"}
    return run("segpipe", "push-hub", *arguments, cwd=project, **extra)


def test_the_hub_gets_the_export_and_its_card_as_readme(hub, project):
    result = push(project, hub.address, REPOSITORY)
    assert result.returncode == 0, result.stderr
    (made,) = hub.made
    assert (made["organization"], made["name"]) == ("someone", "pets")
    assert hub.headers == ["Bearer hf_ours"]
    (head, *files) = hub.commits[0]
    assert head["key"] == "header"
    by_kind = {entry["key"]: entry["value"] for entry in files}
    model = (project / "models/export/onnx/model.onnx").read_bytes()
    digest = hashlib.sha256(model).hexdigest()
    assert by_kind["lfsFile"]["path"] == "model.onnx"
    assert by_kind["lfsFile"]["oid"] == digest
    assert hub.stored == {digest: model}
    assert by_kind["file"]["path"] == "README.md"
    assert base64.b64decode(by_kind["file"]["content"]).decode() == HEADER
    assert f"{hub.address}/{REPOSITORY}/commit/abc" in result.stdout


def test_of_a_savedmodel_the_hub_gets_every_file_of_its_folder(hub, project):
    folder = project / "models/export/savedmodel"
    card = {"format": CARD_FORMAT, "segpipe": "0.6.0", "export": {"format": "savedmodel"}}
    contents = {
        "saved_model.pb": "graph", "variables/variables.index": "weights",
        "assets.extra/segpipe.json": json.dumps(card), "MODEL_CARD.md": HEADER,
    }  # fmt: skip
    for name, content in contents.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    result = push(project, hub.address, REPOSITORY, "models/export/savedmodel")
    assert result.returncode == 0, result.stderr
    values = [entry["value"] for entry in hub.commits[0] if entry["key"] == "file"]
    sent = {one["path"]: base64.b64decode(one["content"]).decode() for one in values}
    contents["README.md"] = contents.pop("MODEL_CARD.md")
    assert sent == contents


def test_a_dry_run_prints_what_would_go_and_sends_nothing(hub, project):
    result = push(project, hub.address, REPOSITORY, "--dry-run")
    assert result.returncode == 0, result.stderr
    for said in ("someone/pets", "model.onnx", "README.md", "nothing was sent"):
        assert said in result.stdout
    assert (hub.made, hub.commits, hub.stored) == ([], [], {})


def test_what_the_hub_refuses_is_one_line(hub, project):
    hub.refusal = "Invalid username or password."
    line = error_line(push(project, hub.address, REPOSITORY))
    assert line.startswith("error: someone/pets: the hub refused or was not reached (")
    assert line.count("\n") == 1


def test_a_hub_that_is_not_there_is_one_line(hub, project):
    line = error_line(push(project, "http://127.0.0.1:9", REPOSITORY))
    assert line.startswith("error: someone/pets: the hub refused or was not reached (")


def test_of_several_exports_one_is_named(hub, project):
    write_onnx(project / "models/export/other/model.onnx", {"export": {"format": "onnx"}})
    line = error_line(push(project, hub.address, REPOSITORY))
    assert "holds 2 exports; name one of models/export/onnx/model.onnx, models/export/other" in line
    named = push(project, hub.address, REPOSITORY, "models/export/other/model.onnx")
    assert named.returncode == 0, named.stderr


def test_without_a_card_beside_it_an_export_is_not_published(hub, project):
    (project / "models/export/onnx/MODEL_CARD.md").unlink()
    line = error_line(push(project, hub.address, REPOSITORY))
    assert "models/export/onnx/MODEL_CARD.md: no such file; export the model again" in line


def test_a_model_that_is_no_export_is_not_published(hub, project):
    write_onnx(project / "mine/model.onnx", {})
    line = error_line(push(project, hub.address, REPOSITORY, "mine/model.onnx"))
    assert "mine/model.onnx: a model, and no export of it" in line


def test_someone_elses_onnx_is_told_what_it_lacks(hub, project):
    other = project / "other.onnx"
    onnx.save(onnx.helper.make_model(onnx.helper.make_graph([], "nothing", [], [])), other)
    line = error_line(push(project, hub.address, REPOSITORY, "other.onnx"))
    assert "other.onnx: not a model that segpipe saved (it lacks the property segpipe.json" in line


def test_a_dry_run_refuses_a_name_that_no_repository_can_have(hub, project):
    line = error_line(push(project, hub.address, "not a repo//..x", "--dry-run"))
    assert line.startswith("error: 'not a repo//..x': no name of a repository (")


def test_a_missing_export_is_told_with_the_command_that_writes_one(hub, project):
    line = error_line(push(project, hub.address, REPOSITORY, "models/missing.onnx"))
    assert line == (
        "error: models/missing.onnx: no such file; `segpipe export --to onnx` writes an export\n"
    )
