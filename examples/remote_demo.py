"""Share a project from one clone to another through a DVC remote, with the commands of two people.

Anna trains on drawings and pushes. Her commits hold the code, the scores and `dvc.lock`; an S3 bucket
holds data, records, model and run cache. Ben clones her repository and pulls. There no stage runs,
because `dvc.lock` lists the outs. Without `dvc.lock` none runs either, because the run cache lists
them too. A third person takes only the model, by its name. Moto serves the bucket on loopback.

Everything is in `.remote-demo`, with clones of the project's last commit. The project's own settings and
cache, and those of the user, are neither read nor changed.
"""

import logging
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import boto3
from moto.server import ThreadedMotoServer

ROOT = Path(__file__).resolve().parents[1]
SCRATCH = ROOT / ".remote-demo"
ANNA, BEN = SCRATCH / "anna", SCRATCH / "ben"
DATA = ["data/raw", "data/encoder", "data/records"]

# With these drawings and this network every stage takes seconds.
PARAMS = [
    "data.source=synthetic",
    "data.synthetic.train=48",
    "data.synthetic.test=12",
    "data.synthetic.size=64",
    "data.image_size=64",
    "model.encoder.weights=none",
    "model.encoder.alpha=0.35",
    "model.encoder.layers=[block_1_expand_relu,block_3_expand_relu]",
    "model.decoder.filters=[8]",
    "train.epochs=1",
    "train.batch_size=8",
]

# With the user's cache the demo would prove nothing; and the user's key must not sign Anna's commits.
ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "anna",
    "AWS_SECRET_ACCESS_KEY": "secret",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_CONFIG_FILE": str(SCRATCH / "settings/aws"),
    "AWS_SHARED_CREDENTIALS_FILE": str(SCRATCH / "settings/aws"),
    "DVC_GLOBAL_CONFIG_DIR": str(SCRATCH / "settings"),
    "DVC_SYSTEM_CONFIG_DIR": str(SCRATCH / "settings"),
    "DVC_SITE_CACHE_DIR": str(SCRATCH / "settings/site"),
    "GIT_AUTHOR_NAME": "Anna",
    "GIT_AUTHOR_EMAIL": "anna@example.org",
    "GIT_COMMITTER_NAME": "Anna",
    "GIT_COMMITTER_EMAIL": "anna@example.org",
    "GIT_CONFIG_COUNT": "2",
    "GIT_CONFIG_KEY_0": "commit.gpgSign",
    "GIT_CONFIG_VALUE_0": "false",
    "GIT_CONFIG_KEY_1": "tag.gpgSign",
    "GIT_CONFIG_VALUE_1": "false",
    "no_proxy": "127.0.0.1",
}


def main() -> None:
    """Play all three people, with a new bucket."""
    shutil.rmtree(SCRATCH, ignore_errors=True)
    SCRATCH.mkdir()
    for name in [name for name in os.environ if name.startswith(("AWS_", "DVC_"))]:
        del os.environ[name]
    os.environ.update(ENVIRONMENT)
    logging.getLogger("werkzeug").setLevel(logging.WARNING)  # it logs every request
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()  # returns when it listens
    try:
        endpoint = "http://{}:{}".format(*server.get_host_and_port())
        boto3.client("s3", endpoint_url=endpoint).create_bucket(Bucket="team")
        anna_trains_and_pushes(endpoint)
        ben_pulls_and_runs_nothing()
        a_third_takes_the_model()
    finally:
        server.stop()
    print("\nShared: no stage ran after the pull.")


def anna_trains_and_pushes(endpoint: str) -> None:
    """Add a remote, train, commit, tag the model and push."""
    do(SCRATCH, "git", "clone", "--quiet", str(ROOT), "anna")
    do(ANNA, "dvc", "remote", "add", "--default", "storage", "s3://team/segpipe")
    do(ANNA, "dvc", "remote", "modify", "storage", "endpointurl", endpoint)
    do(ANNA, "dvc", "exp", "run", *[word for param in PARAMS for word in ("-S", param)])
    do(ANNA, "git", "add", "--all")
    do(ANNA, "git", "commit", "--quiet", "--message", "Train on drawings")
    do(ANNA, "git", "tag", "--annotate", "unet@v1.0.0", "--message", "The first model")
    do(ANNA, "dvc", "push", "--run-cache")


def ben_pulls_and_runs_nothing() -> None:
    """Clone and pull; then do without the lock, with Anna's run cache."""
    do(SCRATCH, "git", "clone", "--quiet", "anna", "ben")
    do(BEN, "dvc", "pull", "--run-cache")
    repro_runs_nothing()

    do(BEN, "rm", "-r", "dvc.lock", *DATA)
    repro_runs_nothing("fetch_encoder", "preprocess")

    # DVC pushes no outs that live in Git, and restores only complete runs: commit adds them.
    do(BEN, "git", "checkout", "--quiet", "dvc.lock")
    do(BEN, "dvc", "commit", "--force")
    do(BEN, "rm", "-r", "dvc.lock", *DATA, "models", "results")
    repro_runs_nothing()
    do(BEN, "git", "diff", "--exit-code", "--stat")


def a_third_takes_the_model() -> None:
    """Get the newest version of the model, with Anna's repository and the bucket."""
    do(SCRATCH, "dvc", "artifacts", "get", ANNA.as_uri(), "unet", "--out", "unet.keras")
    do(SCRATCH, "cmp", "unet.keras", "ben/models/model.keras")


def repro_runs_nothing(*stages: str) -> None:
    """Run `dvc repro` in Ben's clone; exit with an error if a stage runs."""
    ran = re.findall(r"Running stage '(\w+)'", do(BEN, "dvc", "repro", *stages))
    if ran:
        sys.exit(f"error: in {BEN} ran {', '.join(ran)}; after the pull none should run: see above")


def do(folder: Path, *command: str) -> str:
    """Show a command, run it in a folder and return what it printed; a failure ends the demo."""
    print(f"\n{folder.name}$ {' '.join(command)}", flush=True)
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        printed = []
        for line in process.stdout:
            print(line, end="", flush=True)
            printed.append(line)
    if process.returncode:
        sys.exit(f"error: {command[0]} ended with {process.returncode} in {folder}; it says why above")
    return "".join(printed)


if __name__ == "__main__":
    main()
